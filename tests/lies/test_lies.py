"""Each lie in front of a correct server is proven, by a finding that shows it."""

from __future__ import annotations

import json

import pytest

from simulator.checkers.verdict import Status
from simulator.judging.rules import known_rules
from tests.lies.lies import LIES
from tests.lies.world import LyingWorld

LIES_MIN = 30
EVIDENCE = {
    "request",
    "answer",
    "event",
    "owner",
    "certificate_id",
    "subject",
    "scraped_from_ns",
    "before",
    "client",
    "status",
}


@pytest.fixture(scope="module")
def honest() -> LyingWorld:
    return LyingWorld().play()


def test_the_truth_is_believed(honest: LyingWorld) -> None:
    verdicts = {verdict.name: verdict for verdict in honest.judge()}
    assert {verdict.summary for verdict in verdicts.values() if verdict.status is Status.FAIL} == set()
    for name in ("contents", "audit", "alerts", "answers"):
        assert verdicts[name].status is Status.PASS, verdicts[name].summary


def test_there_are_lies_enough() -> None:
    assert len(LIES) >= LIES_MIN


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_proven_with_what_shows_it(name: str) -> None:
    reported = LIES[name]
    world = LyingWorld(reported.lie).play()
    assert world.lied, "nothing was changed"
    found: dict[str, list[object]] = {}
    for finding in world.findings():
        found.setdefault(finding.rule, []).append(finding)
        assert f"checker/{finding.rule}" in known_rules()
    assert set(reported.rules) <= found.keys(), f"found were {sorted(found)}"
    for rule in reported.rules:
        evidence = [finding.evidence for finding in world.findings() if finding.rule == rule]
        assert any(EVIDENCE & one.keys() for one in evidence), evidence
    shown = json.dumps([finding.evidence for finding in world.findings()], default=str)
    assert reported.shows in shown
