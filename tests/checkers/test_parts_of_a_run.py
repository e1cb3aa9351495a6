"""Thresholds on parts of a run: heartbeats by the second, operations, attacks, campaigns; and what ends a run early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import trio

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.losses import Loss, lost_status
from simulator.history.records import Wait
from simulator.history.rows import NEVER_NS, History
from simulator.judging.judging import judge_run
from simulator.judging.parts import Series, heartbeat_rates, measure_parts
from simulator.judging.record import EndedEarly
from simulator.judging.thresholds import judge_thresholds, measure
from simulator.running.aborting import end_early, failed_threshold
from simulator.scenario.kinds import Duration
from simulator.scenario.thresholds import KNOWN_AT_ONCE, METRICS, OPERATIONS, PARTS, aggregates_of, part_of
from simulator.scenario.values import AbortOptions, AttackOptions, FleetOptions, Scenario
from simulator.worlds.progress import Progress
from tests.report.conftest import five_checkers
from tests.report.runs import uneventful

if TYPE_CHECKING:
    from collections.abc import Sequence

MACHINE = 3


def history_of(*rows: tuple[float, float, Operation, Answer, int], nonces: bytes = b"abcdefghijkl") -> History:
    """Return a history of requests: planned and answered at seconds, of an operation, with an answer and a campaign."""
    history = History()
    for planned, answered, operation, got, campaign in rows:
        planned_ns = round(planned * SECOND_NS)
        answered_ns = NEVER_NS if got is Answer.LOST else round(answered * SECOND_NS)
        history.append(
            planned_ns, planned_ns, answered_ns, nonces, MACHINE, 200, operation, Answer.ACCEPTED, got, campaign
        )
    return history


def beats(*moments: float, got: Answer = Answer.ACCEPTED) -> list[tuple[float, float, Operation, Answer, int]]:
    return [(at, at + 0.01, Operation.HEARTBEAT, got, 0) for at in moments]


def test_heartbeats_are_counted_in_whole_seconds_those_without_any_too() -> None:
    history = history_of(*beats(0.5, 1.1, 1.2, 2.5, 4.1, 4.2, 4.3, 5.5))
    assert heartbeat_rates(history).tolist() == [2, 1, 0, 3]
    assert heartbeat_rates(history_of(*beats(0.5, 1.1), *beats(2.5, 3.5, got=Answer.FAILED))).tolist() == [1, 0]
    assert heartbeat_rates(History()).tolist() == []


def test_a_server_that_falls_silent_has_a_rate_of_none() -> None:
    """What was to be answered counts, whether it was or not."""
    history = history_of(*beats(0.5, 1.1), *((at, 0.0, Operation.HEARTBEAT, Answer.LOST, 0) for at in (2.5, 3.5, 9.5)))
    assert heartbeat_rates(history).tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


PLAYED = history_of(
    (1, 1.2, Operation.POLICY_FETCH, Answer.ACCEPTED, 0),
    (2, 2.4, Operation.POLICY_FETCH, Answer.RATE_LIMITED, 0),
    (3, 0, Operation.POLICY_FETCH, Answer.LOST, 0),
    (1, 9.0, Operation.POLICY_FETCH, Answer.ACCEPTED, 1),
    (1, 1.5, Operation.HEARTBEAT, Answer.NONCE_REPLAYED, 1),
    (2, 2.5, Operation.HEARTBEAT, Answer.ACCEPTED, 2),
    (2, 2.7, Operation.HEARTBEAT, Answer.NONCE_REPLAYED, 3),
)
CAMPAIGNS = {1: "replay.exact", 2: "skew.future-91s", 3: "replay.exact"}


@pytest.mark.parametrize(
    ("metric", "expression", "shown"),
    [
        ("operation.policy-fetch.sent", "count==3", "3"),
        ("operation.policy-fetch.accepted", "rate>0.3", "0.33333 (1 of 3)"),
        ("operation.policy-fetch.refused", "count==1", "1"),
        ("operation.policy-fetch.lost", "count==1", "1"),
        ("operation.policy-fetch.response_time", "min<=200ms", "200.000 ms"),
        ("operation.heartbeat.sent", "count==0", "0"),
        ("attack.replay.exact.sent", "count==3", "3"),
        ("attack.replay.exact.accepted", "count==1", "1"),
        ("attack.replay.exact.refused", "count==2", "2"),
        ("attack.replay.exact.response_time", "min<=500ms", "500.000 ms"),
        ("campaign.2.accepted", "rate==1", "1 (1 of 1)"),
        ("campaign.3.accepted", "rate==0", "0 (0 of 1)"),
        ("campaign.3.sent", "count==1", "1"),
    ],
)
def test_each_part_of_a_run_is_measured_by_its_own_requests(metric: str, expression: str, shown: str) -> None:
    (verdict,) = judge_thresholds({metric: (expression,)}, measure_parts(PLAYED, [metric], CAMPAIGNS))
    assert (verdict.status, verdict.summary) == (Status.PASS, shown)


def test_what_never_came_takes_for_ever_and_what_was_never_asked_is_not_known() -> None:
    slow = "operation.policy-fetch.response_time"
    (verdict,) = judge_thresholds({slow: ("max<1h",)}, measure_parts(PLAYED, [slow], {}))
    assert verdict.status is Status.FAIL
    idle = "operation.withdraw.response_time"
    (verdict,) = judge_thresholds({idle: ("max<1h",)}, measure_parts(PLAYED, [idle], {}))
    assert verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("metric", ["campaign.9", "attack.skew.behind", "operation.withdraw"])
@pytest.mark.parametrize("what", ["accepted", "refused", "lost"])
def test_what_became_of_requests_that_nobody_sent_is_not_known(metric: str, what: str) -> None:
    named = f"{metric}.{what}"
    (verdict,) = judge_thresholds({named: ("count==0",)}, measure_parts(PLAYED, [named], CAMPAIGNS))
    assert verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("metric", ["campaign.1.accepted", "attack.replay.exact.accepted"])
@pytest.mark.parametrize("checker", ["answers", "attacks"])
def test_nothing_was_accepted_only_where_who_judges_attacks_knows(metric: str, checker: str) -> None:
    history = history_of((1, 2, Operation.HEARTBEAT, Answer.NONCE_REPLAYED, 1))
    series = measure_parts(history, [metric, "campaign.1.refused"], CAMPAIGNS)
    silent = [Verdict(checker, Status.INCONCLUSIVE, "because of this")]
    wanted = {metric: ("count==0",), "campaign.1.refused": ("count==1",)}
    accepted, refused = judge_thresholds(wanted, series, silent)
    assert (accepted.status, refused.status) == (Status.INCONCLUSIVE, Status.PASS)
    assert judge_thresholds(wanted, series)[0].status is Status.PASS


def fleet_of(*beats: tuple[float, float, int]) -> History:
    """Return a history of heartbeats: planned and answered at seconds, with a status; below 0 it was lost."""
    history = History()
    for planned, answered, status in beats:
        lost = status < 0
        history.append(
            round(planned * SECOND_NS), round(planned * SECOND_NS), NEVER_NS if lost else round(answered * SECOND_NS),
            b"abcdefghijkl", MACHINE, status, Operation.HEARTBEAT, Answer.ACCEPTED,
            Answer.LOST if lost else Answer.ACCEPTED, 0,
        )  # fmt: skip
    return history


def values_of(series: Series) -> list[float]:
    return [] if series.values is None else series.values.tolist()


def test_the_operation_that_is_a_heartbeat_is_measured_as_heartbeats_are() -> None:
    """With what never left for a slow answer's sake, and without what crossed the close of a resting connection."""
    history = fleet_of((0.5, 0.6, 200), (1.5, 5.6, 200), (6.5, 0, lost_status(Loss.CLOSING, 0)), (7.5, 7.6, 200))
    history.waits.append(Wait(MACHINE, 2 * SECOND_NS, SECOND_NS, 3, round(5.6 * SECOND_NS)))
    part = "operation.heartbeat"
    wanted = [f"{part}.{what}" for what in PARTS["operation"]]
    series = measure(history, (), 1, parts=wanted)
    assert values_of(series[f"{part}.response_time"]) == values_of(series["heartbeat.response_time"])
    assert values_of(series[f"{part}.rate"]) == values_of(series["heartbeat.rate"])
    assert len(values_of(series[f"{part}.response_time"])) == 3 + 3
    assert series[f"{part}.lost"] == series["requests.lost"] == Series(count=0, total=4)
    assert series[f"{part}.accepted"] == series["heartbeat.accepted"] == Series(count=3, total=3)
    assert series[f"{part}.refused"] == series["heartbeat.refused"] == Series(count=0, total=4)
    assert series[f"{part}.sent"] == Series(count=4, total=4)


def test_an_answer_that_was_cut_off_is_lost_to_its_operation_too() -> None:
    history = fleet_of((0.5, 0.6, 200), (1.5, 0, lost_status(Loss.CUT, 0)))
    assert measure_parts(history, ["operation.heartbeat.lost"], {}) == {
        "operation.heartbeat.lost": Series(count=1, total=2)
    }


def test_every_operation_has_a_name_and_every_part_aggregates() -> None:
    assert set(OPERATIONS.values()) == set(Operation)
    for name in OPERATIONS:
        for what, aggregates in PARTS["operation"].items():
            assert aggregates_of(f"operation.{name}.{what}") is aggregates
    for metric in (*METRICS, "campaign.0.sent", "campaign.01.sent", "campaign.201.sent", "attack.none.sent", "x"):
        assert part_of(metric) is None


def test_what_a_run_may_be_ended_by_is_measured_without_any_checker() -> None:
    """Each metric that is said to be known at once has a value, or values, from the history alone."""
    known = [metric for metric in METRICS if metric.startswith(KNOWN_AT_ONCE) and not metric.startswith("market")]
    assert len(known) > 6
    assert set(known) <= set(measure(PLAYED, (), 1, 10))


def scenario(*aborts: AbortOptions, attacks: Sequence[AttackOptions] = ()) -> Scenario:
    return Scenario(
        version=1, name="s", duration_ns=Duration(60 * SECOND_NS), fleet=FleetOptions(machines=1),
        abort_on_fail=aborts, attacks=tuple(attacks),
    )  # fmt: skip


RATE = AbortOptions(metric="heartbeat.rate", threshold="median>=2", delay_ns=Duration(5 * SECOND_NS))


def at(seconds: float) -> Progress:
    progress = Progress()
    progress.elapsed_ns = round(seconds * SECOND_NS)
    return progress


def test_a_threshold_ends_a_run_from_its_delay_on_and_only_when_it_does_not_hold() -> None:
    slow, fast = history_of(*beats(0.5, 1.1, 2.5, 3.5)), history_of(*beats(0.5, 1.1, 1.2, 2.5, 2.6, 3.5))
    assert failed_threshold(scenario(RATE), slow, NEVER_NS, at(4.9)) is None
    assert failed_threshold(scenario(RATE), fast, NEVER_NS, at(6)) is None
    assert failed_threshold(scenario(RATE), History(), NEVER_NS, at(6)) is None
    ended = failed_threshold(scenario(RATE), slow, NEVER_NS, at(6))
    assert ended == EndedEarly("heartbeat.rate", "median>=2", 6 * SECOND_NS, "1 a second")
    assert str(ended) == "after 6.0 s heartbeat.rate was 1 a second, and the run was to end unless median>=2"


@pytest.mark.parametrize("metric", ["heartbeat.rate", "operation.heartbeat.rate", "operation.policy-fetch.rate"])
def test_a_second_of_which_not_all_is_known_ends_no_run(metric: str) -> None:
    """Processes report by their own clocks: what one has told of the newest second, the others may have yet to."""
    operation = Operation.POLICY_FETCH if "policy" in metric else Operation.HEARTBEAT
    beats_of = [
        (moment, moment + 0.01, operation, Answer.ACCEPTED, 0) for moment in (0.5, 1.1, 1.2, 2.1, 2.5, 3.1, 4.1)
    ]
    wanted = scenario(AbortOptions(metric=metric, threshold="min>=2"))
    history = history_of(*beats_of)
    assert failed_threshold(wanted, history, round(3.1 * SECOND_NS), at(5)) is None
    assert failed_threshold(wanted, history, 0, at(5)) is None
    assert failed_threshold(wanted, history, 4 * SECOND_NS, at(5)) is not None
    assert failed_threshold(wanted, history, NEVER_NS, at(5)) is not None


def test_an_attack_may_end_a_run_by_its_name() -> None:
    attack = AttackOptions(name="replay.exact", start_ns=Duration(0), duration_ns=Duration(SECOND_NS), rate=1)
    wanted = scenario(AbortOptions(metric="attack.replay.exact.accepted", threshold="count==0"), attacks=(attack,))
    assert (
        failed_threshold(wanted, history_of((1, 2, Operation.HEARTBEAT, Answer.NONCE_REPLAYED, 1)), NEVER_NS, at(3))
        is None
    )
    assert (
        failed_threshold(wanted, history_of((1, 2, Operation.HEARTBEAT, Answer.ACCEPTED, 1)), NEVER_NS, at(3))
        is not None
    )


async def test_a_run_goes_on_while_all_holds_and_ends_when_it_does_not(autojump_clock: object) -> None:
    del autojump_clock
    progress, rows, ended = at(9), beats(0.5, 1.1, 1.2, 2.5, 2.6, 3.5), list[EndedEarly]()
    with trio.CancelScope() as work:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                end_early, scenario(RATE), lambda: (history_of(*rows), NEVER_NS), progress, ended.append, work
            )
            await trio.sleep(60)
            assert ended == []
            rows += beats(4.5, 5.5, 6.5, 7.5, 8.5, 9.5)
            await trio.sleep_forever()
    assert [one.threshold for one in ended] == ["median>=2"]


async def test_without_any_nothing_is_looked_at() -> None:
    with trio.CancelScope() as work:
        await end_early(scenario(), lambda: pytest.fail("looked"), at(9), lambda _: None, work)
    assert not work.cancelled_caught


def test_a_run_that_a_threshold_ended_fails_by_it_and_knows_nothing_of_the_others() -> None:
    ended = EndedEarly("heartbeat.rate", "median>=9", 20 * SECOND_NS, "2 a second")
    record, history = uneventful(
        thresholds={"heartbeat.rate": ("median>=9",), "requests.total": ("count>=100000",)}, ended_early=ended
    )
    with five_checkers():
        verdict = judge_run(record, history)
    assert (verdict.status, verdict.exit_code, verdict.ended_early) == (Status.FAIL, 1, ended)
    assert [(one.name, one.status) for one in verdict.thresholds] == [
        ("heartbeat.rate: median>=9", Status.FAIL),
        ("requests.total: count>=100000", Status.INCONCLUSIVE),
    ]
    (finding,) = verdict.thresholds[0].findings
    assert (finding.rule, finding.at_ns) == ("threshold.heartbeat.rate", 20 * SECOND_NS)
    whole = msgspec.structs.replace(record, ended_early=None)
    with five_checkers():
        assert {one.status for one in judge_run(whole, history).thresholds} == {Status.FAIL}


def test_what_ends_a_run_is_judged_at_its_end_too_and_once() -> None:
    wanted = msgspec.structs.replace(scenario(RATE), thresholds={"heartbeat.rate": ("median>=2", "min>=1")})
    assert wanted.judged_thresholds == {"heartbeat.rate": ("median>=2", "min>=1")}
    assert scenario(RATE).judged_thresholds == {"heartbeat.rate": ("median>=2",)}
    assert np.isfinite(heartbeat_rates(PLAYED)).all()
