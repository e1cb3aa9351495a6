"""Whether two kinds of requests take a server different times: a test so strict that noise cannot fail it.

As dudect does (Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017): outliers are cropped, which are
noise of the machine's, and the rest is compared by Welch's t-test with a threshold that no noise reaches. Because a
difference can be significant and yet too small for anybody, it must also be large enough, and there all the time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES_MIN = 1000
"""Of either kind; fewer say nothing."""
BLOCK = 64
"""Requests in a row that are held against what is usual among them: what comes and goes as load does drops out."""
CROPPED_PERCENTILE = 75
"""Samples farther from what is usual than this share of them were held up by something else."""
T_MAX = 10.0
"""Beyond it dudect calls an implementation surely not constant in time; chance gets there once in 10^23 tries."""
DIFFERENCE_MIN_NS = 20_000
"""A smaller difference of the medians is of no use over a network, and may be the harness's own."""
PARTS = 3


class TimingDifference(msgspec.Struct, frozen=True):
    """What was measured: `leaks` is None when the samples were too few."""

    leaks: bool | None
    samples: int
    t: float
    medians_ns: tuple[float, float]

    def shown(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {"samples": self.samples, "t": round(self.t, 2), "medians_us": [one / 1000 for one in self.medians_ns]}


def compare_times(taken_ns: NDArray[Any], second: NDArray[np.bool_], *, t_max: float = T_MAX) -> TimingDifference:
    """Compare the times of two kinds of requests, in the order they were sent; `second` says which are of the second.

    The kinds must have been drawn at random, so that whatever else changes with time hits both alike.
    """
    smaller = min(int(second.sum()), int((~second).sum()))
    if smaller < SAMPLES_MIN:
        return TimingDifference(None, len(taken_ns), 0.0, (0.0, 0.0))
    medians = float(np.median(taken_ns[~second])), float(np.median(taken_ns[second]))
    blocks = np.array_split(np.arange(len(second)), -(-len(second) // BLOCK))
    beyond_ns = np.concatenate([_beyond_usual(taken_ns[block], second[block]) for block in blocks])
    away_ns = np.abs(beyond_ns)
    kept = away_ns <= np.percentile(away_ns, CROPPED_PERCENTILE)
    t = welch_t(beyond_ns[kept & ~second], beyond_ns[kept & second])
    leaks = abs(t) > t_max and all(
        _clearly(beyond_ns[part], second[part], math.copysign(1, t))
        for part in np.array_split(np.arange(len(second)), PARTS)
    )
    return TimingDifference(leaks, len(taken_ns), t, medians)


def welch_t(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return Welch's t statistic of two samples: positive when the second is larger."""
    difference = float(second.mean() - first.mean())
    error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    if error == 0:
        return math.copysign(math.inf, difference) if difference else 0.0  # all alike
    return difference / error


def _beyond_usual(taken_ns: NDArray[Any], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Take off what is usual at the time, for both kinds alike: the middle between their medians."""
    if second.all() or not second.any():
        usual_ns = float(np.median(taken_ns))
    else:
        usual_ns = float(np.median(taken_ns[second]) + np.median(taken_ns[~second])) / 2
    return np.asarray(taken_ns - usual_ns, dtype=np.float64)


def _clearly(taken_ns: NDArray[Any], second: NDArray[np.bool_], sign: float) -> bool:
    """Return whether the medians differ by enough, in the direction given."""
    if second.all() or not second.any():
        return False
    return bool(sign * (np.median(taken_ns[second]) - np.median(taken_ns[~second])) > DIFFERENCE_MIN_NS)
