"""From a history to measured series, and from series to judged thresholds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers import run_checkers
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.losses import Loss, lost_status
from simulator.history.market_records import AccountShown, MarketExchange
from simulator.judging.parts import Series
from simulator.judging.thresholds import judge_thresholds, measure
from simulator.scenario.thresholds import METRICS
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

HUNDRED = np.arange(1, 101) / 1000  # 1 to 100 ms


def times(*values: float) -> Series:
    return Series(values=np.array(values, dtype=np.float64))


def judged(expression: str, series: Series | None, metric: str = "heartbeat.response_time") -> Verdict:
    (verdict,) = judge_thresholds({metric: [expression]}, {} if series is None else {metric: series})
    return verdict


@pytest.mark.parametrize(
    ("aggregate", "milliseconds"),
    [
        ("p(0)", 1),
        ("p(1)", 1),
        ("p(1.5)", 2),
        ("p(50)", 50),
        ("p(50.1)", 51),
        ("p(99)", 99),
        ("p(99.5)", 100),
        ("p(100)", 100),
        ("med", 50),
        ("min", 1),
        ("max", 100),
        ("avg", 50.5),
    ],
)
def test_times_of_a_known_series(aggregate: str, milliseconds: float) -> None:
    """1 to 100 ms, in no order: each aggregate has one right value, and the bound is met exactly there."""
    series = Series(values=np.roll(HUNDRED, 37)[::-1].copy())
    assert judged(f"{aggregate}<={milliseconds}ms", series).status is Status.PASS
    assert judged(f"{aggregate}<{milliseconds - 0.001:.3f}ms", series).status is Status.FAIL
    assert judged(f"{aggregate}>{milliseconds + 0.001:.3f}ms", series).status is Status.FAIL
    assert judged(f"{aggregate}<1s", series).figures["value"] == pytest.approx(milliseconds / 1000)


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(st.floats(0, 1000) | st.just(math.inf), min_size=1, max_size=40), st.integers(0, 1000))
def test_a_percentile_is_the_least_measured_value_that_so_many_did_not_exceed(values: list[float], tenths: int) -> None:
    """Lost answers are endless waits among the others, and spoil no percentile but those that reach them."""
    value = judged(f"p({tenths / 10})<1h", times(*values)).figures["value"]
    shown = math.inf if value is None else value
    needed = tenths * len(values)
    assert shown in values
    assert 1000 * sum(one <= shown for one in values) >= needed
    assert shown == min(values) or 1000 * sum(one < shown for one in values) < needed


@pytest.mark.parametrize(
    ("percentile", "count"),
    [(99.9, 1000), (99.9, 10_000), (99.95, 2000), (28, 25), (56, 100), (1.8, 500), (99.99, 10_000)],
)
def test_as_many_as_a_percentile_leaves_out_may_be_lost(percentile: float, count: int) -> None:
    """One of 1,000 may exceed p(99.9), though 99.9% of 1,000 is a little more than 999 in floating point."""
    lost = round(count * (100 - percentile) / 100)
    waits = [0.1] * (count - lost) + [math.inf] * lost
    assert judged(f"p({percentile})<250ms", times(*waits)).status is Status.PASS
    assert judged(f"p({percentile})<250ms", times(*waits[1:], math.inf)).status is Status.FAIL


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("<", "pass", "fail", "fail"),
        ("<=", "pass", "pass", "fail"),
        ("==", "fail", "pass", "fail"),
        ("!=", "pass", "fail", "pass"),
        (">=", "fail", "pass", "pass"),
        (">", "fail", "fail", "pass"),
    ],
)
def test_comparisons_below_at_and_above_the_bound(comparison: str, below: str, equal: str, above: str) -> None:
    counts = [judged(f"count{comparison}5", Series(count=count), "requests.lost").status for count in (4, 5, 6)]
    rates = [
        judged(f"rate{comparison}0.5", Series(count=count, total=10), "heartbeat.accepted").status
        for count in (4, 5, 6)
    ]
    waits = [judged(f"max{comparison}250ms", times(0.1, value)).status for value in (0.249, 0.25, 0.251)]
    assert counts == rates == waits == [below, equal, above]


@pytest.mark.parametrize(
    ("metric", "expression", "series"),
    [
        ("heartbeat.response_time", "p(99)<1h", None),
        ("heartbeat.response_time", "p(99)<1h", times()),
        ("heartbeat.response_time", "min>=0ms", times()),
        ("heartbeat.accepted", "rate>=0", Series(count=0, total=0)),
        ("alerts.errors", "count==0", None),
    ],
)
def test_what_was_not_measured_is_inconclusive(metric: str, expression: str, series: Series | None) -> None:
    """However lenient the threshold."""
    verdict = judged(expression, series, metric)
    assert (verdict.status, verdict.figures) == (Status.INCONCLUSIVE, {})
    assert "not measured" in verdict.summary


def test_a_count_of_nothing_is_a_measurement() -> None:
    assert judged("count==0", Series(count=0, total=0), "requests.lost").status is Status.PASS


@pytest.mark.parametrize(
    ("metric", "expression", "series", "shown"),
    [
        ("heartbeat.accepted", "rate==1", Series(count=999_999, total=1_000_000), "1 (999999 of 1000000)"),
        ("requests.total", "count==1234567", Series(count=1_234_568), "1234568"),
        ("heartbeat.response_time", "p(50)<250ms", times(0.250004), "250.004 ms"),
        ("heartbeat.response_time", "max<10s", times(math.inf), "inf ms"),
    ],
)
def test_a_missed_threshold_shows_by_what(metric: str, expression: str, series: Series, shown: str) -> None:
    """The finding names the metric, what it was and what was wanted, so that a reader sees the difference."""
    verdict = judged(expression, series, metric)
    (finding,) = verdict.findings
    assert (verdict.status, verdict.name) == (Status.FAIL, f"{metric}: {expression}")
    assert finding.rule == f"threshold.{metric}"
    assert finding.message == f"{metric} was {shown}, wanted {expression}"
    assert finding.evidence == verdict.figures
    assert (verdict.figures["value"] is None) == ("inf" in shown)


def test_thresholds_are_judged_one_by_one_in_the_order_they_are_written() -> None:
    series = {"requests.lost": Series(count=2, total=10), "heartbeat.response_time": times(0.1)}
    wanted = {
        "requests.lost": ["count<5", "rate<0.1"],
        "heartbeat.response_time": ["max<1s"],
        "alerts.errors": ["count==0"],
    }
    assert [(verdict.name, verdict.status.value) for verdict in judge_thresholds(wanted, series)] == [
        ("requests.lost: count<5", "pass"),
        ("requests.lost: rate<0.1", "fail"),
        ("heartbeat.response_time: max<1s", "pass"),
        ("alerts.errors: count==0", "inconclusive"),
    ]


def eventful(story: Story) -> None:
    """Nine honest heartbeats, seven of them due: four accepted, one refused, one limited, one lost; three attacks."""
    story.register(0, 0)
    for second in (1, 2, 3, 4):
        story.heartbeat(0, second + 0.5, planned=second, took=0.25)
    story.heartbeat(0, 5, Answer.UNEXPECTED, status=401)
    story.heartbeat(0, 6, Answer.RATE_LIMITED, status=429)
    story.heartbeat(0, 7, Answer.LOST)
    story.heartbeat(0, 8, Answer.TIMESTAMP_OUT_OF_WINDOW, expected=Answer.TIMESTAMP_OUT_OF_WINDOW)
    story.heartbeat(0, 9, Answer.ACCEPTED, expected=Answer.EITHER)
    story.attack(0, 10, Answer.INVALID_TOKEN)
    story.attack(0, 11, Answer.LOST, expected=Answer.INVALID_TOKEN)
    story.attack(0, 12, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED)
    story.request(Operation.POLICY_FETCH, 0, 13, Answer.LOST, expected=Answer.ACCEPTED)
    story.healthy_second(1, dropped=3)


def measured(story: Story, connected_max: int = 0, memory_max_bytes: int | None = None) -> dict[str, Series]:
    return measure(story.history, run_checkers(story.history, story.facts), connected_max, memory_max_bytes)


@pytest.mark.parametrize(
    ("metric", "count", "total"),
    [
        ("heartbeat.accepted", 4, 7),
        ("heartbeat.refused", 3, 9),
        ("requests.lost", 3, 14),
        ("requests.total", 14, 14),
        ("attacks.sent", 3, 3),
        ("attacks.accepted", 1, 1),
        ("replay.accepted_twice", 0, 0),
        ("generator.dropped_starts", 3, 12),
    ],
)
def test_events_of_a_known_history_are_counted(story: Story, metric: str, count: int, total: int) -> None:
    eventful(story)
    series = measured(story)[metric]
    assert (series.count, series.total) == (count, total)


def test_response_times_run_from_the_plan_and_service_times_from_the_sending(story: Story) -> None:
    """Attacks and control-plane calls are not in them; a lost heartbeat is an endless wait in both."""
    eventful(story)
    series = measured(story)
    response, service = series["heartbeat.response_time"].values, series["heartbeat.service_time"].values
    assert response is not None
    assert service is not None
    assert response.tolist() == pytest.approx([0.75] * 4 + [0.01, 0.01, math.inf, 0.01, 0.01])
    assert service.tolist() == pytest.approx([0.25] * 4 + [0.01, 0.01, math.inf, 0.01, 0.01])


@pytest.mark.parametrize("loss", Loss)
def test_a_heartbeat_that_crossed_the_close_of_a_resting_connection_misses_no_threshold(
    story: Story, loss: Loss
) -> None:
    """It was never asked. Whatever else keeps an answer away is lost, due, and an endless wait."""
    story.heartbeat(0, 1)
    story.heartbeat(0, 2, Answer.LOST, status=lost_status(loss, 0))
    series = measured(story)
    crossed = loss is Loss.CLOSING
    assert series["requests.lost"] == Series(count=not crossed, total=2)
    assert series["heartbeat.accepted"] == Series(count=1, total=1 if crossed else 2)
    for metric in ("heartbeat.response_time", "heartbeat.service_time"):
        values = series[metric].values
        assert values is not None
        assert np.isinf(values).tolist() == ([False] if crossed else [False, True])


def test_alert_figures_become_series(story: Story) -> None:
    story.register(0, 0)
    story.heartbeat(0, 1)
    for at, stale in ((5, 0), (12, 1), (13, 1)):
        story.scrape(at, workers=1, stale=stale)
    story.heartbeat(0, 14)
    story.scrape(15, workers=1, stale=0, stale_alert=1)
    series = measured(story)
    assert series["alerts.stale_workers.fired"].count == 1
    assert series["alerts.stale_workers.cleared"].count == 0
    assert series["alerts.worker_auth_failures.fired"].count == 0
    assert series["alerts.errors"].count == 1


def test_a_run_with_everything_measures_every_metric_there_is(new_story: type[Story]) -> None:
    story = new_story(rate_limit_refill_per_second=5.0, rate_limit_burst=20)
    eventful(story)
    story.scrape(20)
    story.history.market_exchanges.append(MarketExchange("owner:ada", Operation.PRICES_READ, 1, 2, 200))
    story.history.accounts_shown.append(AccountShown("owner:ada", 3, 4, transactions_total=0))
    series = measured(story, connected_max=7, memory_max_bytes=2_500_000)
    assert set(series) == set(METRICS)
    assert judged("max==7", series["machines.connected"], "machines.connected").status is Status.PASS
    assert judged("max>7", series["machines.connected"], "machines.connected").status is Status.FAIL
    assert judged("max<=2.5MB", series["server.memory"], "server.memory").status is Status.PASS
    exceeded = judged("max<2.5MB", series["server.memory"], "server.memory")
    assert (exceeded.status, exceeded.summary) == (Status.FAIL, "2.5 MB")


def test_what_a_crashed_checker_would_have_counted_is_not_measured(story: Story) -> None:
    """So that `alerts.errors: count==0` cannot pass because nobody counted."""
    story.heartbeat(0, 1)
    crashed = [Verdict("alerts", Status.INCONCLUSIVE, "The checker crashed: ValueError")]
    series = measure(story.history, crashed, 0)
    assert [metric for metric in series if metric.startswith(("alerts.", "attacks.", "replay."))] == []
    assert judge_thresholds({"alerts.errors": ["count==0"]}, series)[0].status is Status.INCONCLUSIVE


def test_an_empty_history_measures_nothing_that_could_pass(story: Story) -> None:
    wanted = {
        "heartbeat.response_time": ["p(99)<1h"],
        "heartbeat.accepted": ["rate>=0"],
        "heartbeat.service_time": ["max<1h"],
    }
    statuses = {verdict.status for verdict in judge_thresholds(wanted, measured(story))}
    assert statuses == {Status.INCONCLUSIVE}


FAILED, SILENT, IDLE = Status.FAIL, Status.INCONCLUSIVE, Status.NOT_APPLICABLE


@pytest.mark.parametrize(
    ("metric", "checkers", "count", "status"),
    [
        ("revocation.violations", {"revocation": IDLE}, 0, IDLE),
        ("revocation.violations", {"revocation": SILENT}, 0, SILENT),
        ("revocation.violations", {"revocation": Status.PASS, "alerts": SILENT}, 0, Status.PASS),
        ("revocation.violations", {"revocation": FAILED}, 2, FAILED),
        ("alerts.errors", {"alerts": SILENT}, 0, SILENT),
        ("auth_failures.nonce_replayed", {"alerts": SILENT}, 0, SILENT),
        ("replay.accepted_twice", {"replay": IDLE}, 0, IDLE),
        ("audit.errors", {"audit": SILENT}, 0, SILENT),
        ("attacks.accepted", {"answers": Status.PASS, "attacks": IDLE}, 0, IDLE),
        ("attacks.accepted", {"answers": Status.PASS, "attacks": SILENT}, 0, SILENT),
        ("attacks.accepted", {"answers": FAILED, "attacks": SILENT}, 3, FAILED),
        ("attacks.accepted", {"answers": Status.PASS, "attacks": FAILED}, 0, Status.PASS),
        ("requests.lost", {"answers": SILENT, "attacks": SILENT}, 0, Status.PASS),
    ],
)
def test_a_threshold_knows_no_more_than_the_checker_that_counts_for_it(
    metric: str, checkers: dict[str, Status], count: int, status: Status
) -> None:
    """What is proven stands, and what nobody counted is neither held nor missed."""
    stated = [Verdict(name, one, "because of this") for name, one in checkers.items()]
    (verdict,) = judge_thresholds({metric: ("count==0",)}, {metric: Series(count=count, total=count)}, stated)
    assert verdict.status is status
    assert ("because of this" in verdict.summary) == (status in {SILENT, IDLE})
