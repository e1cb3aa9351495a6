"""Server clocks that are wrong, or become so."""

from __future__ import annotations

import time

from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant


class WrongClock:
    """The system's clocks, the wall clock off by some seconds, and each moved on by so many once `jump` was called."""

    def __init__(self, off_seconds: float = 0, wall_jump_seconds: float = 0, monotonic_jump_seconds: float = 0) -> None:
        self._began_off_ns = int(off_seconds * SECOND_NS)
        self._jumps_ns = (int(wall_jump_seconds * SECOND_NS), int(monotonic_jump_seconds * SECOND_NS))

        self.start_anew()

    def start_anew(self) -> None:
        """Be as before any jump, for another run."""
        self._off_ns, self._monotonic_ns = self._began_off_ns, 0

    def jump(self) -> None:
        """Move on."""
        wall_ns, monotonic_ns = self._jumps_ns
        self._off_ns += wall_ns
        self._monotonic_ns += monotonic_ns

    def now(self) -> Instant:
        """Read both clocks."""
        return Instant(time.time_ns() + self._off_ns, time.monotonic_ns() + self._monotonic_ns)  # noqa: TID251 - a server's clock
