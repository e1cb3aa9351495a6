"""The search for a capacity, against model servers with a sharp edge, a noisy one, and none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.capacity.search import Bounds, Search, TrialOutcome
from simulator.limits import CAPACITY_STEPS_MAX


def searched(bounds: Bounds, holds: dict[int, bool] | None = None, *, edge: int = 0) -> Search:
    """Search a server that holds up to an edge, but for the first trial of the rates in `holds`."""
    search = Search(bounds)
    odd = dict(holds or {})
    while (rate := search.next_rate()) is not None:
        search.record(rate, TrialOutcome.HELD if odd.pop(rate, rate <= edge) else TrialOutcome.BROKE)
    return search


@given(
    lowest=st.integers(1, 2000),
    edge=st.integers(1, 100_000),
    precision=st.floats(0.02, 0.5),
)
def test_a_sharp_edge_is_in_the_interval_which_is_as_narrow_as_asked(lowest: int, edge: int, precision: float) -> None:
    interval = searched(Bounds(lowest, 100_000, precision), edge=edge).interval()
    if edge < lowest:
        assert (interval.held, interval.failed, interval.low) == (None, lowest, None)
    elif edge >= 100_000:
        assert (interval.held, interval.failed, interval.width) == (100_000, None, None)
    else:
        assert interval.held is not None
        assert interval.failed is not None
        assert interval.held <= edge < interval.failed
        assert (interval.low, interval.high) == (interval.held, interval.failed)
        assert interval.failed - interval.held <= max(precision * interval.failed, 1)


@given(
    seed=st.integers(0, 2**32),
    edge=st.integers(200, 20_000),
    softness=st.floats(0.0, 0.5),
    flake=st.floats(0.0, 0.3),
)
def test_a_noisy_edge_ends_in_time_and_its_interval_hides_no_contradiction(
    seed: int, edge: int, softness: float, flake: float
) -> None:
    rng = np.random.default_rng(seed)
    search = Search(Bounds(100, 50_000, 0.1))
    while (rate := search.next_rate()) is not None:
        assert 100 <= rate <= 50_000
        holds = rate < edge * (1 + softness * float(rng.standard_normal())) and rng.random() >= flake
        search.record(rate, TrialOutcome.HELD if holds else TrialOutcome.BROKE)
    assert len(search.trials) <= CAPACITY_STEPS_MAX
    interval = search.interval()
    for trial in search.trials:
        if interval.low is not None and trial.rate <= interval.low:
            assert trial.outcome is TrialOutcome.HELD
        if interval.high is not None and trial.rate >= interval.high:
            assert trial.outcome is TrialOutcome.BROKE
    if interval.held is not None and interval.failed is not None:
        assert interval.held < interval.failed
        assert interval.low is None or interval.low <= interval.held
        assert interval.high is None or interval.high >= interval.failed


@given(edges=st.tuples(st.integers(100, 40_000), st.integers(100, 40_000)))
def test_a_server_that_bears_more_is_never_said_to_bear_less(edges: tuple[int, int]) -> None:
    weaker, stronger = (searched(Bounds(100, 50_000, 0.1), edge=edge).interval() for edge in sorted(edges))
    assert (weaker.held or 0) <= (stronger.held or 0)


def test_one_failure_by_chance_neither_ends_the_doubling_nor_is_forgotten() -> None:
    search = searched(Bounds(100, 10_000, 0.1), {200: False}, edge=3000)
    interval = search.interval()
    assert interval.held is not None
    assert 2700 <= interval.held <= 3000
    assert [trial.rate for trial in search.trials].count(200) == 3
    assert (interval.low, interval.high) == (100, interval.failed)
    assert (interval.width or 0) > 0.9


def test_a_highest_rate_that_held_by_chance_only_is_found_out_at_the_end() -> None:
    search = searched(Bounds(100, 10_000, 0.1), {800: True}, edge=790)
    interval = search.interval()
    assert interval.held is not None
    assert interval.failed is not None
    assert interval.held <= 790 < interval.failed <= 800


def test_the_doubling_goes_from_the_lowest_rate_to_the_highest_and_no_further() -> None:
    assert [trial.rate for trial in searched(Bounds(100, 500, 0.1), edge=9999).trials] == [100, 200, 400, 500, 500]


def test_a_lowest_rate_that_fails_twice_ends_the_search() -> None:
    assert [trial.rate for trial in searched(Bounds(100, 500, 0.1), edge=1).trials] == [100, 100]


@pytest.mark.parametrize("outcome", [TrialOutcome.BROKE, TrialOutcome.HARNESS])
def test_who_was_the_limit_is_decided_at_the_lowest_rate_that_failed(outcome: TrialOutcome) -> None:
    search = Search(Bounds(100, 1000, 0.1))
    while (rate := search.next_rate()) is not None:
        limit = outcome if rate < 700 else TrialOutcome.HARNESS if outcome is TrialOutcome.BROKE else TrialOutcome.BROKE
        search.record(rate, TrialOutcome.HELD if rate <= 600 else limit)
    assert search.harness_was_the_limit() is (outcome is TrialOutcome.HARNESS)


@pytest.mark.parametrize(
    ("trials", "harness"),
    [
        ([TrialOutcome.BROKE, TrialOutcome.HARNESS], True),
        ([TrialOutcome.BROKE, TrialOutcome.HELD, TrialOutcome.HARNESS], True),
        ([TrialOutcome.BROKE, TrialOutcome.HELD, TrialOutcome.BROKE], False),
        ([TrialOutcome.BROKE, TrialOutcome.BROKE], False),
        ([TrialOutcome.HELD, TrialOutcome.HELD], False),
    ],
)
def test_a_server_is_too_slow_where_two_trials_of_the_rate_say_so(trials: list[TrialOutcome], *, harness: bool) -> None:
    search = Search(Bounds(500, 500, 0.1, is_required=True))
    for trial in trials:
        assert search.next_rate() == 500
        search.record(500, trial)
    assert search.next_rate() is None
    assert search.harness_was_the_limit() is harness


@pytest.mark.parametrize("bounds", [Bounds(0, 10, 0.1), Bounds(11, 10, 0.1), Bounds(1, 10, 0.0), Bounds(1, 10, 1.0)])
def test_bounds_that_bound_nothing_are_refused(bounds: Bounds) -> None:
    with pytest.raises(ValueError, match="positive rate"):
        Search(bounds)
