"""Intervals hold what they say they hold, and a bar is judged by them alone."""

from __future__ import annotations

import statistics
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.intervals import CONFIDENCE, SURE, Interval, judge, median_interval
from benchmarks.measuring import Benchmark, Figure, Subject, Yardstick, conclude


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_an_interval_holds_the_median_and_is_as_sure_as_few_values_allow(values: list[float]) -> None:
    low, high, confidence = median_interval(values)
    assert low <= statistics.median(values) <= high
    assert {low, high} <= set(values)
    assert confidence >= CONFIDENCE or (low, high) == (min(values), max(values))


@pytest.mark.parametrize(
    ("count", "low", "confidence"), [(1, 0, 0.0), (5, 0, 0.9375), (6, 0, 0.96875), (10, 1, 0.978515625)]
)
def test_intervals_are_those_of_the_binomial_table(count: int, low: int, confidence: float) -> None:
    """Such as in Conover, Practical Nonparametric Statistics, table A3."""
    ends = median_interval(range(count))
    assert ends[:2] == (low, count - 1 - low)
    assert ends[2] == pytest.approx(confidence)
    with pytest.raises(ValueError, match="an interval of nothing"):
        median_interval([])


@pytest.mark.parametrize("rounds", [*range(3, 12), 15])
@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_an_interval_covers_the_true_median_as_often_as_it_says(rounds: int, noise: float) -> None:
    """Of 2,000 benchmarks whose true ratio is 1, with noise that is skewed as that of machines is; 3.5 deviations."""
    drawn = np.random.default_rng(7).lognormal(0, noise, (2000, rounds))
    intervals = [*map(median_interval, drawn.tolist())]
    sure = intervals[0].confidence
    covering = [low <= 1 <= high for low, high, _ in intervals]
    assert np.mean(covering) >= sure - 3.5 * (sure * (1 - sure) / 2000) ** 0.5


@pytest.mark.parametrize(
    ("low", "high", "at_least", "at_most", "outcome"),
    [
        (0.7, 0.8, None, None, None),
        (0.7, 0.8, 0.6, None, "held"),
        (0.6, 0.8, 0.6, None, "held"),
        (0.5, 0.7, 0.6, None, "noise"),
        (0.5, 0.6, 0.6, None, "noise"),
        (0.4, 0.5, 0.6, None, "missed"),
        (3.0, 4.0, None, 5.0, "held"),
        (3.0, 5.0, None, 5.0, "held"),
        (4.0, 6.0, None, 5.0, "noise"),
        (5.0, 6.0, None, 5.0, "noise"),
        (5.5, 6.0, None, 5.0, "missed"),
        (7.0, 7.0, None, 5.0, "missed"),
        (5.0, 5.0, None, 5.0, "held"),
        (1.0, 2.0, 0.5, 3.0, "held"),
        (1.0, 4.0, 0.5, 3.0, "noise"),
        (0.1, 0.2, 0.5, 3.0, "missed"),
    ],
)
def test_a_bar_is_held_missed_or_hidden_by_noise(
    low: float, high: float, at_least: float | None, at_most: float | None, outcome: str | None
) -> None:
    assert judge(Interval(low, high, SURE), at_least, at_most) == outcome
    unsure = None if outcome is None else "noise"
    assert judge(Interval(low, high, 0.89), at_least, at_most) == unsure


@pytest.mark.parametrize(("rounds", "sure"), [(1, False), (3, False), (4, False), (5, True), (9, True)])
def test_an_outcome_of_few_rounds_is_not_sure(rounds: int, *, sure: bool) -> None:
    interval = median_interval([1.0] * rounds)
    assert judge(interval, 2.0, None) == ("missed" if sure else "noise")
    assert judge(interval, 0.9, None) == ("held" if sure else "noise")


def test_the_ratio_of_a_result_is_as_sure_as_its_order_statistics() -> None:
    """Of seven rounds the second least to the second greatest would hold the true median in seven of eight cases."""
    figures = (Figure("mine", "mine"), Figure("other", "other"))
    benchmark = Benchmark("one", lambda: nullcontext([Subject(figures, tuple)]), (Yardstick("mine", "other", 0.9),))
    values = {"mine": [0.7, 0.71, 0.72, 0.73, 0.74, 0.8, 1.1], "other": [1.0] * 7}
    ratio = conclude(benchmark, [Subject(figures, tuple)], values, 0.0, 0.0).ratios["mine/other"]
    assert Interval(ratio.low, ratio.high, ratio.confidence) == median_interval(values["mine"])
    assert (ratio.low, ratio.high, ratio.outcome) == (0.7, 1.1, "noise")
