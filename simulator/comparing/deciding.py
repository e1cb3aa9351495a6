"""Faster, slower, no difference or cannot tell: what each line of a comparison says, and when. Pure.

Two looks decide that something is slower. The first finds what looks so; what does is measured again, and only rounds
of the second look, which know nothing of the first, confirm it. So a comparison of something with itself says slower
where both looks err: once in two thousand times for a line.
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
"""How probable it may be that a line looks slower and is not: the second look decides."""
SURE = 0.01
"""How probable it may be that any of all lines that were looked at again is called slower and is not; and faster.

Where so few values of so many lines can never be so sure, it is how probable that is of each line by itself."""
SEEN = 0.95
"""How probably the smallest change that a comparison names is seen."""
_Z = NormalDist().inv_cdf
REACH = (_Z(1 - SURE) + _Z(SEEN)) / _Z(1 - SURE)
"""How many times half an interval a change must have to be seen so probably: noise may hide some of it."""


class Says(StrEnum):
    """What a line says of the second measurement against the first."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"
    CANNOT_TELL = "cannot tell"


class Tolerance(msgspec.Struct, frozen=True):
    """What changes count, as shares: below `ignored` none does, and one of `seen` or more must not stay hidden.

    `moods` is what the same thing measured twice may differ by where the two were not measured in alternation.
    """

    ignored: float = 0.02
    seen: float = 0.08
    moods: float = 0.0


class Decision(msgspec.Struct, frozen=True):
    """What a line says. Changes are shares of the first, above zero for faster.

    The true one lies between `low` and `high` but for one time in fifty. `smallest` is the smallest change that would
    have been seen, 19 times of 20; None where none would.
    """

    says: Says
    change: float
    low: float | None
    high: float | None
    smallest: float | None


def smallest_change(shift: Shift, tolerance: Tolerance) -> float:
    """Return the smallest change for the worse, as a difference of logarithms, that would have been seen."""
    low, high = shift.bounds(SURE)
    half = max(shift.estimate - low, high - shift.estimate)
    return max(math.log1p(tolerance.moods) + half * REACH, math.log1p(tolerance.ignored))


def is_hidden(shift: Shift, tolerance: Tolerance) -> bool:
    """Return whether noise hides a change that must not stay hidden."""
    return smallest_change(shift, tolerance) > max(math.log1p(tolerance.seen), 2 * math.log1p(tolerance.moods))


def suspects(shifts: Sequence[Shift], tolerances: Sequence[Tolerance]) -> list[int]:
    """Return which lines look slower, by their number."""
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
    """Return what each line says.

    `again` are the shifts of those that were measured again, by their number, and `whole` those of all their rounds
    together; without `again` nothing could be, and one look is all there is.
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
            # What all rounds together call slower, and the second look alone does not, nobody knows.
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
    """Return which chances, each with the least it could be, are too small to be any of all by chance (Holm).

    What is the least it could be, and still too great among so many, counts by itself: else no change, however great,
    would be found where a few rounds measured many figures.
    """
    found: set[int] = set()
    for number, (chance, _) in sorted(chances.items(), key=lambda one: one[1]):
        if chance > SURE / (len(chances) - len(found)):
            break
        found.add(number)
    return found | {number for number, (chance, least) in chances.items() if chance <= min(SURE, least)}


def judged_alone(shifts: Sequence[Shift]) -> int:
    """Return of how many lines the values are too few to be corrected for all the others, and enough to judge each."""
    return sum(SURE / len(shifts) < one.least <= SURE for one in shifts)


def _decision(says: Says, shift: Shift, tolerance: Tolerance) -> Decision:
    low, high = shift.bounds(SURE)
    return Decision(
        says, math.expm1(shift.estimate), _share(low), _share(high), _share(smallest_change(shift, tolerance))
    )


def _share(logarithm: float) -> float | None:
    return math.expm1(logarithm) if math.isfinite(logarithm) else None
