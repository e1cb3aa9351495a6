"""Units of time, in nanoseconds: what every moment and interval inside is counted in."""

from __future__ import annotations

SECOND_NS = 1_000_000_000
MILLISECOND_NS = 1_000_000
MICROSECOND_NS = 1_000
