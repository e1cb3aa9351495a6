"""Intervals hold what they say they hold, and a bar is judged by them alone."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.intervals import CONFIDENCE, bootstrap_interval, judge, median_interval

VALUES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12)


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
    for interval in (median_interval, bootstrap_interval):
        with pytest.raises(ValueError, match="an interval of nothing"):
            interval([])


@given(VALUES)
def test_a_bootstrap_interval_lies_within_the_values_and_holds_their_median(values: list[float]) -> None:
    low, high, confidence = bootstrap_interval(values)
    assert min(values) <= low <= statistics.median(values) <= high <= max(values)
    assert confidence <= CONFIDENCE


@given(VALUES)
def test_a_bootstrap_interval_is_of_the_values_alone(values: list[float]) -> None:
    """The same whenever it is worked out, and as wide as the unit says: a ratio of ms is one of seconds."""
    once = bootstrap_interval(values)
    assert bootstrap_interval(list(values)) == once
    doubled = bootstrap_interval([2 * value for value in values])
    assert doubled[:2] == pytest.approx((2 * once.low, 2 * once.high))


@pytest.mark.parametrize(("rounds", "share"), [(3, 0.7), (5, 0.88), (9, 0.9), (15, 0.9)])
@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_a_bootstrap_interval_covers_the_true_median_about_as_often_as_it_says(
    rounds: int, share: float, noise: float
) -> None:
    """Of 300 benchmarks whose true ratio is 1, with noise that is skewed as that of machines is."""
    drawn = np.random.default_rng(7).lognormal(0, noise, (300, rounds))
    covering = [low <= 1 <= high for low, high, _ in map(bootstrap_interval, drawn.tolist())]
    assert np.mean(covering) >= share


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
        (7.0, 7.0, None, 5.0, "missed"),  # measured once: it decides
        (5.0, 5.0, None, 5.0, "held"),
        (1.0, 2.0, 0.5, 3.0, "held"),
        (1.0, 4.0, 0.5, 3.0, "noise"),
        (0.1, 0.2, 0.5, 3.0, "missed"),
    ],
)
def test_a_bar_is_held_missed_or_hidden_by_noise(
    low: float, high: float, at_least: float | None, at_most: float | None, outcome: str | None
) -> None:
    assert judge(low, high, at_least, at_most) == outcome
