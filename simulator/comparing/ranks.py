"""What ranks alone say about a shift: exact for any distribution of noise. No clock, no I/O, no randomness.

Differences of logarithms come in. Of rounds in pairs whose order was drawn at random, each pair's sign is as likely one
way as the other where nothing differs, whatever a busy neighbour did meanwhile and however its moods last: Wilcoxon's
signed ranks. Values that were not taken in pairs are compared each with each: Mann and Whitney's test. Both count how
many of some averages lie below a shift, and both give the interval that those tests would not refuse (Hodges, Lehmann).
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
"""What a difference counts as at most, as what came from nothing or never came does: ranks need its sign alone."""


class Shift(msgspec.Struct, frozen=True):
    """How far one measurement lies from another, as a difference of logarithms.

    `averages` are in order. `chances` says how probable it is that at most so many of them lie on one side of the true
    shift, by their number from 0 on.
    """

    averages: tuple[float, ...]
    chances: tuple[float, ...]

    @property
    def least(self) -> float:
        """Return the least chance that so many values can show, whatever they are."""
        return self.chances[0]

    @property
    def estimate(self) -> float:
        """Return the middle of all averages."""
        return statistics.median(self.averages)

    def chance_below(self, shift: float) -> float:
        """Return how probable data like these are where the true shift is `shift` or more."""
        return self.chances[len(self.averages) - bisect_left(self.averages, shift)]

    def chance_above(self, shift: float) -> float:
        """Return how probable data like these are where the true shift is `shift` or less."""
        return self.chances[bisect_right(self.averages, shift)]

    def bounds(self, level: float) -> tuple[float, float]:
        """Return the ends of the interval that misses the true shift on either side with this probability at most.

        Endless where so few values cannot be as sure as that.
        """
        beyond = bisect_right(self.chances, level)
        if beyond == 0:
            return -math.inf, math.inf
        return self.averages[beyond - 1], self.averages[-beyond]


def difference(before: float, after: float) -> float | None:
    """Return the difference of the logarithms of two values from 0 on, which may be endless; None where none is known.

    Two that are both nothing, or both endless, say nothing of each other.
    """
    if math.isnan(before) or math.isnan(after) or (before == after and before in {0, math.inf}):
        return None
    if 0 in {before, after} or math.inf in {before, after}:
        return ENDLESS if after > before else -ENDLESS
    return max(-ENDLESS, min(ENDLESS, math.log(after / before)))


def paired(differences: Sequence[float]) -> Shift:
    """Return the shift that pairs show, each by its difference. Raises ValueError for none, or too many."""
    count = _bounded(len(differences))
    averages = [(first + differences[other]) / 2 for at, first in enumerate(differences) for other in range(at, count)]
    return Shift(tuple(sorted(averages)), _signed_ranks(count))


def independent(before: Sequence[float], after: Sequence[float]) -> Shift:
    """Return the shift from some values to others. Raises ValueError for none, or too many."""
    ones, others = _bounded(len(before)), _bounded(len(after))
    averages = sorted(later - earlier for earlier in before for later in after)
    return Shift(tuple(averages), _pairs(ones, others))


def certain(change: float) -> Shift:
    """Return the shift of what was measured once, for it hardly varies: it lies where it was found."""
    return Shift((change,), (0.0, 1.0))


def _bounded(count: int) -> int:
    if not 0 < count <= COMPARED_ROUNDS_MAX:
        raise ValueError(f"from 1 to {COMPARED_ROUNDS_MAX} values are compared, not {count}")
    return count


@cache
def _signed_ranks(count: int) -> tuple[float, ...]:
    """Return how probable each sum of signed ranks, or a smaller one, is: every rank counts or does not, evenly."""
    ways = [1]
    for rank in range(1, count + 1):
        wider = ways + [0] * rank
        for total, number in enumerate(ways):
            wider[total + rank] += number
        ways = wider
    return tuple(number / (1 << count) for number in accumulate(ways))


@cache
def _pairs(ones: int, others: int) -> tuple[float, ...]:
    """Return how probable it is that in at most so many of all pairs the one is above the other (Mann, Whitney)."""
    # Gauss's binomial: each order of all values is as probable as any other. It is a product of (1 - q^(others + i))
    # over (1 - q^i), of which the first are multiplied and the second divided, place by place.
    most = ones * others
    ways = [1] + [0] * most
    for step in range(1, ones + 1):
        for total in range(most, others + step - 1, -1):
            ways[total] -= ways[total - others - step]
        for total in range(step, most + 1):
            ways[total] += ways[total - step]
    whole = math.comb(ones + others, ones)
    return tuple(number / whole for number in accumulate(ways))
