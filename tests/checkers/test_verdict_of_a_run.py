"""A whole run's verdict: what its checkers and thresholds add up to, and what it must not give away."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from simulator.checkers import CHECKERS
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.client.target import parse_target
from simulator.contract.answers import Answer
from simulator.judging.facts import facts_of
from simulator.judging.judging import judge_run
from simulator.judging.verdict_file import RunVerdict, verdict_schema, write_verdict
from simulator.running.recorded import record_of
from simulator.running.run import RunRequest
from simulator.running.run_state import RunState
from simulator.scenario.kinds import Duration
from simulator.scenario.values import FleetOptions, Scenario
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History
    from simulator.judging.record import RunRecord
    from tests.checkers.conftest import Story

TOKEN = "0123456789abcdef-owner-token"
PASS, FAIL, INCONCLUSIVE = Status.PASS, Status.FAIL, Status.INCONCLUSIVE


def request(thresholds: dict[str, tuple[str, ...]] | None = None, target: str | None = None) -> RunRequest:
    scenario = Scenario(
        version=1,
        name="a-scenario",
        duration_ns=Duration(30_000_000_000),
        fleet=FleetOptions(machines=2),
        thresholds=thresholds or {},
    )
    return RunRequest(scenario, Path("scenarios/a scenario.toml"), 5, Path("results"), target, TOKEN)


def judged(story: Story, asked: RunRequest, interrupted: str | None = None, **more: Any) -> RunVerdict:
    return judge_run(recorded(story, asked, interrupted, **more), story.history)


def recorded(story: Story, asked: RunRequest, interrupted: str | None = None, **more: Any) -> RunRecord:
    """What a run leaves besides its history, the load of this machine in it."""
    fields: dict[str, Any] = {
        "history": story.history,
        "progress": Progress(),
        "baseline": story.facts.baseline,
        "target": "its own server",
        "started_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "warnings": ["beware"],
        "interrupted": interrupted,
    }
    return record_of(asked, RunState(**{**fields, **more}))


def uneventful(story: Story) -> None:
    story.register(0, 0)
    for second in range(1, 30):
        story.heartbeat(0, second)
        story.healthy_second(second)
        story.scrape(second + 0.5, workers=1, threshold=10)


def attacked(story: Story) -> None:
    """A replay that is accepted, and counters that do not move."""
    uneventful(story)
    story.heartbeat(0, 30, nonce=b"x" * 12)
    story.attack(0, 31, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, nonce=b"x" * 12)
    story.attack(0, 32, Answer.INVALID_TOKEN)
    story.scrape(33, workers=1, threshold=10)


HELD, MISSED, UNMEASURED = "count>=0", "count>=1000000", "rate>=0"


@pytest.mark.parametrize(
    ("checkers", "thresholds", "interrupted", "status", "exit_code"),
    [
        ((PASS, PASS), (HELD,), None, PASS, 0),
        ((PASS, PASS), (), None, PASS, 0),
        ((PASS, FAIL), (HELD,), None, FAIL, 1),
        ((FAIL, INCONCLUSIVE), (HELD,), None, FAIL, 1),
        ((PASS, INCONCLUSIVE), (HELD,), None, INCONCLUSIVE, 3),
        ((PASS, PASS), (HELD, MISSED), None, FAIL, 1),
        ((INCONCLUSIVE, PASS), (MISSED,), None, FAIL, 1),
        ((PASS, PASS), (HELD, UNMEASURED), None, INCONCLUSIVE, 3),
        ((PASS, PASS), (MISSED, UNMEASURED), None, FAIL, 1),
        ((PASS, PASS), (HELD,), "SIGINT after 3.0s", INCONCLUSIVE, 3),
        ((PASS, PASS), (MISSED,), "SIGINT after 3.0s", INCONCLUSIVE, 3),
        ((FAIL, PASS), (HELD,), "SIGINT after 3.0s", FAIL, 1),
    ],
)
def test_the_worst_verdict_decides(
    story: Story,
    monkeypatch: pytest.MonkeyPatch,
    checkers: Sequence[Status],
    thresholds: tuple[str, ...],
    interrupted: str | None,
    status: Status,
    exit_code: int,
) -> None:
    """But what an interrupted run did not reach proves nothing: only a checker's evidence stands."""

    def fixed(_history: History, _facts: Facts) -> list[Verdict]:
        return [Verdict(f"checker {index}", one, "") for index, one in enumerate(checkers)]

    monkeypatch.setattr("simulator.judging.judging.run_checkers", fixed)
    verdict = judged(story, request({"heartbeat.accepted": thresholds}), interrupted)
    assert (verdict.status, verdict.exit_code) == (status, exit_code)
    if interrupted:
        assert {one.status for one in verdict.thresholds} <= {INCONCLUSIVE}
        assert verdict.checkers[-1].findings == (Finding("run.interrupted", interrupted, 0),)


@pytest.mark.parametrize(("other", "expected"), [(PASS, INCONCLUSIVE), (INCONCLUSIVE, INCONCLUSIVE), (FAIL, FAIL)])
def test_an_overloaded_harness_blames_no_server_for_missed_thresholds(
    story: Story, monkeypatch: pytest.MonkeyPatch, other: Status, expected: Status
) -> None:
    """A checker's proof stands even so."""

    def fixed(_history: History, _facts: Facts) -> list[Verdict]:
        return [Verdict("alerts", other, ""), Verdict("generator", INCONCLUSIVE, "")]

    monkeypatch.setattr("simulator.judging.judging.run_checkers", fixed)
    assert judged(story, request({"heartbeat.accepted": (MISSED,)})).status is expected


def test_what_an_interrupted_run_missed_is_not_laid_to_the_harness(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever cut it short, as a target that stopped answering while it was set up; nobody saw how the harness did."""
    monkeypatch.setattr("simulator.judging.judging.run_checkers", lambda *_: [Verdict("generator", INCONCLUSIVE, "")])
    story.heartbeat(0, 1, Answer.LOST)
    verdict = judged(story, request({"requests.lost": ("count==0",)}), "the run could not be set up")
    (threshold,) = verdict.thresholds
    assert (threshold.status, threshold.summary) == (INCONCLUSIVE, "1 when the run was interrupted")


def test_an_uneventful_run_passes(story: Story) -> None:
    uneventful(story)
    verdict = judged(story, request({"heartbeat.accepted": ("rate==1",), "requests.lost": ("count==0",)}))
    assert (verdict.status, verdict.exit_code) == (PASS, 0)
    idle = {"contents", "revocation", "credentials", "audit", "durability", "nonces", "attacks", "clock"}
    idle |= {"ledger", "metering", "matching", "isolation"}
    assert [(one.name, one.status) for one in verdict.checkers] == [
        (name, Status.NOT_APPLICABLE if name in idle else PASS) for name in CHECKERS
    ]
    assert verdict.requests == {"total": 30, "heartbeats_accepted": 29, "attacks": 0, "lost": 0}
    assert verdict.latency_s == dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 0.01)
    assert verdict.warnings == ["beware"]


def test_a_run_of_nothing_is_inconclusive(story: Story) -> None:
    verdict = judged(story, request())
    assert (verdict.status, verdict.exit_code) == (INCONCLUSIVE, 3)
    assert set(verdict.latency_s.values()) == {None}


@pytest.mark.parametrize("tell", [uneventful, attacked])
@pytest.mark.parametrize("interrupted", [None, "the server died with exit code 3"])
def test_its_file_is_valid_and_the_same_for_the_same_history(
    story: Story, tmp_path: Path, tell: Any, interrupted: str | None
) -> None:
    """No number in it is of a kind that JSON does not know."""
    tell(story)
    asked = request({"heartbeat.accepted": ("rate==1",), "heartbeat.response_time": ("p(99)<1ms",)})
    record = recorded(story, asked, interrupted)
    verdicts = [judge_run(record, story.history) for _ in range(2)]
    files = [write_verdict(one, tmp_path / str(place)).read_bytes() for place, one in enumerate(verdicts)]
    assert files[0] == files[1]
    Draft202012Validator(verdict_schema()).validate(json.loads(files[0]))


def test_it_gives_no_secret_away(story: Story) -> None:
    """The owner token; a target's URL cannot hold any."""
    attacked(story)
    target = "http://127.0.0.1:8080"
    asked = request({"attacks.accepted": ("count==0",)}, target)
    shown = msgspec.json.encode(judged(story, asked, target=parse_target(target, TOKEN).url)).decode()
    assert TOKEN not in shown
    assert "--target http://127.0.0.1:8080" in shown


def test_the_line_that_reproduces_it_can_be_pasted(story: Story) -> None:
    reproduce = judged(story, request(target="http://127.0.0.1:8080"), target="http://127.0.0.1:8080").reproduce
    assert shlex.split(reproduce) == [
        "hatchfarm", "run", "scenarios/a scenario.toml", "--seed", "5", "--target", "http://127.0.0.1:8080",
    ]  # fmt: skip
    assert "--target" not in judged(story, request()).reproduce


def test_checkers_know_the_servers_settings(story: Story) -> None:
    """The contract's defaults, unless the scenario sets others."""
    facts = facts_of(request().scenario, story.facts.baseline, None, only_client=True)
    assert (facts.stale_seconds, facts.auth_window_seconds, facts.auth_threshold) == (60, 300, 10)
    assert (facts.rate_limit_refill_per_second, facts.rate_limit_burst, facts.audit_events_per_stream) == (5, 20, 5000)
    assert facts.baseline == story.facts.baseline
    assert facts.only_client
    assert facts_of(request().scenario, {}, 20.0, only_client=False).stale_seconds == 20
