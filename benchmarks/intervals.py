"""How sure a median is, by order statistics, and what that says of a bar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIDENCE = 0.95
SURE = 0.9
"""How sure an outcome has to be: five rounds are, four are not."""
Outcome = Literal["held", "missed", "noise"]
"""What is known of a bar: `noise` where the true median may lie on either side of it."""


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


def _enclosing(count: int, rank: int) -> float:
    """Return how probable it is that neither side of the median has fewer than `rank` of `count` values."""
    fewer = sum(math.comb(count, below) for below in range(rank))
    return max(0.0, 1.0 - 2.0 * fewer / float(1 << count))


def judge(interval: Interval, at_least: float | None, at_most: float | None) -> Outcome | None:
    """Return what an interval says of the bars; None where there is none.

    What is held or missed has to be sure: of too few rounds nobody knows what is noise.
    """
    low, high, confidence = interval
    if at_least is None and at_most is None:
        return None
    if confidence < SURE:
        return "noise"
    if (at_least is not None and high < at_least) or (at_most is not None and low > at_most):
        return "missed"
    if (at_least is None or low >= at_least) and (at_most is None or high <= at_most):
        return "held"
    return "noise"
