"""How sure a median is, and what that says of a bar: order statistics for figures, the bootstrap for ratios."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
RESAMPLES = 4000
"""Enough that the ends of an interval hardly move with the seed: they are quantiles at 2.5%, of a hundred resamples."""
SEED = 14
"""Any: the same values have the same interval, wherever and whenever it is worked out."""
Outcome = Literal["held", "missed", "noise"]
"""What is known of a bar: `noise` where the interval holds it, so that the true median may lie on either side."""


class Interval(NamedTuple):
    """The ends of an interval, and the probability that it holds the true median."""

    low: float
    high: float
    confidence: float


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of a median by order statistics.

    The k-th least and the k-th greatest of n values enclose the median unless fewer than k lie on one side of it, which
    is a binomial probability whatever the values' distribution. The narrowest interval that is sure enough is taken;
    of few values, which never are, the widest. Raises ValueError without values.
    """
    if not values:
        raise ValueError("an interval of nothing")
    ordered, count = sorted(values), len(values)
    best = Interval(ordered[0], ordered[-1], _enclosing(count, 1))
    for rank in range(2, count // 2 + 1):
        if (sure := _enclosing(count, rank)) < confidence:
            break
        best = Interval(ordered[rank - 1], ordered[-rank], sure)
    return best


def bootstrap_interval(ratios: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Return the interval of the median of ratios, of which each round gave one, by the percentile bootstrap.

    Rounds are drawn anew with replacement, both sides of a ratio together: they were measured one after the other.
    Few rounds cannot be as sure as was asked for; the confidence is what the least and the greatest of so many enclose.
    Raises ValueError without values.
    """
    if not ratios:
        raise ValueError("an interval of nothing")
    values = np.asarray(ratios)
    drawn = np.random.default_rng(SEED).integers(len(values), size=(RESAMPLES, len(values)))
    medians = np.median(values[drawn], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(medians, (tail, 1 - tail))
    median = statistics.median(ratios)
    return Interval(min(float(low), median), max(float(high), median), min(confidence, _enclosing(len(values), 1)))


def _enclosing(count: int, rank: int) -> float:
    """Return how probable it is that neither side of the median has fewer than `rank` of `count` values."""
    fewer = sum(math.comb(count, below) for below in range(rank))
    return max(0.0, 1.0 - 2.0 * fewer / float(1 << count))


def judge(low: float, high: float, at_least: float | None, at_most: float | None) -> Outcome | None:
    """Return what an interval says of the bars; None where there is none.

    A single value is an interval of no width: it decides.
    """
    if at_least is None and at_most is None:
        return None
    if (at_least is not None and high < at_least) or (at_most is not None and low > at_most):
        return "missed"
    if (at_least is None or low >= at_least) and (at_most is None or high <= at_most):
        return "held"
    return "noise"
