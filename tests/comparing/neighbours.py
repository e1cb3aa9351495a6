"""Machines made up for tests of comparisons: a benchmark's figures, and a neighbour who is busy now and then."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from simulator.comparing.alternating import AFTER, Measured, Rounds, compare_in_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.comparing.outcome import Line

FIGURES = (
    Measured("rate", "/s", higher_is_better=True),
    Measured("time", " µs", higher_is_better=False),
    Measured("other rate", "/s", higher_is_better=True),
)


class Neighbour:
    """Takes up to `depth` of a machine while it is busy, and mostly stays as it is from one measurement to the next."""

    def __init__(self, rng: np.random.Generator, busy: float, stays: float, depth: float) -> None:
        self._rng, self._busy, self._stays, self._depth = rng, busy, stays, depth
        self._is_busy = bool(rng.random() < busy)

    def slowdown(self) -> float:
        """Return what the next measurement is slowed by, as a logarithm."""
        if self._rng.random() > self._stays:
            self._is_busy = bool(self._rng.random() < self._busy)
        return float(-math.log1p(-self._depth * self._rng.uniform(0.5, 1)) if self._is_busy else 0.0)


class Machine:
    """Measures `FIGURES`: of what came after, the first figure is worse by `planted`, a share."""

    def __init__(
        self, seed: int, planted: float, *, busy: float = 0.4, stays: float = 0.85, depth: float = 0.3
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._neighbour = Neighbour(self._rng, busy, stays, depth)
        self._planted = planted
        self.measured = 0

    def measure(self, side: int) -> Sequence[float]:
        """Return one value of each figure; the neighbour slows all of them, each as much as it happens to."""
        self.measured += 1
        slowed = self._neighbour.slowdown()
        each = [math.exp(-slowed * self._rng.uniform(0.7, 1.1) + self._rng.normal(0, 0.02)) for _ in FIGURES]
        if side == AFTER:
            each[0] *= 1 - self._planted
        return [20_000 * each[0], 30 / each[1], 900 * each[2]]

    def compare(self, rounds: Rounds | None = None) -> list[Line]:
        """Compare what came after with what was before."""
        return compare_in_rounds(FIGURES, self.measure, lambda: bool(self._rng.integers(2)), rounds or Rounds())


def seeds(number: int) -> Iterator[int]:
    """Yield as many seeds."""
    yield from range(1000, 1000 + number)
