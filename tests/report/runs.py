"""Runs made by hand for the tests of reports and bundles, small and large, harmless and hostile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.bundle.writing import write_bundle
from simulator.checkers.bounds import scrape_bounds
from simulator.checkers.facts import Facts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.records import (
    CampaignRecord,
    ClaimRecord,
    FailedExchange,
    GeneratorSample,
    MachineRecord,
    Scrape,
)
from simulator.history.rows import ROW, History
from simulator.judging.judging import judge_run
from simulator.judging.record import RunRecord
from simulator.report.report_input import ReportInput
from tests.checkers.conftest import Story, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.judging.verdict_file import RunVerdict
    from simulator.report.files import WriteResult

SCENARIO = """\
version = 1
name = "by-hand"
duration = "40s"

[fleet]
machines = 2

[[attacks]]
name = "replay.exact"
start = "10s"
duration = "10s"
rate = 1

[thresholds]
"heartbeat.accepted" = ["rate==1"]
"attacks.accepted" = ["count==0"]
"""
HOSTILE = (
    "</pre></svg></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`&amp;{{ 7*7 }}{% raw %}"
    " | a | ](http://evil.example/) <b>*x*</b> ``` [red]rich[/] ]]> <!-- --> \x1b[31m\x00\x07\x85\ud800\uffff\u202e"
    "\u2028\n# heading"
)
"""Text that means something to every reader of a report that does not take it for text."""


def campaign(number: int, attack: str, **more: Any) -> CampaignRecord:
    """Return a campaign that was played once, to its end."""
    return CampaignRecord(
        **{"number": number, "attack": attack, "scripted": False, "attempts": 1, "completed": 1, **more}
    )


def record(facts: Facts, **changes: Any) -> RunRecord:
    """Return a run's record."""
    fields: dict[str, Any] = {
        "scenario": "by-hand",
        "description": "Two machines and a replay.",
        "scenario_file": "scenarios/by-hand.toml",
        "seed": 7,
        "machines": 2,
        "thresholds": {"heartbeat.accepted": ("rate==1",), "attacks.accepted": ("count==0",)},
        "attacks": ("replay.exact",),
        "facts": facts,
        "target": "its own server",
        "given_target": False,
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "elapsed_ns": 40 * SECOND_NS,
        "connected_max": 2,
        "interrupted": None,
        "warnings": (),
    }
    return RunRecord(**{**fields, **changes})


def uneventful(**changes: Any) -> tuple[RunRecord, History]:
    """Return a run in which everything held: two machines, five replays that were refused."""
    story = Story(threshold=3)
    history = story.history
    for machine in (0, 1):
        story.register(machine, 0.1 * machine)
        history.machines[machine] = MachineRecord(f"wrk_{machine}", "ada")
    history.owners.append("ada")
    reasons = {Answer.NONCE_REPLAYED: 0}
    for second in range(1, 40):
        for machine in (0, 1):
            story.heartbeat(machine, second + 0.1 * machine)
        if 10 <= second < 15:
            story.attack(0, second + 0.3, Answer.NONCE_REPLAYED)
            reasons[Answer.NONCE_REPLAYED] += 1
        recent = min(reasons[Answer.NONCE_REPLAYED], max(0, 34 - second))
        story.healthy_second(second)
        story.scrape(second + 0.5, workers=2, recent=recent, reasons=dict(reasons))
    history.campaigns.append(campaign(1, "replay.exact"))
    return record(story.facts, **changes), history


def broken(**changes: Any) -> tuple[RunRecord, History]:
    """Return a run with a replay that was accepted, a counter that was impossible, and a claim that did not hold."""
    run, history = uneventful(**changes)
    sent_ns = 12_700_000_000
    history.append(
        sent_ns, sent_ns, sent_ns + 1, b"replayed    ", 0, 200, Operation.HEARTBEAT, Answer.NONCE_REPLAYED,
        Answer.ACCEPTED, 1,
    )  # fmt: skip
    history.exchanges.append(
        FailedExchange(sent_ns, sent_ns + 1, 1, b"POST /x", b"HTTP/1.1 200", "it was accepted before")
    )
    shown = metrics(120.5, workers=2, stale=1, recent=5, reasons={Answer.NONCE_REPLAYED: 5}, threshold=3)
    history.scrapes[20] = Scrape(history.scrapes[20].sent_ns, history.scrapes[20].answered_ns, shown)
    history.claims.append(
        ClaimRecord(12 * SECOND_NS, 1, "claimed", held=False, message="what it claims", evidence={"n": 1})
    )
    return run, history


def hostile() -> tuple[RunRecord, History]:
    """Return a run in which everything a server, a scenario or a target could say is hostile."""
    run, history = broken(
        scenario=HOSTILE, description=HOSTILE, scenario_file=HOSTILE, target=HOSTILE, interrupted=HOSTILE,
        warnings=(HOSTILE,), attacks=(HOSTILE,), thresholds={}, started_at=HOSTILE,
    )  # fmt: skip
    history.campaigns[0] = campaign(1, HOSTILE, not_tried=HOSTILE)
    history.machines[0] = MachineRecord(HOSTILE, HOSTILE)
    evidence = {"request": HOSTILE, "answer": HOSTILE, HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}]}
    history.claims.append(ClaimRecord(0, 1, HOSTILE, held=False, message=HOSTILE, evidence=evidence))
    for index, scrape in enumerate(history.scrapes):
        history.scrapes[index] = msgspec.structs.replace(scrape, samples={**scrape.samples, HOSTILE: 1.0})
    return run, history


def unknown(**changes: Any) -> tuple[RunRecord, History]:
    """Return a run that proves nothing: interrupted, with an overloaded harness and an attack not tried."""
    run, history = uneventful(interrupted="SIGINT after 3.0s", **changes)
    history.campaigns.append(
        campaign(2, "revoke.race", attempts=0, completed=0, not_tried="the target shows no consents")
    )
    history.campaigns.append(campaign(3, "skew.ahead", attempts=0, completed=0))
    return run, history


def report_input(run: tuple[RunRecord, History], scenario_text: str = SCENARIO) -> ReportInput:
    """Judge a run."""
    return ReportInput(judge_run(*run), *run, scenario_text)


def with_verdicts(made: ReportInput, *checkers: Verdict) -> ReportInput:
    """Put other checkers' verdicts in place of those there are."""
    return msgspec.structs.replace(made, verdict=msgspec.structs.replace(made.verdict, checkers=list(checkers)))


def failing(name: str, findings: int, **evidence: Any) -> Verdict:
    """Return a failed verdict with so many findings."""
    listed = tuple(
        Finding(f"{name}.rule", f"finding {number}", number * SECOND_NS, evidence) for number in range(findings)
    )
    return Verdict(name, Status.FAIL, f"{name} failed.", listed)


def written(folder: Path, run: tuple[RunRecord, History]) -> tuple[RunVerdict, WriteResult]:
    """Write a run's bundle."""
    verdict = judge_run(*run)
    return verdict, write_bundle(folder, verdict, *run, SCENARIO)


def long_run(machines: int = 1000, seconds: int = 600) -> tuple[RunRecord, History]:
    """Return ten minutes of a thousand machines, a tenth of which falls silent, and a replay campaign."""
    rng = np.random.default_rng(1)
    interval_ns = 5 * SECOND_NS
    places = np.arange(machines * seconds * SECOND_NS // interval_ns)
    beats = np.zeros(len(places), dtype=ROW)
    beats["machine"] = places % machines
    beats["planned_ns"] = places // machines * interval_ns + places % machines * interval_ns // machines + 3 * SECOND_NS
    silent = (beats["machine"] % 10 == 0) & (abs(beats["planned_ns"] - 265 * SECOND_NS) < 65 * SECOND_NS)
    beats = beats[~silent & (beats["planned_ns"] < (seconds - 1) * SECOND_NS)]
    beats["sent_ns"] = beats["planned_ns"] + rng.integers(100_000, 1_000_000, len(beats))
    beats["answered_ns"] = beats["sent_ns"] + (rng.lognormal(0.3, 0.8, len(beats)) * 1e6).astype(np.int64)
    beats["nonce"] = np.frombuffer(rng.bytes(12 * len(beats)), dtype="V12")
    beats["status"] = 200
    registered = np.zeros(machines, dtype=ROW)
    registered["operation"], registered["machine"] = Operation.REGISTER, np.arange(machines)
    registered["sent_ns"] = np.linspace(0, 3 * SECOND_NS, machines).astype(np.int64)
    registered["answered_ns"] = registered["sent_ns"] + 1_000_000
    attacks = np.zeros(20 * 60, dtype=ROW)
    attacks["sent_ns"] = attacks["planned_ns"] = 100 * SECOND_NS + np.arange(len(attacks)) * SECOND_NS // 20
    attacks["answered_ns"] = attacks["sent_ns"] + 2_000_000
    attacks["campaign"], attacks["expected"], attacks["got"] = 1, Answer.NONCE_REPLAYED, Answer.NONCE_REPLAYED
    rows = np.concatenate([registered, beats, attacks])
    history = History()
    history.extend(rows[np.argsort(rows["answered_ns"], kind="stable")])
    facts = Facts(stale_seconds=20, auth_window_seconds=60, auth_threshold=10, baseline={})
    moments = [Scrape(second * SECOND_NS, second * SECOND_NS + 3_000_000, {}) for second in range(1, seconds)]
    for one in scrape_bounds(history.rows(), moments, facts):
        shown = metrics(
            100 + one.scrape.sent_ns / SECOND_NS,
            workers=one.workers.low,
            unknown=one.unknown.low,
            stale=one.stale.low,
            recent=one.recent.low,
            reasons={Answer.NONCE_REPLAYED: one.failures.low},
            threshold=10,
        )
        history.scrapes.append(Scrape(one.scrape.sent_ns, one.scrape.answered_ns, shown))
    for second in range(seconds):
        lag_ns = int(rng.lognormal(0, 0.6) * 2e6)
        history.generator.append(GeneratorSample(second * SECOND_NS, lag_ns, float(0.3 + 0.1 * rng.random()), 0))
    history.campaigns.append(campaign(1, "replay.exact", attempts=1200, completed=1200))
    return record(facts, machines=machines, elapsed_ns=seconds * SECOND_NS, connected_max=machines), history
