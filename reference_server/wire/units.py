"""Units of time, in nanoseconds: what every moment and interval inside is counted in; and of drift."""

from __future__ import annotations

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
MICROSECOND_NS = 1_000
_MILLION = 1_000_000


def drifted_ns(drift_ppm: float, elapsed_ns: int) -> int:
    """Return what a clock with a drift in parts per million has gained in a time; below zero where it loses."""
    return round(drift_ppm * elapsed_ns / _MILLION)
