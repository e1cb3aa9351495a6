"""Placing what was shown where it fits: as much as possible, as looking at every way shows."""

from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.matching import unmatched
from tests.support.tiers import examples

places = st.lists(st.integers(0, 6), min_size=1, max_size=5)


def best(counts: list[int], room: list[int], fits: list[tuple[int, ...]]) -> int:
    """Count how many can be placed at most: what any choice of kinds finds too narrow bounds it, and one is tight.

    The theorem of Hall, with multiplicities.
    """
    kinds = range(len(counts))
    return min(
        sum(counts[kind] for kind in kinds if not chosen[kind])
        + sum(room[place] for place in {place for kind in kinds if chosen[kind] for place in fits[kind]})
        for chosen in product((False, True), repeat=len(counts))
    )


@settings(deadline=None, max_examples=examples(500))
@given(st.data(), places, st.lists(st.integers(0, 6), max_size=6))
def test_as_many_are_placed_as_can_be(data: st.DataObject, room: list[int], counts: list[int]) -> None:
    numbers = st.lists(st.integers(0, len(room) - 1), unique=True).map(tuple)
    fits = [data.draw(numbers) for _ in counts]
    left = unmatched(counts, room, fits)
    assert all(0 <= remaining <= count for remaining, count in zip(left, counts, strict=True))
    assert sum(counts) - sum(left) == best(counts, room, fits)


def test_who_has_a_choice_makes_room() -> None:
    assert unmatched([2, 2], [2, 2], [(0, 1), (0,)]) == [0, 0]
    assert unmatched([3, 2, 2], [2, 2, 2], [(0, 1), (1, 2), (0,)]) == [0, 0, 1]


def test_of_kinds_that_fit_the_same_the_last_ones_are_left() -> None:
    assert unmatched([1, 1, 1], [2], [(0,), (0,), (0,)]) == [0, 0, 1]


def test_nothing_is_left_of_nothing() -> None:
    assert unmatched([], [1], []) == []
    assert unmatched([2], [], [()]) == [2]
