"""Randomness that is none: the same digits for the same seed. For tests and virtual worlds only."""

from __future__ import annotations

import hashlib

POOL_DIGITS = 4096


class SeededEntropy:
    """Digits that look random, are the same for the same seed, and are never given twice."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self._drawn = 0
        self._digits = ""
        self._at = 0

    def hex(self, digits: int) -> str:
        """Return the next digits, `POOL_DIGITS` at most. Many are made at once, as that takes a tenth of the time."""
        at, end = self._at, self._at + digits
        if end > len(self._digits):
            self._drawn += 1
            self._digits = hashlib.shake_128(f"{self._seed}:{self._drawn}".encode()).hexdigest(POOL_DIGITS // 2)
            at, end = 0, digits
        self._at = end
        return self._digits[at:end]
