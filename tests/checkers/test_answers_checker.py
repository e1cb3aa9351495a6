"""The answers checker: what each request got, against what it had to get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.checkers.answers import check_answers
from simulator.checkers.verdict import Status, Verdict
from simulator.history import Answer, Operation

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

UNJUDGED = (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.LOST)
REFUSALS = tuple(Answer)[Answer.MISSING_FIELDS : Answer.RATE_LIMITED]


def judged(story: Story) -> Verdict:
    return check_answers(story.history, story.facts)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_attack_refused_as_it_must_be_passes(story: Story, refusal: Answer) -> None:
    story.attack(0, 1, refusal)
    verdict = judged(story)
    assert verdict.status is Status.PASS
    assert (verdict.figures["attacks"], verdict.figures["attacks_accepted"], verdict.figures["wrong"]) == (1, 0, 0)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_attack_that_is_accepted_fails(story: Story, refusal: Answer) -> None:
    story.attack(7, 2, Answer.ACCEPTED, expected=refusal, status=200, campaign=4)
    verdict = judged(story)
    (finding,) = verdict.findings
    assert (verdict.status, verdict.figures["attacks_accepted"]) == (Status.FAIL, 1)
    assert (finding.rule, finding.at_ns) == ("answers.attack-accepted", 2_000_000_000)
    assert finding.message == f"a hostile heartbeat of machine 7 got ACCEPTED (HTTP 200), not {refusal.name}"
    assert finding.message in verdict.summary
    assert finding.evidence == {
        "machine": 7,
        "campaign": 4,
        "nonce": "000000000000000000000001",
        "status": 200,
        "sent_ns": 2_000_000_000,
        "answered_ns": 2_010_000_000,
    }


@pytest.mark.parametrize("got", [Answer.UNEXPECTED, Answer.INVALID_CERTIFICATE, Answer.NO_CONSENT])
@pytest.mark.parametrize("operation", [Operation.HEARTBEAT, Operation.POLICY_FETCH, Operation.REGISTER])
def test_an_honest_request_that_is_refused_fails(story: Story, operation: Operation, got: Answer) -> None:
    story.request(operation, 3, 1, got, expected=Answer.ACCEPTED, status=401)
    verdict = judged(story)
    (finding,) = verdict.findings
    assert (verdict.status, verdict.figures["attacks_accepted"]) == (Status.FAIL, 0)
    asked = operation.name.lower().replace("_", " ")
    assert finding.rule == "answers.wrong"
    assert finding.message == f"an honest {asked} of machine 3 got {got.name} (HTTP 401), not ACCEPTED"


def test_an_honest_machine_with_a_wrong_clock_must_be_refused(story: Story) -> None:
    """It is no attack, but accepting it is as wrong."""
    story.heartbeat(0, 1, expected=Answer.TIMESTAMP_OUT_OF_WINDOW)
    verdict = judged(story)
    assert [(finding.rule, verdict.status) for finding in verdict.findings] == [("answers.wrong", Status.FAIL)]
    assert verdict.figures["attacks_accepted"] == 0


def test_an_attack_with_an_answer_of_its_own_kind_is_wrong_but_not_accepted(story: Story) -> None:
    story.attack(0, 1, Answer.UNEXPECTED, expected=Answer.INVALID_TOKEN, status=404)
    verdict = judged(story)
    assert [finding.rule for finding in verdict.findings] == ["answers.wrong"]
    assert verdict.figures["attacks_accepted"] == 0


@pytest.mark.parametrize("got", UNJUDGED)
@pytest.mark.parametrize("expected", [Answer.ACCEPTED, Answer.INVALID_TOKEN, Answer.EITHER])
def test_an_answer_that_says_nothing_accuses_nobody(story: Story, got: Answer, expected: Answer) -> None:
    """Alone it leaves everything open; beside an answer that was judged it changes nothing."""
    story.attack(0, 1, got, expected=expected)
    alone = judged(story)
    assert (alone.status, alone.figures["unjudged"]) == (Status.INCONCLUSIVE, 1)
    story.heartbeat(0, 2)
    assert judged(story).status is Status.PASS


def test_an_empty_history_is_inconclusive(story: Story) -> None:
    assert judged(story).status is Status.INCONCLUSIVE


@pytest.mark.parametrize("campaign", [0, 1])
@pytest.mark.parametrize(
    ("got", "status"),
    [
        (Answer.ACCEPTED, Status.PASS),
        (Answer.TIMESTAMP_OUT_OF_WINDOW, Status.PASS),
        (Answer.INVALID_TOKEN, Status.FAIL),
        (Answer.UNEXPECTED, Status.FAIL),
    ],
)
def test_too_near_an_edge_both_answers_are_right(story: Story, campaign: int, got: Answer, status: Status) -> None:
    """And so an attack that is accepted there does not count as an accepted attack."""
    story.attack(0, 1, got, expected=Answer.EITHER, campaign=campaign)
    verdict = judged(story)
    assert (verdict.status, verdict.figures["attacks_accepted"]) == (status, 0)


def test_one_of_each_kind_is_shown_before_a_second_of_any(story: Story) -> None:
    """Hundreds of one kind do not hide the few of another; the first is the earliest."""
    for second in range(100):
        story.heartbeat(0, second, Answer.UNEXPECTED, status=500 + second % 2)
    story.attack(1, 100, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, campaign=3)
    story.request(Operation.REGISTER, 2, 101, Answer.UNEXPECTED, expected=Answer.ACCEPTED)
    verdict = judged(story)
    assert (len(verdict.findings), verdict.found, verdict.figures["wrong"]) == (102, 102, 102)
    assert [finding.evidence["machine"] for finding in verdict.findings[:4]] == [0, 1, 2, 0]
    assert len({finding.at_ns for finding in verdict.findings}) == 102
    assert verdict.findings[0].at_ns == 0
