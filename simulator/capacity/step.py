"""One step of a search: a short, steady version of the scenario at one rate, and the judgement of its run. No I/O."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.capacity.search import TrialOutcome
from simulator.checkers import CHECKERS, run_checkers
from simulator.checkers.generator import check_generator
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.schedule import honest_heartbeats, response_times
from simulator.judging.advisories import judge_by
from simulator.judging.campaigns import campaign_names
from simulator.judging.thresholds import judge_thresholds, measure, measure_without_own_lateness, percentile_of
from simulator.limits import CAPACITY_INTERVAL_MIN_SECONDS, CAPACITY_MACHINES_PREFERRED
from simulator.platform.wording import plural
from simulator.scenario.kinds import Duration
from simulator.scenario.thresholds import parse_threshold
from simulator.scenario.values import Scenario, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from simulator.history.rows import History
    from simulator.judging.parts import Series
    from simulator.judging.record import RunRecord

METRICS = ("heartbeat.", "requests.", "generator.")
"""Prefixes of the metrics that thresholds of a step may use."""
DEFAULT_THRESHOLDS = {"heartbeat.response_time": ("p(99)<250ms",)}
INTERVALS_MIN = 2
"""The shortest window, in heartbeat intervals: each machine sends more than one heartbeat in it."""
SETTLE_SECONDS = 0.5
ONBOARDING = "onboarding"
"""The name of the limit that a step broke if only its machines were not all ready in time."""
MISSING_SHARE_MAX = 0.02
MISSING_DEVIATIONS_MAX = 4
"""How many planned heartbeats may be missing in a window: a share for drift, and standard deviations for chance.

With jitter each machine has up to one heartbeat more or less in the window: a standard deviation of at most half a
heartbeat.
"""
HELD_UP_SHARE_MAX = 0.001
SATURATED_CPU_SHARE = 0.9
"""The share of the one core that a harness can use from which answers wait in the harness before they are read."""


class Plan(msgspec.Struct, frozen=True):
    """A step to be run. Only its window counts: from `start_ns` to `end_ns`, measured from the start of the run."""

    rate: int
    machines: int
    interval_ns: int
    start_ns: int
    end_ns: int
    scenario: Scenario


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was run. `p50_ms` and `p99_ms` are response times from the planned start, None if infinite.

    `limit` names the first limit that broke, such as a checker or a threshold, and `why` says how; both are empty if
    all held.
    """

    rate: int
    machines: int
    interval_ms: float
    window_s: float
    planned: int
    accepted: int
    p50_ms: float | None
    p99_ms: float | None
    outcome: TrialOutcome
    limit: str = ""
    why: str = ""


class Measured(msgspec.Struct, frozen=True):
    """The result of running a step: the step, or None if it cannot count, and then the reason in `problem`.

    `up_share` is the share of its machines that were ready when its window had to begin.
    """

    step: Step | None
    up_share: float = 1.0
    problem: str = ""


def machines_for(rate: int, interval_ns: int) -> int:
    """Return the number of machines that send `rate` heartbeats per second.

    It is as many as needed at the scenario's interval, up to a preferred number. For higher rates the interval becomes
    shorter, down to the shortest one; beyond that there are more machines again.
    """
    wanted = math.ceil(rate * interval_ns / SECOND_NS)
    fewest = math.ceil(rate * CAPACITY_INTERVAL_MIN_SECONDS)
    return max(1, min(wanted, max(CAPACITY_MACHINES_PREFERRED, fewest)))


def thresholds_of(scenario: Scenario) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the thresholds by which a short, steady step can be judged, and notes on what was changed."""
    kept: dict[str, tuple[str, ...]] = {}
    left_out = []
    for metric, expressions in scenario.thresholds.items():
        fit = tuple(one for one in expressions if metric.startswith(METRICS) and not _asks_for_an_amount(metric, one))
        left_out += [f"{metric}: {one}" for one in expressions if one not in fit]
        if fit:
            kept[metric] = fit
    notes = []
    if left_out:
        notes.append(f"left out, as they say nothing about a short, steady step: {'; '.join(left_out)}")
    if not any(metric.endswith("_time") for metric in kept):
        kept.update(DEFAULT_THRESHOLDS)
        notes.append("the scenario limits no latency: heartbeat.response_time p(99)<250ms is wanted")
    fleet = scenario.fleet
    parts = [name for name, there in (("attacks", scenario.attacks), ("silences", fleet.silence),
                                      ("wrong clocks", fleet.clocks), ("stages", fleet.stages)) if there]  # fmt: skip
    if parts:
        notes.append(f"steps are without the scenario's {', '.join(parts)}: what is measured is a steady, honest fleet")
    return kept, notes


def _asks_for_an_amount(metric: str, expression: str) -> bool:
    """Return whether a threshold requires a number of events that depends on the length of the run."""
    threshold = parse_threshold(metric, expression)
    return threshold.aggregate == "count" and (
        threshold.comparison in {">", ">="} or (threshold.comparison == "==" and threshold.bound > 0)
    )


def plan_step(
    scenario: Scenario, rate: int, seconds: float, machines_per_second: float, thresholds: dict[str, tuple[str, ...]]
) -> Plan:
    """Return the scenario as a step: a ramp that brings the machines up, an interval to settle, and the window."""
    fleet = scenario.fleet
    machines = machines_for(rate, fleet.heartbeat_interval_ns)
    interval_ns = round(machines * SECOND_NS / rate)
    ramp_ns = round((1 + machines / machines_per_second) * SECOND_NS)
    start_ns = ramp_ns + interval_ns + round(SETTLE_SECONDS * SECOND_NS)
    end_ns = start_ns + max(round(seconds * SECOND_NS), INTERVALS_MIN * interval_ns)
    steady = msgspec.structs.replace(
        fleet,
        machines=machines,
        owners=min(fleet.owners, machines),
        heartbeat_interval_ns=Duration(interval_ns),
        stages=(Stage(duration_ns=Duration(ramp_ns), target=machines),),
        clocks=(),
        silence=(),
    )
    step = msgspec.structs.replace(
        scenario,
        fleet=steady,
        attacks=(),
        faults=(),
        duration_ns=Duration(end_ns),
        thresholds=thresholds,
        abort_on_fail=(),
    )
    return Plan(rate, machines, interval_ns, start_ns, end_ns, step)


def measure_step(plan: Plan, record: RunRecord, history: History) -> Measured:
    """Judge a step by its window; all checkers but the one of the harness itself judge the whole history."""
    if record.interrupted and not history.deaths:  # a server that ended by itself failed at this rate
        return Measured(None, problem=record.interrupted)
    rows = history.rows()
    up = rows[(rows["operation"] == Operation.POLICY_FETCH) & (rows["got"] == Answer.ACCEPTED)]
    settled_ns = plan.start_ns - plan.interval_ns
    brought_up = len(np.unique(up[up["answered_ns"] <= settled_ns]["machine"]))
    window = history.with_rows(rows[(rows["planned_ns"] >= plan.start_ns) & (rows["planned_ns"] < plan.end_ns)])
    window.waits = [one for one in history.waits if plan.start_ns <= one.planned_ns < plan.end_ns]
    window.generator = [one for one in history.generator if plan.start_ns < one.at_ns <= plan.end_ns]
    others = {name: check for name, check in CHECKERS.items() if name != "generator"}
    found = run_checkers(history, record.facts, others)
    checkers = judge_by(record.profile, found, campaign_names(history, record.attacks), history.exchanges).checkers
    # The answer that holds up a machine's first start in the window may have come before the window.
    generator = check_generator(window, record.facts, history)
    best = measure_without_own_lateness(window, generator, record.facts.lag_budget_seconds, history)
    thresholds = judge_thresholds(record.thresholds, measure(window, [generator], record.connected_max))
    beats = honest_heartbeats(window)
    accepted = int((beats["got"] == Answer.ACCEPTED).sum())
    planned = round(plan.rate * (plan.end_ns - plan.start_ns) / SECOND_NS)
    held_up = sum(one.held_up for one in window.generator)
    outcome = TrialOutcome.HELD
    limit, why = _first_broken(checkers, generator, thresholds)  # a part of the fleet is enough to break a limit
    if not limit and held_up > HELD_UP_SHARE_MAX * planned:
        limit, why = (
            "held up",
            f"{plural(held_up, 'heartbeat')} could not leave: the target still owed their machine an answer",
        )
    if not limit and brought_up < plan.machines:
        limit, why = ONBOARDING, f"{brought_up:,} of {plural(plan.machines, 'machine')} up when the step had to begin"
    if not limit and planned - accepted > _may_be_missing(planned, plan.machines):
        limit, why = "rate", f"{accepted:,} of {plural(planned, 'planned heartbeat')} accepted"
    if limit:
        outcome = TrialOutcome.BROKE
        proven = any(one.status is Status.FAIL for one in checkers)
        harness = _harness_limit(generator, thresholds, window, best)
        if harness and not proven:
            outcome, limit, why = TrialOutcome.HARNESS, "harness", f"{harness} ({limit}: {why})"
    _, taken = response_times(window)
    p50, p99 = (_response_ms(taken, percentile) for percentile in (50, 99))
    step = Step(
        rate=plan.rate,
        machines=plan.machines,
        interval_ms=plan.interval_ns / 1e6,
        window_s=(plan.end_ns - plan.start_ns) / SECOND_NS,
        planned=planned,
        accepted=accepted,
        p50_ms=p50,
        p99_ms=p99,
        outcome=outcome,
        limit=limit,
        why=why,
    )
    return Measured(step, brought_up / plan.machines)


def _may_be_missing(planned: int, machines: int) -> float:
    return MISSING_SHARE_MAX * planned + MISSING_DEVIATIONS_MAX * 0.5 * math.sqrt(machines)


def _first_broken(checkers: list[Verdict], generator: Verdict, thresholds: list[Verdict]) -> tuple[str, str]:
    """Return name and summary of the first broken limit: failed checkers, then thresholds, then inconclusive ones."""
    ranked = [one for one in checkers if one.status is Status.FAIL]
    ranked += [one for one in thresholds if one.status.is_problem]
    ranked += [one for one in [generator, *checkers] if one.status is Status.INCONCLUSIVE]
    return (ranked[0].name, ranked[0].summary) if ranked else ("", "")


def _harness_limit(generator: Verdict, thresholds: list[Verdict], window: History, best: Mapping[str, Series]) -> str:
    """Return why a broken step shows the harness's limit and not the server's; empty if nothing suggests that.

    `best` has the measured times without the lateness that the harness may have added.
    """
    if generator.status.is_problem:
        return generator.summary
    shares = [one.cpu_share for one in window.generator]
    if shares and float(np.median(shares)) >= SATURATED_CPU_SHARE:
        return f"it used {float(np.median(shares)):.0%} of a core, and can use one"
    for one in thresholds:
        if not one.status.is_problem:
            continue
        metric, _, expression = one.name.partition(": ")
        if metric.startswith("generator."):
            return f"{one.name} did not hold"
        if metric in best and judge_thresholds({metric: (expression,)}, best)[0].status is Status.PASS:
            return "heartbeats left late: without what the harness added, answers came in time"
    return ""


def _response_ms(taken: NDArray[np.float64], percentile: float) -> float | None:
    """Return a percentile, in milliseconds, of response times in seconds; None if infinite or nothing was measured."""
    value = percentile_of(taken, percentile) * 1000 if len(taken) else math.inf
    return value if math.isfinite(value) else None
