"""From a run's record and history to its verdict: the same for a run that has just ended and for a stored one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers import as_known, run_checkers
from simulator.checkers.causes import causes_first
from simulator.checkers.server_log import check_log
from simulator.checkers.unknown import undecided
from simulator.checkers.verdict import EXIT_CODES, Finding, Status, Verdict, worst
from simulator.contract.answers import Answer
from simulator.contract.profiles import profile_of
from simulator.history.rows import HONEST, History
from simulator.history.schedule import honest_heartbeats, response_times
from simulator.judging.advisories import judge_by, summaries_by
from simulator.judging.campaigns import accuse, campaign_names, summarise_campaigns
from simulator.judging.lacking import untried
from simulator.judging.statistics import check_statistics
from simulator.judging.thresholds import (
    excuse,
    judge_thresholds,
    measure,
    measure_without_own_lateness,
    percentile_of,
    slow_for_want_of_a_cpu,
)
from simulator.judging.verdict_file import RunVerdict
from simulator.scenario.metrics import MEMORY
from simulator.scenario.source import STANDARD_INPUT

if TYPE_CHECKING:
    from simulator.judging.record import EndedEarly, RunRecord

PERCENTILES = (("p50", 50), ("p90", 90), ("p99", 99), ("p99.9", 99.9), ("max", 100))


def judge_run(record: RunRecord, history: History) -> RunVerdict:
    """Judge a history by the checkers and the thresholds, and return the verdict. A pure function of its arguments."""
    checkers = run_checkers(history, record.facts)
    if history.parts:  # several processes played it
        checkers.append(check_statistics(history))
    if record.log is not None:
        checkers.append(check_log(record.log))
    names = campaign_names(history, record.attacks)
    judged = judge_by(record.profile, checkers, names, history.exchanges)
    checkers = [undecided(history, one) for one in judged.checkers]
    unseen = record.given_target or record.facts.virtual  # then nobody sees the server's memory, or it is the harness's
    wanted = {metric: ones for metric, ones in record.thresholds.items() if metric != MEMORY or not unseen}
    measured = measure(history, checkers, record.connected_max, record.memory_max_bytes, wanted, names)
    thresholds = untried(judge_thresholds(wanted, measured, checkers), record.facts.lacks, checkers)
    thresholds = [_at_the_end(one, record.ended_early) for one in thresholds]
    generator = next((one for one in checkers if one.name == "generator"), None)
    if generator is not None and not record.interrupted:  # then they are undecided, whoever is to blame
        best = measure_without_own_lateness(history, generator, record.facts.lag_budget_seconds)
        starving = slow_for_want_of_a_cpu(history, record.facts.lag_budget_seconds)
        thresholds = excuse(thresholds, wanted, generator, best, starving=starving)
    if record.interrupted:
        # What was not reached can have proven nothing: only a checker's failure, which has evidence, stands.
        thresholds = [_undecided(one) for one in thresholds]
        finding = Finding("run.interrupted", record.interrupted, record.elapsed_ns)
        checkers.append(Verdict("whole run", Status.INCONCLUSIVE, f"Interrupted: {record.interrupted}.", (finding,)))
    # What only a known clock, or a server that never began anew, could prove accuses no campaign, either.
    campaigns = summarise_campaigns(as_known(history, record.facts), record.attacks, record.facts, checkers)
    attacks = summaries_by(record.profile, campaigns, judged)
    checkers = causes_first(accuse(checkers, attacks))
    status = worst([one.status for one in [*checkers, *thresholds]])
    rows, heartbeats = history.rows(), honest_heartbeats(history)
    _, taken = response_times(history)
    taken = taken[np.isfinite(taken)]
    return RunVerdict(
        scenario=record.scenario,
        description=record.description,
        seed=record.seed,
        target=record.target,
        started_at=record.started_at,
        duration_s=record.elapsed_ns / SECOND_NS,
        interrupted=record.interrupted,
        status=status,
        exit_code=EXIT_CODES[status],
        checkers=checkers,
        thresholds=thresholds,
        requests={
            "total": len(rows),
            "heartbeats_accepted": int((heartbeats["got"] == Answer.ACCEPTED).sum()),
            "attacks": int((rows["campaign"] != HONEST).sum()),
            "lost": int((rows["got"] == Answer.LOST).sum()),
        },
        latency_s={name: percentile_of(taken, percentile) if len(taken) else None for name, percentile in PERCENTILES},
        warnings=list(record.warnings),
        reproduce=_command(record),
        attacks=attacks,
        profile=record.profile,
        advisories=judged.advisories,
        ended_early=record.ended_early,
        host=record.host,
    )


def _undecided(one: Verdict, when: str = "the run was interrupted") -> Verdict:
    summary = f"{one.summary.rstrip('.')} when {when}"
    return Verdict(one.name, Status.INCONCLUSIVE, summary, (), one.figures)


def _at_the_end(one: Verdict, ended: EndedEarly | None) -> Verdict:
    """Return what a threshold says of a run that one may have ended: that one failed, of the others nobody knows."""
    if ended is None:
        return one
    if one.name != f"{ended.metric}: {ended.threshold}":
        return _undecided(one, "a threshold ended the run")
    finding = Finding(f"threshold.{ended.metric}", str(ended), ended.at_ns, one.figures)
    return Verdict(one.name, Status.FAIL, f"{ended.measured}, which ended the run", (finding,), one.figures)


def _command(record: RunRecord) -> str:
    command = ["run", record.scenario_file, "--seed", str(record.seed)]
    command += record.options
    if record.given_target:
        command += ["--target", record.target]  # as it was understood: without a password that the URL may hold
    if record.profile is not profile_of(None, given_target=record.given_target):
        command += ["--profile", record.profile]
    named = f"{record.program} {shlex.join(command)}"
    return f"{named} < scenario.toml" if record.scenario_file == STANDARD_INPUT else named
