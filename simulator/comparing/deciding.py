"""Deciding each line of a comparison: faster, slower, no difference or cannot tell. Pure functions.

Two looks decide that a figure is slower. The first look finds the figures that seem slower; they are measured again,
and only the rounds of the second look, which are independent of the first, confirm it. So comparing something with
itself gives a false positive only if both looks err: once in two thousand times for a line.
"""

from __future__ import annotations

import math
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.comparing.ranks import Shift

LOOK = 0.05
"""Significance level of the first look: the chance that an unchanged line looks slower. The second look decides."""
SURE = 0.01
"""The chance that any unchanged line of all lines measured again is called slower, and likewise that any is called
faster.

If so few values of so many lines can never reach this level together, it is the chance for each line by itself."""
SEEN = 0.95
"""The probability of detecting the smallest change that a comparison names."""
_Z = NormalDist().inv_cdf
REACH = (_Z(1 - SURE) + _Z(SEEN)) / _Z(1 - SURE)
"""How many half intervals a change must have to be detected with that probability: noise may hide a part of it."""


class Says(StrEnum):
    """The result of a line: the second measurement compared with the first."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"
    CANNOT_TELL = "cannot tell"


class Tolerance(msgspec.Struct, frozen=True):
    """The changes that count, as shares: none below `ignored`, and noise must not hide one of `seen` or more.

    `moods` is how much the same thing, measured twice, may differ if the two were not measured in alternation.
    """

    ignored: float = 0.02
    seen: float = 0.08
    moods: float = 0.0


class Decision(msgspec.Struct, frozen=True):
    """The decision on a line. Changes are shares of the first measurement, above zero for faster.

    The true change lies between `low` and `high` 49 times of 50; None for an infinite end. `smallest` is the smallest
    change that would have been detected 19 times of 20, None if none would.
    """

    says: Says
    change: float
    low: float | None
    high: float | None
    smallest: float | None


def smallest_change(shift: Shift, tolerance: Tolerance) -> float:
    """Return the smallest change for the worse that would have been detected, as a difference of logarithms."""
    low, high = shift.bounds(SURE)
    half = max(shift.estimate - low, high - shift.estimate)
    return max(math.log1p(tolerance.moods) + half * REACH, math.log1p(tolerance.ignored))


def is_hidden(shift: Shift, tolerance: Tolerance) -> bool:
    """Return whether noise can hide a change as large as `tolerance.seen`, or as twice the moods if that is larger."""
    return smallest_change(shift, tolerance) > max(math.log1p(tolerance.seen), 2 * math.log1p(tolerance.moods))


def suspects(shifts: Sequence[Shift], tolerances: Sequence[Tolerance]) -> list[int]:
    """Return the numbers of the lines that look slower at the level `LOOK`."""
    return [
        number
        for number, (shift, tolerance) in enumerate(zip(shifts, tolerances, strict=True))
        if _is_worse(shift, tolerance, LOOK)
    ]


def decide(
    shifts: Sequence[Shift],
    tolerances: Sequence[Tolerance],
    again: Mapping[int, Shift] | None = None,
    whole: Mapping[int, Shift] | None = None,
) -> list[Decision]:
    """Return the decision on each line.

    `again` has the shifts of the lines that were measured again, by their number, and `whole` the shifts of all rounds
    together. If `again` is None, nothing could be measured again, and the first look decides alone.
    """
    confirmed = _confirmed(dict(enumerate(shifts)) if again is None else again, tolerances)
    better = _under(
        {number: (shift.chance_above(math.log1p(tolerance.moods)), shift.least)
         for number, (shift, tolerance) in enumerate(zip(shifts, tolerances, strict=True))}
    )  # fmt: skip
    decisions = []
    for number, tolerance in enumerate(tolerances):
        shift = (whole or {}).get(number, shifts[number])
        if number in confirmed:
            says = Says.SLOWER
        elif number in better and shift.estimate >= math.log1p(tolerance.ignored):
            says = Says.FASTER
        elif is_hidden(shift, tolerance) or _is_worse(shift, tolerance, SURE):
            # All rounds together call the line slower, but the second look alone does not confirm it.
            says = Says.CANNOT_TELL
        else:
            says = Says.NO_DIFFERENCE
        decisions.append(_decision(says, shift, tolerance))
    return decisions


def _is_worse(shift: Shift, tolerance: Tolerance, level: float) -> bool:
    worse = -math.log1p(tolerance.ignored)
    return shift.chance_below(-math.log1p(tolerance.moods)) <= level and shift.estimate <= worse


def _confirmed(shifts: Mapping[int, Shift], tolerances: Sequence[Tolerance]) -> set[int]:
    chances = {
        number: (one.chance_below(-math.log1p(tolerances[number].moods)), one.least) for number, one in shifts.items()
    }
    found = _under(chances)
    return {number for number in found if shifts[number].estimate <= -math.log1p(tolerances[number].ignored)}


def _under(chances: Mapping[int, tuple[float, float]]) -> set[int]:
    """Return the numbers of the chances that are significant among all of them, by Holm's correction.

    Each chance comes with the least value that it could have. If a chance has its least value, and this is too large
    to be corrected for so many lines, it is judged by itself: otherwise no change, however large, would be found if a
    few rounds measured many figures.
    """
    found: set[int] = set()
    for number, (chance, _) in sorted(chances.items(), key=lambda one: one[1]):
        if chance > SURE / (len(chances) - len(found)):
            break
        found.add(number)
    return found | {number for number, (chance, least) in chances.items() if chance <= min(SURE, least)}


def judged_alone(shifts: Sequence[Shift]) -> int:
    """Return how many lines have too few values to be corrected for the other lines, but enough to be judged alone."""
    return sum(SURE / len(shifts) < one.least <= SURE for one in shifts)


def _decision(says: Says, shift: Shift, tolerance: Tolerance) -> Decision:
    low, high = shift.bounds(SURE)
    return Decision(
        says, math.expm1(shift.estimate), _share(low), _share(high), _share(smallest_change(shift, tolerance))
    )


def _share(logarithm: float) -> float | None:
    return math.expm1(logarithm) if math.isfinite(logarithm) else None
