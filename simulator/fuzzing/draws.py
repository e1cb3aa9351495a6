"""Random draws from a seed's generator, weighted by the coverage so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Draws:
    """The draws of a scenario, or of a part of it. `weigh` returns the relative weight of drawing an ingredient."""

    def __init__(self, rng: np.random.Generator, weigh: Callable[[str], float]) -> None:
        self._rng = rng
        self._weigh = weigh

    def one(self, choices: Sequence[Any]) -> Any:
        """Draw one of `choices`, all equally likely."""
        return choices[int(self._rng.integers(len(choices)))]

    def chance(self) -> float:
        """Draw a number from 0 to 1, without 1."""
        return float(self._rng.random())

    def up_to(self, most: int) -> int:
        """Draw an integer from 0 to `most`."""
        return int(self._rng.integers(most + 1))

    def some(self, names: Sequence[str], count: int) -> tuple[str, ...]:
        """Draw `count` different names by their weights, or all if there are fewer."""
        weights = np.array([self._weigh(name) for name in names])
        chosen = self._rng.choice(len(names), size=min(count, len(names)), replace=False, p=weights / weights.sum())
        return tuple(names[index] for index in chosen)

    def moment(self, seconds: int, share: float) -> str:
        """Draw a moment, as a duration such as `700ms`, in the first `share` of a run of `seconds`."""
        return f"{int(self._rng.integers(500, max(501, int(seconds * share * 1000))))}ms"
