"""Thresholds that count what a target has no part for: they are n/a, as its attacks are not tried, and never missed."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.features import Feature
from simulator.judging.lacking import untried

MISSED = (Finding("threshold.x", "it was missed", 0),)


def judged(name: str, status: Status, lacks: set[Feature], **not_tried: str) -> Verdict:
    attacks = Verdict("attacks", Status.PASS, "ran", (), {"not_tried": dict[str, Any](not_tried)})
    findings = MISSED if status is Status.FAIL else ()
    (one,) = untried([Verdict(name, status, "0", findings)], lacks, [attacks])
    return one


@pytest.mark.parametrize(
    "name", ["jobs.finished: count>=5", "withdrawals.settled: count>=5", "job.time_to_start: p(99)<2s"]
)
@pytest.mark.parametrize("status", [Status.FAIL, Status.INCONCLUSIVE, Status.PASS])
def test_what_counts_a_market_is_not_applicable_without_one(name: str, status: Status) -> None:
    without = judged(name, status, {Feature.JOBS, Feature.CHAIN})
    assert (without.status, without.findings) == (Status.NOT_APPLICABLE, ())
    assert "there is no /jobs" in without.summary
    assert judged(name, status, {Feature.CHAIN}).status is status
    assert judged(name, status, set()).status is status


def test_fewer_attacks_than_wanted_say_nothing_where_some_were_not_tried_on_what_a_target_lacks() -> None:
    reason = {"oauth.state": "of this target there is no /auth/me"}
    assert judged("attacks.sent: count>=400", Status.FAIL, {Feature.LOGINS}, **reason).status is Status.NOT_APPLICABLE
    assert judged("attacks.sent: count<400", Status.FAIL, {Feature.LOGINS}, **reason).status is Status.FAIL
    assert judged("attacks.sent: count>=400", Status.FAIL, {Feature.LOGINS}).status is Status.FAIL
    assert judged("attacks.sent: count>=400", Status.FAIL, set(), **reason).status is Status.FAIL
    assert judged("attacks.accepted: count==0", Status.FAIL, {Feature.LOGINS}, **reason).status is Status.FAIL


def test_other_thresholds_are_left_alone() -> None:
    assert judged("heartbeat.accepted: rate==1", Status.FAIL, set(Feature)).status is Status.FAIL
