"""The clocks of a virtual world: the harness's is right, and each server's wall clock can be set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.adapters.memory.clocks import BEGINNING
from reference_server.wire.units import drifted_ns
from reference_server.wire.values import Instant

if TYPE_CHECKING:
    from simulator.worlds.virtual.scheduling import JumpingClock


class VirtualClock:
    """The right clock of a virtual world, which the harness uses; it starts at the same moment in every run."""

    def __init__(self, clock: JumpingClock) -> None:
        self._clock = clock
        self._wall_ns, self._monotonic_ns = BEGINNING.wall_ns, BEGINNING.monotonic_ns

    def now(self) -> Instant:
        """Return the current instant, as a server's clock does."""
        passed_ns = self._clock.now_ns
        return Instant(self._wall_ns + passed_ns, self._monotonic_ns + passed_ns)

    def monotonic_ns(self) -> int:
        """Return monotonic time in nanoseconds."""
        return self._monotonic_ns + self._clock.now_ns

    def wall_ns(self) -> int:
        """Return Unix time in nanoseconds."""
        return self._wall_ns + self._clock.now_ns


class ServerClock(VirtualClock):
    """The clock of one server, whose wall time may be off; its monotonic clock is right."""

    def __init__(self, clock: JumpingClock) -> None:
        super().__init__(clock)
        self._by_ns = self._since_ns = 0
        self._drift_ppm = 0.0

    def set_off(self, by_ns: int, drift_ppm: float) -> None:
        """Set the wall clock ahead by `by_ns` (back if negative), and let it drift from now on."""
        self._by_ns, self._drift_ppm, self._since_ns = by_ns, drift_ppm, self._clock.now_ns

    def now(self) -> Instant:
        """Return the current instant by this clock."""
        passed_ns = self._clock.now_ns
        wall_ns = self._wall_ns + passed_ns + self._by_ns
        if self._drift_ppm:
            wall_ns += drifted_ns(self._drift_ppm, passed_ns - self._since_ns)
        return Instant(wall_ns, self._monotonic_ns + passed_ns)
