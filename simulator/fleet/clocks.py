"""Wrong clocks: how far a machine's own clock is off the true one at any moment of the run."""

from __future__ import annotations

import msgspec

from simulator.history import Answer

SKEW_WINDOW_NS = 90_000_000_000
"""How far a heartbeat's timestamp may be off (contract §4, check 5)."""
TOLERANCE_NS = 1_000_000_000
"""How well the harness knows the server's clock: within this of the window's edge, only the server can know."""
MILLION = 1_000_000


class ClockError(msgspec.Struct, frozen=True):
    """An offset, a drift in parts per million, and one step; all in nanoseconds from the start of the run."""

    offset_ns: int = 0
    drift_ppm: float = 0.0
    step_at_ns: int | None = None
    step_by_ns: int = 0

    def at(self, elapsed_ns: int) -> int:
        """Give the error: what the machine's clock shows, less the truth."""
        error_ns = self.offset_ns + round(self.drift_ppm * elapsed_ns / MILLION)
        if self.step_at_ns is not None and elapsed_ns >= self.step_at_ns:
            error_ns += self.step_by_ns
        return error_ns


PERFECT = ClockError()


def expected_answer(error_ns: int, latency_ns: int) -> Answer:
    """Say what a correct server answers to an otherwise right heartbeat, judged within `latency_ns` of its making."""
    oldest_ns = latency_ns - error_ns + TOLERANCE_NS
    newest_ns = -error_ns - TOLERANCE_NS
    if oldest_ns <= SKEW_WINDOW_NS and newest_ns >= -SKEW_WINDOW_NS:
        return Answer.ACCEPTED
    if newest_ns > SKEW_WINDOW_NS or oldest_ns < -SKEW_WINDOW_NS:
        return Answer.TIMESTAMP_OUT_OF_WINDOW
    return Answer.EITHER
