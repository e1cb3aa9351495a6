"""Assigning what was shown to what was due, where some of what was due fits several things."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def unmatched(counts: Sequence[int], places: Sequence[int], fits: Sequence[tuple[int, ...]]) -> list[int]:
    """Return how many of each kind find no place, when as many as possible are placed.

    `counts` are how many there are of each kind, `places` how many each place takes, `fits[kind]` the places that a
    kind fits. Kinds that fit the same places are placed as one, so that many kinds cost no more than a few.
    """
    kinds_of: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for kind, options in enumerate(fits):
        kinds_of[options].append(kind)
    groups = list(kinds_of.values())
    left_of_group = _place([sum(counts[kind] for kind in group) for group in groups], list(places), list(kinds_of))
    left = [0] * len(counts)
    for group, remaining in zip(groups, left_of_group, strict=True):
        for kind in reversed(group):
            left[kind] = min(counts[kind], remaining)
            remaining -= left[kind]  # noqa: PLW2901 - what the kinds of this group still have to bear
    return left


def _place(left: list[int], room: list[int], fits: list[tuple[int, ...]]) -> list[int]:
    """Place kind by kind along paths on which those placed before move on (Ford and Fulkerson). Return what is left."""
    placed = [dict.fromkeys(options, 0) for options in fits]
    for kind in range(len(left)):
        while left[kind] and (path := _path_to_room(kind, room, placed)):
            # Each on the path but the first leaves the place that the one before it takes.
            leaving = [(mover, place) for (mover, _), (_, place) in zip(path[1:], path, strict=False)]
            last = path[-1][1]
            amount = min(left[kind], room[last], *(placed[mover][place] for mover, place in leaving))
            for mover, place in leaving:
                placed[mover][place] -= amount
            for mover, place in path:
                placed[mover][place] += amount
            room[last] -= amount
            left[kind] -= amount
    return left


def _path_to_room(kind: int, room: list[int], placed: list[dict[int, int]]) -> list[tuple[int, int]]:
    """Find how a kind can be placed, others moving on where they must: who takes which place. Empty when it cannot."""
    taken_by: dict[int, int] = {}
    leaves: dict[int, int] = {}
    frontier = [kind]
    for mover in frontier:
        for place in placed[mover]:
            if place in taken_by:
                continue
            taken_by[place] = mover
            if room[place]:
                path = [(mover, place)]
                while (taker := path[0][0]) in leaves:
                    before = leaves[taker]
                    path.insert(0, (taken_by[before], before))
                return path
            for other, at in enumerate(placed):
                if other != kind and other not in leaves and at.get(place):
                    leaves[other] = place
                    frontier.append(other)
    return []
