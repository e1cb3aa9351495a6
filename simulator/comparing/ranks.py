"""Rank statistics of a shift between two measurements, exact for any distribution of noise. Pure functions.

Values are logarithms, or differences of logarithms. For rounds measured in pairs in random order, the sign of each
pair's difference is equally likely either way if nothing differs, however other load on the computer varied: this is
Wilcoxon's signed-rank test. Values not measured in pairs are compared each with each: the Mann-Whitney test. Both tests
count how many of certain averages lie below a shift, and both give a confidence interval: all shifts that the test does
not reject (Hodges, Lehmann).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

from simulator.limits import COMPARED_ROUNDS_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDLESS = math.log(1000)
"""The largest difference that counts. It also stands for a change from or to zero or infinity: ranks need only the
sign."""


class Shift(msgspec.Struct, frozen=True):
    """How far one measurement lies from another, as a difference of logarithms.

    `averages` are sorted. `chances[n]` is the probability that at most `n` of them lie on one side of the true shift.
    """

    averages: tuple[float, ...]
    chances: tuple[float, ...]

    @property
    def least(self) -> float:
        """Return the smallest probability that this number of values can give, whatever the values are."""
        return self.chances[0]

    @property
    def estimate(self) -> float:
        """Return the median of all averages."""
        return statistics.median(self.averages)

    def chance_below(self, shift: float) -> float:
        """Return the probability of data at least this low if the true shift is `shift` or more."""
        return self.chances[len(self.averages) - bisect_left(self.averages, shift)]

    def chance_above(self, shift: float) -> float:
        """Return the probability of data at least this high if the true shift is `shift` or less."""
        return self.chances[bisect_right(self.averages, shift)]

    def bounds(self, level: float) -> tuple[float, float]:
        """Return the ends of the interval that misses the true shift on either side with probability `level` at most.

        The ends are infinite if there are too few values for this level.
        """
        beyond = bisect_right(self.chances, level)
        if beyond == 0:
            return -math.inf, math.inf
        return self.averages[beyond - 1], self.averages[-beyond]


def difference(before: float, after: float) -> float | None:
    """Return the difference of the logarithms of two values, which may be 0 or infinite; None if it is unknown.

    It is unknown if a value is NaN, or if both are 0 or both infinite.
    """
    if math.isnan(before) or math.isnan(after) or (before == after and before in {0, math.inf}):
        return None
    if 0 in {before, after} or math.inf in {before, after}:
        return ENDLESS if after > before else -ENDLESS
    return max(-ENDLESS, min(ENDLESS, math.log(after / before)))


def paired(differences: Sequence[float]) -> Shift:
    """Return the shift shown by the differences of pairs. Raises ValueError for none, or too many."""
    count = _bounded(len(differences))
    averages = [(first + differences[other]) / 2 for at, first in enumerate(differences) for other in range(at, count)]
    return Shift(tuple(sorted(averages)), _signed_ranks(count))


def independent(before: Sequence[float], after: Sequence[float]) -> Shift:
    """Return the shift from the values `before` to the values `after`. Raises ValueError for none, or too many."""
    ones, others = _bounded(len(before)), _bounded(len(after))
    averages = sorted(later - earlier for earlier in before for later in after)
    return Shift(tuple(averages), _pairs(ones, others))


def certain(change: float) -> Shift:
    """Return the shift of a figure that was measured only once, because it hardly varies: exactly `change`."""
    return Shift((change,), (0.0, 1.0))


def _bounded(count: int) -> int:
    if not 0 < count <= COMPARED_ROUNDS_MAX:
        raise ValueError(f"from 1 to {COMPARED_ROUNDS_MAX} values are compared, not {count}")
    return count


@cache
def _signed_ranks(count: int) -> tuple[float, ...]:
    """Return the probability of each sum of signed ranks or a smaller one: each rank counts or not, equally likely."""
    ways = [1]
    for rank in range(1, count + 1):
        wider = ways + [0] * rank
        for total, number in enumerate(ways):
            wider[total + rank] += number
        ways = wider
    return tuple(number / (1 << count) for number in accumulate(ways))


@cache
def _pairs(ones: int, others: int) -> tuple[float, ...]:
    """Return for each n the probability that in at most n of all pairs the one is above the other (Mann, Whitney)."""
    # Gaussian binomial coefficients: all orders of the values are equally likely. They are the product of
    # (1 - q^(others + i)) / (1 - q^i): each step multiplies by the numerator and divides by the denominator, in place.
    most = ones * others
    ways = [1] + [0] * most
    for step in range(1, ones + 1):
        for total in range(most, others + step - 1, -1):
            ways[total] -= ways[total - others - step]
        for total in range(step, most + 1):
            ways[total] += ways[total - step]
    whole = math.comb(ones + others, ones)
    return tuple(number / whole for number in accumulate(ways))
