"""Randomness that is none: the same digits for the same seed. For tests and virtual worlds only."""

from __future__ import annotations

import hashlib


class SeededEntropy:
    """Digits that look random, are the same for the same seed, and are never given twice."""

    def __init__(self, seed: str = "") -> None:
        self._seed = seed
        self._drawn = 0

    def hex(self, digits: int) -> str:
        """Return the next digits: 128 at most."""
        self._drawn += 1
        return hashlib.sha512(f"{self._seed}:{self._drawn}".encode()).hexdigest()[:digits]
