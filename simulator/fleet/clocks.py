"""Clock errors: how far a machine's clock is off the true one at any time of the run, and a server's off this one."""

from __future__ import annotations

import re

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS, drifted_ns
from simulator.contract.answers import Answer

SKEW_WINDOW_NS = 90_000_000_000
"""The allowed deviation of a heartbeat's timestamp (contract §4, check 5)."""
TOLERANCE_NS = SECOND_NS
"""The accuracy to which the harness knows the server's clock.

This close to the window's edge, either answer is right.
"""
_FRACTION = re.compile(r"\.([0-9]{1,9})")


class ClockError(msgspec.Struct, frozen=True):
    """An offset, a drift in parts per million, and one step; all in nanoseconds from the start of the run."""

    offset_ns: int = 0
    drift_ppm: float = 0.0
    step_at_ns: int | None = None
    step_by_ns: int = 0

    def at(self, elapsed_ns: int) -> int:
        """Return the error: the machine's clock minus the true time."""
        error_ns = self.offset_ns + drifted_ns(self.drift_ppm, elapsed_ns)
        if self.step_at_ns is not None and elapsed_ns >= self.step_at_ns:
            error_ns += self.step_by_ns
        return error_ns


PERFECT = ClockError()


class ClockBounds(msgspec.Struct, frozen=True):
    """Bounds of a server's clock: the harness's wall clock plus `low_ns` to `high_ns`."""

    low_ns: int
    high_ns: int

    @property
    def width_ns(self) -> int:
        """The width of the bounds."""
        return self.high_ns - self.low_ns

    @property
    def middle_ns(self) -> int:
        """The best estimate."""
        return (self.low_ns + self.high_ns) // 2

    @property
    def surely_off_ns(self) -> int:
        """The least possible deviation, in either direction."""
        return max(self.low_ns, -self.high_ns, 0)


def clock_bounds(shown: str, sent_ns: int, answered_ns: int) -> ClockBounds | None:
    """Return a server's clock bounds from a timestamp it showed between two Unix times, or None for no timestamp.

    The timestamp is taken as truncated after its last digit.
    """
    shown_ns = parse_timestamp(shown)
    if shown_ns is None:
        return None
    fraction = _FRACTION.search(shown)
    cut_ns = SECOND_NS // 10 ** (len(fraction[1]) if fraction else 0)
    return ClockBounds(shown_ns - answered_ns, shown_ns + cut_ns - sent_ns)


def expected_answer(error_ns: int, latency_ns: int) -> Answer:
    """Return a correct server's answer to an otherwise valid heartbeat that is judged within `latency_ns`."""
    oldest_ns = latency_ns - error_ns + TOLERANCE_NS
    newest_ns = -error_ns - TOLERANCE_NS
    if oldest_ns <= SKEW_WINDOW_NS and newest_ns >= -SKEW_WINDOW_NS:
        return Answer.ACCEPTED
    if newest_ns > SKEW_WINDOW_NS or oldest_ns < -SKEW_WINDOW_NS:
        return Answer.TIMESTAMP_OUT_OF_WINDOW
    return Answer.EITHER
