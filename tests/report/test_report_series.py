"""The numbers behind the plots: what is drawn is what happened, however much of it there was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.checkers.possible import possible
from simulator.contract.answers import Answer
from simulator.contract.metrics import AUTH_ALERT, STALE
from simulator.limits import PLOT_COLUMNS_MAX
from simulator.report import series
from tests.checkers.conftest import Story
from tests.report.runs import broken, long_run

SECONDS = 40


def test_columns_are_whole_seconds_and_never_more_than_a_plot_can_show() -> None:
    assert len(series.columns_of(600 * SECOND_NS)) - 1 == 600
    for elapsed_ns in (0, 1, SECOND_NS, 601 * SECOND_NS, 7 * 86_400 * SECOND_NS):
        borders = series.columns_of(elapsed_ns)
        assert 1 <= len(borders) - 1 <= PLOT_COLUMNS_MAX
        assert borders[0] == 0
        assert borders[-1] >= elapsed_ns
        assert set(np.diff(borders) % SECOND_NS) == {0.0}


@pytest.mark.parametrize("seconds", [600, 6000])
def test_rates_add_up_to_what_was_sent(seconds: int) -> None:
    _, history = long_run()
    rates = series.rates(history, seconds * SECOND_NS)
    rows = history.rows()
    honest = (rows["campaign"] == 0) & (rows["operation"] == 0)
    assert (rates.sent * rates.width).sum() == pytest.approx(honest.sum())
    assert (rates.attacks * rates.width).sum() == pytest.approx((rows["campaign"] == 1).sum())


def test_every_heartbeat_is_accepted_refused_or_lost() -> None:
    story = Story()
    story.heartbeat(0, 0.5)
    story.heartbeat(0, 1.5, Answer.NO_CONSENT)
    story.heartbeat(0, 1.6, Answer.LOST)
    story.attack(0, 1.7, Answer.ACCEPTED)
    rates = series.rates(story.history, 3 * SECOND_NS)
    assert (rates.sent.tolist(), rates.attacks.tolist()) == ([1, 2, 0], [0, 1, 0])
    assert (rates.accepted.tolist(), rates.refused.tolist(), rates.lost.tolist()) == ([1, 0, 0], [0, 1, 0], [0, 1, 0])


def test_a_percentile_is_a_time_that_somebody_waited() -> None:
    """By the second in which the heartbeat was due; the lost and the hostile have no say."""
    story = Story()
    for number in range(100):
        story.heartbeat(0, 1 + number / 200, planned=1 + number / 200, took=(number + 1) / 1000)
    story.heartbeat(0, 2.5, planned=0.5, took=0.25)
    story.heartbeat(0, 1.2, Answer.LOST)
    story.attack(0, 1.2, Answer.INVALID_TOKEN, took=5)
    latencies = series.latencies(story.history, 3 * SECOND_NS)
    assert latencies.percentiles[:, 0] == pytest.approx([2.25, 2.25, 2.25])
    assert latencies.percentiles[:, 1] == pytest.approx([0.05, 0.09, 0.099])
    assert np.isnan(latencies.percentiles[:, 2]).all()


def test_values_outside_their_bounds_are_marked() -> None:
    run, history = broken()
    bounds = list(possible(history, run.facts))
    fresh = series.freshness(bounds)
    assert {name: one.outside.sum() for name, one in fresh.items()} == {"fresh": 1, "stale": 1, "unknown": 0}
    assert fresh["stale"].at[fresh["stale"].outside] == pytest.approx([21.505])


def test_a_metric_that_a_scrape_does_not_show_as_a_number_is_left_out() -> None:
    run, history = broken()
    history.scrapes[3].samples[STALE] = float("nan")
    del history.scrapes[4].samples[STALE]
    bounds = list(possible(history, run.facts))
    assert len(series.counted(bounds, STALE, lambda one: one.stale).at) == len(history.scrapes) - 2


def test_a_strip_says_when_an_alert_was_on_and_when_it_had_to_be() -> None:
    story = Story(threshold=2, window_seconds=5)
    for at in (1.0, 1.2):
        story.attack(0, at, Answer.INVALID_TOKEN)
    for second in range(10):
        story.scrape(second + 0.5, recent=2 if 1 <= second < 6 else 0)
    one = series.alert(list(possible(story.history, story.facts)), AUTH_ALERT, 2, lambda bounds: bounds.recent)
    assert one.strip.shown_on == [pytest.approx((1.5, 5.0))]
    assert one.strip.must_be_on == [pytest.approx((1.5, 5.0))]
    assert one.strip.either == []


def test_a_strip_of_nothing_is_empty() -> None:
    one = series.alert([], AUTH_ALERT, 2, lambda bounds: bounds.recent)
    assert (one.strip.shown_on, len(one.count.at)) == ([], 0)


@given(st.integers(0, 20_000), st.integers(0, 2**32))
def test_thinning_keeps_the_extremes_and_what_must_be_seen_and_never_draws_too_much(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at, values = np.arange(count, dtype=np.float64), rng.normal(size=count)
    marked = rng.random(count) < 0.001
    drawn = series.thinned(at, values, marked)
    assert len(drawn) <= 3 * PLOT_COLUMNS_MAX
    assert (np.diff(drawn) > 0).all()
    if count:
        assert values[drawn].min() == values.min()
        assert values[drawn].max() == values.max()
        assert marked[drawn].any() == marked.any()
