"""What ranks say of a shift, against counting every order and every sign there is."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.comparing.ranks import Shift, independent, paired
from simulator.limits import COMPARED_ROUNDS_MAX

distinct = st.lists(st.integers(-1000, 1000).filter(bool), min_size=1, max_size=8, unique_by=abs)


def counted_by_signs(differences: list[int]) -> float:
    """Return how many of all choices of signs have as small a sum of positive ranks, as a share; by brute force."""
    ranks = {size: rank for rank, size in enumerate(sorted(map(abs, differences)), 1)}
    seen = sum(ranks[abs(one)] for one in differences if one > 0)
    choices = [
        sum(rank for rank, sign in zip(ranks.values(), signs, strict=True) if sign)
        for signs in itertools.product((0, 1), repeat=len(differences))
    ]
    return sum(one <= seen for one in choices) / len(choices)


def counted_by_orders(before: list[int], after: list[int]) -> float:
    """Return how many of all ways to share out the values have as few pairs in which the later is above."""
    values = before + after
    seen = sum(later > earlier for earlier in before for later in after)
    shares = []
    for chosen in itertools.combinations(range(len(values)), len(after)):
        late = [values[number] for number in chosen]
        early = [one for number, one in enumerate(values) if number not in chosen]
        shares.append(sum(later > earlier for earlier in early for later in late) <= seen)
    return sum(shares) / len(shares)


@given(differences=distinct)
def test_pairs_are_as_improbable_as_all_signs_say(differences: list[int]) -> None:
    assert paired(differences).chance_below(0) == pytest.approx(counted_by_signs(differences))
    assert paired(differences).chance_above(0) == pytest.approx(counted_by_signs([-one for one in differences]))


@given(values=st.lists(st.integers(-1000, 1000), min_size=2, max_size=8, unique=True), data=st.data())
def test_two_groups_are_as_improbable_as_all_orders_say(values: list[int], data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(values) - 1))
    before, after = values[:cut], values[cut:]
    assert independent(before, after).chance_below(0) == pytest.approx(counted_by_orders(before, after))
    assert independent(before, after).chance_above(0) == pytest.approx(counted_by_orders(after, before))


@given(differences=st.lists(st.floats(-1, 1), min_size=1, max_size=30), level=st.sampled_from([0.01, 0.05, 0.2]))
def test_an_interval_ends_where_the_test_would_refuse(differences: list[float], level: float) -> None:
    shift = paired(differences)
    low, high = shift.bounds(level)
    assert low <= high
    if math.isinf(low):
        assert min(shift.chances) > level
        return
    assert shift.chance_above(low - 1e-9) <= level
    assert shift.chance_below(high + 1e-9) <= level


@given(differences=st.lists(st.floats(-1, 1), min_size=1, max_size=20), by=st.floats(-1, 1))
def test_what_all_are_moved_by_the_estimate_is_moved_by(differences: list[float], by: float) -> None:
    assert paired([one + by for one in differences]).estimate == pytest.approx(paired(differences).estimate + by)


def test_ties_are_taken_against_a_change() -> None:
    assert paired([0.0] * 10).chance_below(0) == 1
    assert paired([0.0] * 10).chance_above(0) == 1
    assert independent([1.0] * 5, [1.0] * 5).chance_below(0) == 1


@pytest.mark.parametrize("count", [0, COMPARED_ROUNDS_MAX + 1])
def test_none_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="values are compared"):
        paired([0.1] * count)


def test_the_most_that_is_compared_is_exact() -> None:
    shift: Shift = paired([float(number) for number in range(1, COMPARED_ROUNDS_MAX + 1)])
    assert shift.chances[-1] == 1.0
    assert shift.chance_above(0) == 2.0**-COMPARED_ROUNDS_MAX
