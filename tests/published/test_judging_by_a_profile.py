"""What a profile does not ask for is an advisory, with its evidence, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.profiles import Basis, Profile
from simulator.history.records import FailedExchange
from simulator.judging import rules
from simulator.judging.advisories import finding_basis, judge_by, summaries_by
from simulator.judging.verdict_file import AttackSummary

PUBLISHED, HARDENED = Profile.PUBLISHED, Profile.HARDENED
ATTACKS = {1: "replay.exact", 2: "skew.forms", 3: "policy.rules", 4: "owner.verbs"}
ACCEPTED, OTHERWISE = "answers.attack-accepted", "answers.refused-otherwise"

findings = st.builds(
    Finding,
    rule=st.sampled_from([*sorted(rules.BASES), "new.rule", "attacks.one-of-copies", "attacks.allow"]),
    message=st.text(max_size=5),
    at_ns=st.integers(0, 3),
    evidence=st.fixed_dictionaries({}, optional={"campaign": st.sampled_from([0, 1, 2, 3, 4, 9, [1, 2]])}),
)
verdicts = st.lists(
    st.builds(
        Verdict,
        name=st.sampled_from(["alerts", "answers", "audit"]),
        status=st.sampled_from(Status),
        summary=st.just("so it is"),
        findings=st.lists(findings, max_size=6).map(tuple),
        figures=st.fixed_dictionaries(
            {}, optional={"errors": st.integers(6, 9), "attacks_accepted": st.integers(6, 9)}
        ),
        doubt=st.sampled_from(["", "Nobody knows."]),
    ),
    max_size=4,
)


def failed(*found: Finding, doubt: str = "", **figures: Any) -> Verdict:
    return Verdict("answers", Status.FAIL, "it failed", found, figures, doubt=doubt)


def found(rule: str, campaign: int | None = None, at_ns: int = 0) -> Finding:
    return Finding(rule, f"{rule} is broken", at_ns, {} if campaign is None else {"campaign": campaign})


@given(verdicts)
def test_by_the_contract_nothing_is_an_advisory(given_verdicts: list[Verdict]) -> None:
    judged = judge_by(HARDENED, given_verdicts, ATTACKS, ())
    assert (judged.checkers, judged.advisories) == (given_verdicts, [])


@given(verdicts)
def test_no_finding_is_lost_and_what_counts_fails(given_verdicts: list[Verdict]) -> None:
    judged = judge_by(PUBLISHED, given_verdicts, ATTACKS, ())
    assert [one.name for one in judged.checkers] == [one.name for one in given_verdicts]
    reported = [(one.checker, one.finding, one.message, one.at_ns, one.evidence) for one in judged.advisories]
    for before, after in zip(given_verdicts, judged.checkers, strict=True):
        if before.status is not Status.FAIL:
            assert after is before
            continue
        for finding in before.findings:
            counts = PUBLISHED.asks_for(finding_basis(finding, ATTACKS, {}))
            one = (before.name, finding.rule, finding.message, finding.at_ns, finding.evidence)
            assert counts == (finding in after.findings)
            assert counts != (one in reported) or finding in after.findings
        if after.findings or not before.findings:
            assert after.status is Status.FAIL
        else:
            assert after.status is (Status.INCONCLUSIVE if before.doubt else Status.PASS)
    assert len(reported) + sum(
        len(after.findings)
        for before, after in zip(given_verdicts, judged.checkers, strict=True)
        if before.status is Status.FAIL
    ) == sum(len(one.findings) for one in given_verdicts if one.status is Status.FAIL)


@pytest.mark.parametrize(
    ("finding", "basis"),
    [
        (found("alerts.workers"), Basis.PUBLISHED),
        (found("audit.chain"), Basis.HARDENED),
        (found("features.v1"), Basis.HARDENED),
        (found("new.rule"), Basis.PUBLISHED),
        (found(ACCEPTED, 1), Basis.PUBLISHED),
        (found(OTHERWISE, 1), Basis.HARDENED),
        (found(ACCEPTED, 2), Basis.HARDENED),
        (found("attacks.allow", 4), Basis.RFC),
        (found("attacks.no-breakdown", 3), Basis.PUBLISHED),
        (found("replay.accepted-twice", 2), Basis.PUBLISHED),
        (found(ACCEPTED, 0), Basis.PUBLISHED),
        (found(ACCEPTED, 9), Basis.PUBLISHED),
        (Finding("replay.wrong", "", 0, {"attack": "skew.forms"}), Basis.HARDENED),
    ],
)
def test_a_finding_rests_on_its_rule_and_on_what_its_attack_does(finding: Finding, basis: Basis) -> None:
    assert finding_basis(finding, ATTACKS, {}) is basis


@pytest.mark.parametrize(
    ("kept", "basis"),
    [("", Basis.PUBLISHED), ("hardened", Basis.HARDENED), (None, Basis.HARDENED)],
)
def test_a_step_of_a_mixed_attack_rests_on_what_it_expects(kept: str | None, basis: Basis) -> None:
    """Where its bytes were not kept nobody knows which step it was, and nothing is proven by a guess."""
    exchanges = {} if kept is None else {(7, 3): FailedExchange(7, 8, 3, b"", b"", "", basis=kept)}
    assert finding_basis(found(ACCEPTED, 3, at_ns=7), ATTACKS, exchanges) is basis


def test_what_is_left_is_what_there_would_have_been() -> None:
    beyond = found("audit.chain")
    (passed,) = judge_by(PUBLISHED, [failed(beyond, errors=30)], {}, ()).checkers
    assert (passed.status, passed.figures["errors"]) == (Status.PASS, 0)
    (unknown,) = judge_by(PUBLISHED, [failed(beyond, doubt="No list was read.")], {}, ()).checkers
    assert (unknown.status, unknown.summary[:17]) == (Status.INCONCLUSIVE, "No list was read.")
    (still,) = judge_by(PUBLISHED, [failed(beyond, found("audit.foreign"), errors=2)], {}, ()).checkers
    assert (still.status, still.figures["errors"]) == (Status.FAIL, 1)
    assert still.summary.startswith("1 findings; audit.foreign is broken")


def test_hostile_requests_that_the_profile_allows_are_none_that_a_threshold_counts() -> None:
    allowed = failed(found(ACCEPTED, 2), attacks_accepted=1000)
    assert judge_by(PUBLISHED, [allowed], ATTACKS, ()).checkers[0].figures["attacks_accepted"] == 0
    both = failed(found(ACCEPTED, 2), found(ACCEPTED, 1), attacks_accepted=2)
    assert judge_by(PUBLISHED, [both], ATTACKS, ()).checkers[0].figures["attacks_accepted"] == 1


def line(campaign: int, status: Status = Status.FAIL, note: str = "") -> AttackSummary:
    return AttackSummary(campaign, ATTACKS[campaign], status, 5, 3, 2, 2, 0, note)


def test_a_campaign_fails_by_what_counts() -> None:
    judged = judge_by(PUBLISHED, [failed(found(ACCEPTED, 1), found(ACCEPTED, 2))], ATTACKS, ())
    lines = summaries_by(PUBLISHED, [line(1), line(2), line(3), line(4, Status.INCONCLUSIVE)], judged)
    assert [one.status for one in lines] == [Status.FAIL, Status.PASS, Status.FAIL, Status.INCONCLUSIVE]
    assert lines[1].note == "beyond the published profile: answers.attack-accepted is broken"


def test_a_campaign_without_a_finding_fails_unless_all_it_does_is_beyond_the_profile() -> None:
    judged = judge_by(PUBLISHED, [], ATTACKS, ())
    assert [one.status for one in summaries_by(PUBLISHED, [line(1), line(2)], judged)] == [Status.FAIL, Status.PASS]
    assert summaries_by(HARDENED, [line(2)], judge_by(HARDENED, [], ATTACKS, ())) == [line(2)]
