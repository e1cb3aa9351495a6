"""Clocks that no system has: one that is set by hand, and one that goes with Trio's, which may be a virtual one."""

from __future__ import annotations

import trio

from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Instant

BEGINNING = Instant(1_790_000_000_123_456_789, 5_000_000_000_000)
"""When such a clock begins unless told: in September 2026, with digits down to the nanosecond, on a machine that has
been up for a while."""


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: Instant = BEGINNING) -> None:
        self._now = now

    def now(self) -> Instant:
        """Return the moment it was set to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move both clocks on."""
        step_ns = int(seconds * SECOND_NS)
        self._now = Instant(self._now.wall_ns + step_ns, self._now.monotonic_ns + step_ns)


class LoopClock:
    """A clock that begins when it is made, and goes as Trio's does."""

    def __init__(self, beginning: Instant = BEGINNING) -> None:
        self._beginning = beginning
        self._began = trio.current_time()

    def now(self) -> Instant:
        """Return the beginning plus the time that has passed."""
        passed_ns = int((trio.current_time() - self._began) * SECOND_NS)
        return Instant(self._beginning.wall_ns + passed_ns, self._beginning.monotonic_ns + passed_ns)
