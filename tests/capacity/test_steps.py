"""Steps: how a scenario becomes one, and what its history says about whose limit was reached."""

from __future__ import annotations

from typing import Any

import pytest

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.capacity import step as steps
from simulator.capacity.search import TrialOutcome
from simulator.capacity.step import Measured, Plan, machines_for, measure_step, plan_step, thresholds_of
from simulator.checkers.facts import Facts
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.records import Death, GeneratorSample, Wait
from simulator.history.rows import HONEST, NEVER_NS, History
from simulator.judging.record import RunRecord
from simulator.scenario.kinds import Duration
from simulator.scenario.values import AttackOptions, ClockOptions, FleetOptions, Scenario

FIVE_SECONDS = 5 * SECOND_NS


def scenario(**changes: Any) -> Scenario:
    fields: dict[str, Any] = {
        "version": 1,
        "name": "steady",
        "duration_ns": Duration(SECOND_NS),
        "fleet": FleetOptions(machines=7, owners=10, clocks=(ClockOptions(share=0.5),)),
        "thresholds": {},
    }
    return Scenario(**{**fields, **changes})


def planned(rate: int = 20, thresholds: dict[str, tuple[str, ...]] | None = None) -> Plan:
    wanted = {"heartbeat.response_time": ("p(99)<250ms",), **(thresholds or {})}
    return plan_step(scenario(), rate, 10, 100, wanted)


def measured(
    plan: Plan, *, took_ms: float = 5, late_ms: float = 0, window_only: bool = True, up: int | None = None,
    interrupted: str | None = None, generator: tuple[float, int, int] = (0.2, 0, 0), lost: int = 0, share: float = 1.0,
    stall: tuple[int, int] = (0, 0), waits: bool = False, deaths: tuple[Death, ...] = (),
) -> Measured:  # fmt: skip
    """Measure a step in which every heartbeat left so late and took so long, or only those of the window did.

    Within a `stall` the server answers nothing, and what was to be sent meanwhile leaves as the answer before it comes,
    or, where `waits`, what came due is never sent.
    """
    history = History()
    history.deaths += deaths
    busy_until_ns = [0] * plan.machines
    for machine in range(plan.machines if up is None else up):
        history.append(0, 0, 1, b"", machine, 200, Operation.POLICY_FETCH, Answer.ACCEPTED, Answer.ACCEPTED, HONEST)
    beats = round(plan.rate * plan.end_ns / SECOND_NS * share)
    for beat in range(beats):
        at_ns = round(beat * plan.end_ns / beats)
        bad = (at_ns >= plan.start_ns) is window_only
        machine = beat % plan.machines
        if waits and at_ns < busy_until_ns[machine]:
            history.waits.append(Wait(machine, at_ns, plan.interval_ns, 1, busy_until_ns[machine]))
            continue
        sent_ns = max(at_ns + round(late_ms * MILLISECOND_NS * bad), busy_until_ns[machine])
        gone = bad and lost > 0
        lost -= gone
        answered_ns = NEVER_NS if gone else sent_ns + round((took_ms if bad else 1) * MILLISECOND_NS)
        if stall[0] <= sent_ns < stall[1]:
            answered_ns = stall[1]
        busy_until_ns[machine] = answered_ns if answered_ns != NEVER_NS else 0
        history.append(
            at_ns, sent_ns, answered_ns, b"", beat % plan.machines, 200, Operation.HEARTBEAT, Answer.ACCEPTED,
            Answer.LOST if gone else Answer.ACCEPTED, HONEST,
        )  # fmt: skip
    cpu, dropped, held_up = generator
    for second in range(plan.end_ns // SECOND_NS):
        bad = (second * SECOND_NS > plan.start_ns) is window_only
        own = (cpu, dropped, held_up) if bad else (0.1, 0, 0)
        history.generator.append(GeneratorSample(second * SECOND_NS, 0, *own))
    facts = Facts(60, 300, 10, {})
    record = RunRecord(
        scenario="steady", description="", scenario_file="s.toml", seed=1, machines=plan.machines,
        thresholds=plan.scenario.thresholds, attacks=(), facts=facts, target="x", given_target=False, started_at="",
        elapsed_ns=plan.end_ns, connected_max=plan.machines, interrupted=interrupted, warnings=(),
    )  # fmt: skip
    return measure_step(plan, record, history)


@pytest.fixture(autouse=True)
def _checkers_that_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkers have tests of their own; here they hold."""
    monkeypatch.setattr(steps, "run_checkers", lambda *_: [Verdict("replay", Status.PASS, "")])


def outcome_of(found: Measured) -> tuple[TrialOutcome, str]:
    assert found.step is not None
    return found.step.outcome, found.step.limit


def test_a_step_that_keeps_every_limit_holds_and_says_its_figures() -> None:
    plan = planned()
    found = measured(plan)
    assert outcome_of(found) == (TrialOutcome.HELD, "")
    assert found.step is not None
    assert (found.step.rate, found.step.machines, found.step.planned) == (20, 100, 200)
    assert found.step.accepted == pytest.approx(200, abs=1)
    assert (found.step.p50_ms, found.step.p99_ms) == (5, 5)


def test_answers_that_come_too_late_break_the_step() -> None:
    assert outcome_of(measured(planned(), took_ms=400)) == (
        TrialOutcome.BROKE,
        "heartbeat.response_time: p(99)<250ms",
    )


def test_what_happens_before_the_window_does_not_count() -> None:
    before = {"took_ms": 400.0, "lost": 5, "generator": (1.0, 50, 50)}
    assert outcome_of(measured(planned(), window_only=False, **before)) == (TrialOutcome.HELD, "")  # type: ignore[arg-type]


def test_heartbeats_that_leave_late_are_the_harness_s_fault_and_not_the_server_s() -> None:
    found = measured(planned(), late_ms=300)
    assert outcome_of(found) == (TrialOutcome.HARNESS, "harness")
    assert found.step is not None
    assert "heartbeats left late" in found.step.why


def test_slow_answers_are_the_server_s_fault_even_if_some_heartbeats_leave_late() -> None:
    assert outcome_of(measured(planned(), took_ms=400, late_ms=300))[0] is TrialOutcome.BROKE


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("edge", ["start", "middle", "end"])
def test_a_server_that_stands_still_breaks_the_step_at_whichever_edge_of_the_window(edge: str, waits: bool) -> None:  # noqa: FBT001 - a column of the table
    """What it held up before the window began is late within it, which is not the harness's doing."""
    plan = planned()
    at_ns = {"start": plan.start_ns, "middle": (plan.start_ns + plan.end_ns) // 2, "end": plan.end_ns}[edge]
    stall = at_ns - 6 * SECOND_NS, at_ns + SECOND_NS
    assert outcome_of(measured(plan, stall=stall, waits=waits))[0] is TrialOutcome.BROKE


def test_a_server_that_ends_by_itself_breaks_the_step() -> None:
    """Though it ends the run early."""
    proven = Verdict("outage", Status.FAIL, "the server ended by itself")
    dead = Death("the server", SECOND_NS, SECOND_NS, -11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "run_checkers", lambda *_: [proven])
        found = measured(planned(), interrupted="the server died", deaths=(dead,))
    assert outcome_of(found) == (TrialOutcome.BROKE, "outage")


def test_starts_that_the_harness_dropped_and_a_core_it_used_up_are_its_own_limit() -> None:
    assert outcome_of(measured(planned(), generator=(0.2, 5, 0))) == (TrialOutcome.HARNESS, "harness")
    assert outcome_of(measured(planned(), took_ms=400, generator=(0.97, 0, 0))) == (TrialOutcome.HARNESS, "harness")
    assert outcome_of(measured(planned(), generator=(0.97, 0, 0))) == (TrialOutcome.HELD, "")


def test_starts_that_the_target_held_up_break_the_step_though_they_have_no_latency() -> None:
    assert outcome_of(measured(planned(), generator=(0.2, 0, 1))) == (TrialOutcome.BROKE, "held up")


def test_a_step_with_fewer_heartbeats_than_planned_does_not_hold() -> None:
    assert outcome_of(measured(planned(), share=0.8)) == (TrialOutcome.BROKE, "rate")
    assert outcome_of(measured(planned(), share=0.97)) == (TrialOutcome.HELD, "")


def test_a_lost_answer_is_an_endless_one() -> None:
    found = measured(planned(), lost=150)
    assert found.step is not None
    assert (found.step.outcome, found.step.p50_ms) == (TrialOutcome.BROKE, None)


def test_what_a_checker_proves_breaks_the_step_whoever_was_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    proven = Verdict("replay", Status.FAIL, "a nonce was accepted twice")
    monkeypatch.setattr(steps, "run_checkers", lambda *_: [proven])
    assert outcome_of(measured(planned(), took_ms=400, generator=(0.97, 9, 0))) == (TrialOutcome.BROKE, "replay")


def test_a_checker_that_cannot_know_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "run_checkers", lambda *_: [Verdict("audit", Status.INCONCLUSIVE, "unread")])
    assert outcome_of(measured(planned())) == (TrialOutcome.BROKE, "audit")


def test_machines_that_were_not_up_in_time_make_a_step_that_asks_for_more_time() -> None:
    found = measured(planned(), up=99)
    assert found.up_share == 0.99
    assert outcome_of(found) == (TrialOutcome.BROKE, "onboarding")
    assert measured(planned()).up_share == 1


def test_a_part_of_the_fleet_that_breaks_a_limit_is_answer_enough() -> None:
    assert outcome_of(measured(planned(), up=50, took_ms=400))[1] == "heartbeat.response_time: p(99)<250ms"


def test_an_interrupted_step_counts_for_nothing() -> None:
    assert measured(planned(), interrupted="SIGINT after 2s") == Measured(None, problem="SIGINT after 2s")


@pytest.mark.parametrize(
    ("rate", "machines"), [(1, 5), (100, 500), (200, 1000), (400, 1000), (4000, 1000), (8000, 2000), (20_000, 5000)]
)
def test_more_machines_first_then_faster_ones_then_more_again(rate: int, machines: int) -> None:
    assert machines_for(rate, FIVE_SECONDS) == machines


@pytest.mark.parametrize("rate", [1, 3, 333, 1001, 7777])
def test_machines_and_their_interval_make_the_rate_inside_the_default_rate_limit(rate: int) -> None:
    plan = planned(rate)
    assert plan.machines * SECOND_NS / plan.interval_ns == pytest.approx(rate, rel=1e-6)
    assert plan.interval_ns >= 0.2 * SECOND_NS
    assert plan.end_ns - plan.start_ns >= max(10 * SECOND_NS, 2 * plan.interval_ns)


def test_a_step_is_a_steady_honest_fleet_that_is_up_before_its_window() -> None:
    attack = AttackOptions(name="replay.exact", start_ns=Duration(0), duration_ns=Duration(1), rate=1, share=0.1)
    plan = plan_step(scenario(attacks=(attack,)), 1, 10, 100, {})
    fleet = plan.scenario.fleet
    assert (plan.scenario.attacks, fleet.clocks, fleet.silence) == ((), (), ())
    assert (fleet.machines, fleet.owners, plan.scenario.duration_ns) == (5, 5, plan.end_ns)
    assert fleet.stages[0].target == 5
    assert fleet.stages[0].duration_ns + fleet.heartbeat_interval_ns < plan.start_ns


def test_only_thresholds_that_fit_a_short_steady_step_are_kept_and_the_rest_is_named() -> None:
    kept, notes = thresholds_of(
        scenario(
            thresholds={
                "heartbeat.response_time": ("p(95)<100ms",),
                "heartbeat.accepted": ("rate==1", "count>=30000"),
                "requests.lost": ("count==0",),
                "alerts.stale_workers.fired": ("count>=1",),
            }
        )
    )
    assert kept == {
        "heartbeat.response_time": ("p(95)<100ms",),
        "heartbeat.accepted": ("rate==1",),
        "requests.lost": ("count==0",),
    }
    assert "heartbeat.accepted: count>=30000; alerts.stale_workers.fired: count>=1" in notes[0]
    assert "wrong clocks" in notes[1]


def test_without_a_limit_on_latency_there_is_one_and_it_is_said() -> None:
    kept, notes = thresholds_of(scenario(thresholds={"requests.lost": ("count==0",)}))
    assert kept["heartbeat.response_time"] == ("p(99)<250ms",)
    assert "p(99)<250ms is wanted" in notes[0]
