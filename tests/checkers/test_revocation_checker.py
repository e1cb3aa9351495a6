"""The revocation checker: what was surely sent after a revoke that was surely done, and nothing less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.checkers.revocation import check_revocation, times_to_stop_s
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.judging.thresholds import measure

if TYPE_CHECKING:
    from tests.checkers.conftest import Story


def judged(story: Story) -> Verdict:
    return check_revocation(story.history, story.facts)


@pytest.fixture
def revoked(story: Story) -> Story:
    """Machine 3's consent, number 1, is revoked between 10 and 11 seconds."""
    consent = story.consent(3, 1)
    story.heartbeat(3, 5, consent=consent)
    story.revoke(consent, 10, took=1)
    return story


def test_an_acceptance_of_what_was_sent_later_is_proven_by_both_requests(revoked: Story) -> None:
    revoked.heartbeat(3, 11.25, took=0.5, consent=1, campaign=2, nonce=b"n" * 12)
    verdict = judged(revoked)
    (finding,) = verdict.findings
    assert verdict.status is Status.FAIL
    assert finding.rule == "revocation.accepted-after"
    assert finding.evidence == {
        "machine": 3,
        "campaign": 2,
        "nonce": (b"n" * 12).hex(),
        "consent": "con",
        "policy": "pol",
        "sent_ns": 11_250_000_000,
        "answered_ns": 11_750_000_000,
        "revoke_sent_ns": 10_000_000_000,
        "revoke_answered_ns": 11_000_000_000,
    }
    assert verdict.figures == {
        "revoked": 1,
        "acknowledged": 1,
        "violations": 1,
        "tried_after": 1,
        "time_to_stop_s": (0.25, 1.75),
    }
    assert finding.message in verdict.summary


@pytest.mark.parametrize("at", [9, 10.5, 11], ids=["before", "under way", "as it was acknowledged"])
def test_what_may_have_been_accepted_before_the_revoke_accuses_nobody(revoked: Story, at: float) -> None:
    revoked.heartbeat(3, at, took=5, consent=1)
    verdict = judged(revoked)
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.figures["time_to_stop_s"] == (0, at + 5 - 10)


@pytest.mark.parametrize("got", [answer for answer in Answer if answer is not Answer.ACCEPTED])
def test_only_an_acceptance_that_was_seen_counts(revoked: Story, got: Answer) -> None:
    revoked.heartbeat(3, 12, got, consent=1)
    verdict = judged(revoked)
    assert (verdict.status, verdict.figures["tried_after"]) == (Status.PASS, 1)
    assert "1 heartbeat tried" in verdict.summary


def test_another_consent_and_another_request_are_not_concerned(revoked: Story) -> None:
    other, later = revoked.consent(4, 1), revoked.consent(3, 12, policy_id="pol_2")
    revoked.heartbeat(4, 12, consent=other)
    revoked.heartbeat(3, 13, consent=later)
    revoked.heartbeat(3, 13)
    revoked.request(Operation.POLICY_FETCH, 3, 13, consent=1)
    assert judged(revoked).status is Status.NOT_APPLICABLE


def test_a_consent_given_again_explains_what_was_accepted_after_it(revoked: Story) -> None:
    """Revoking ends the pair of worker and policy version for good: one finding says what was done about it."""
    again = revoked.consent(3, 14)
    for at in (12, 13, 15, 16, 17):
        revoked.heartbeat(3, at, consent=again if at > 14 else 1)
    verdict = judged(revoked)
    assert verdict.status is Status.FAIL
    assert [finding.rule for finding in verdict.findings] == [
        "revocation.accepted-after",
        "revocation.consented-again",
        "revocation.accepted-after",
    ]
    root = verdict.findings[1]
    assert root.at_ns == 14_000_000_000
    assert (root.evidence["accepted_after"], root.evidence["first_accepted_sent_ns"]) == (3, 15_000_000_000)
    assert "machine 3 was consented for again at 14.000s" in root.message
    assert "3 heartbeats accepted after it follow from that" in root.message
    assert (verdict.found, verdict.figures["violations"]) == (3, 3)


def test_an_attack_whose_consent_was_accepted_is_named_by_what_follows(revoked: Story) -> None:
    """The history holds no consent of an attack's, because a right server refuses it."""
    revoked.request(Operation.CONSENT_CREATE, 3, 12, expected=Answer.REFUSED, campaign=4, status=201)
    revoked.heartbeat(3, 13, consent=1, campaign=4)
    (finding,) = judged(revoked).findings
    assert (finding.rule, finding.evidence["campaign"]) == ("revocation.consented-again", 4)


@pytest.mark.parametrize(("machine", "got"), [(3, Answer.REFUSED), (4, Answer.ACCEPTED)])
def test_a_consent_that_was_refused_or_is_anothers_explains_nothing(revoked: Story, machine: int, got: Answer) -> None:
    revoked.request(Operation.CONSENT_CREATE, machine, 12, got, expected=Answer.REFUSED, campaign=4, status=409)
    revoked.heartbeat(3, 13, consent=1)
    (finding,) = judged(revoked).findings
    assert finding.rule == "revocation.accepted-after"


def test_consents_whose_policy_is_not_known_are_told_apart(story: Story) -> None:
    story.revoke(story.consent(3, 1, policy_id=""), 2)
    story.heartbeat(3, 5, consent=story.consent(3, 3, policy_id=""))
    assert judged(story).status is Status.NOT_APPLICABLE


def test_a_revoke_whose_answer_was_lost_may_not_have_been_done(story: Story) -> None:
    consent = story.consent(3, 1)
    story.revoke(consent, 10, took=None)
    story.heartbeat(3, 20, consent=consent)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert "violations" not in verdict.figures
    story.revoke(consent, 21)
    story.heartbeat(3, 21.001, consent=consent)
    assert judged(story).status is Status.NOT_APPLICABLE
    story.heartbeat(3, 22, consent=consent)
    assert judged(story).status is Status.FAIL


def test_of_several_revokes_the_first_answer_counts(story: Story) -> None:
    consent = story.consent(3, 1)
    story.revoke(consent, 10, took=9)
    story.revoke(consent, 12, took=1)
    story.heartbeat(3, 14, consent=consent)
    verdict = judged(story)
    assert verdict.status is Status.FAIL
    assert verdict.figures["revoked"] == 1
    assert verdict.figures["time_to_stop_s"] == (1, pytest.approx(4.01))


def test_every_violation_counts_and_is_listed_in_order(revoked: Story) -> None:
    for at in range(60, 20, -1):
        revoked.heartbeat(3, at, consent=1)
    verdict = judged(revoked)
    assert verdict.figures["violations"] == verdict.found == 40
    assert [finding.at_ns for finding in verdict.findings] == [at * 1_000_000_000 for at in range(21, 61)]


def test_a_run_without_revokes_has_nothing_to_check(story: Story) -> None:
    story.heartbeat(0, 1, consent=story.consent(0, 0))
    verdict = judged(story)
    assert (verdict.status, verdict.summary) == (Status.NOT_APPLICABLE, "Nothing was revoked in this run.")
    assert verdict.figures == {"violations": 0}


def test_numbers_that_no_consent_has_are_left_alone(revoked: Story) -> None:
    revoked.revoke(0, 1)
    revoked.revoke(7, 1)
    revoked.heartbeat(3, 20, consent=9)
    assert judged(revoked).status is Status.NOT_APPLICABLE


def test_how_long_each_revoke_took_at_most_counts_from_its_first_request(revoked: Story) -> None:
    assert times_to_stop_s(revoked.history).tolist() == [0.0]
    revoked.heartbeat(3, 9, took=0.5, consent=1)
    assert times_to_stop_s(revoked.history).tolist() == [0.0]
    revoked.heartbeat(3, 10.5, took=0.25, consent=1)
    revoked.heartbeat(3, 12, Answer.NO_CONSENT, consent=1)
    assert times_to_stop_s(revoked.history).tolist() == [0.75]
    assert measure(revoked.history, [], 0)["revocation.time_to_stop"].values.tolist() == [0.75]  # type: ignore[union-attr]
