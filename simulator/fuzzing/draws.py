"""Draws from a seed's generator, by what was covered so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Draws:
    """The draws of a scenario, or a part of it. `weigh` says how often an ingredient is drawn, relative to others."""

    def __init__(self, rng: np.random.Generator, weigh: Callable[[str], float]) -> None:
        self._rng = rng
        self._weigh = weigh

    def one(self, choices: Sequence[Any]) -> Any:
        """Draw one of some."""
        return choices[int(self._rng.integers(len(choices)))]

    def chance(self) -> float:
        """Draw a number from 0 up to 1."""
        return float(self._rng.random())

    def up_to(self, most: int) -> int:
        """Draw a count."""
        return int(self._rng.integers(most + 1))

    def some(self, names: Sequence[str], count: int) -> tuple[str, ...]:
        """Draw different ones by their weights."""
        weights = np.array([self._weigh(name) for name in names])
        chosen = self._rng.choice(len(names), size=min(count, len(names)), replace=False, p=weights / weights.sum())
        return tuple(names[index] for index in chosen)

    def moment(self, seconds: int, share: float) -> str:
        """Draw a moment in the first share of a run."""
        return f"{int(self._rng.integers(500, max(501, int(seconds * share * 1000))))}ms"
