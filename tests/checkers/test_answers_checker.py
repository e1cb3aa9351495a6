"""The answers checker: what each request got, against what it had to get."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.answers import check_answers
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.contract.refusals import in_words
from simulator.history.losses import Loss, lost_status
from simulator.history.records import CampaignRecord, FailedExchange, Fault, MachineRecord
from simulator.history.rows import HONEST, NO_MACHINE
from simulator.judging.thresholds import measure

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

UNJUDGED = (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.LOST)
"""As `story` has them: refused for an outage, and lost for a cause that nobody noted."""
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
    wanted = in_words(refusal, Operation.HEARTBEAT)
    assert finding.message == f"a hostile heartbeat of machine 7: expected {wanted}, got 200 accepted"
    assert finding.message in verdict.summary
    assert finding.evidence == {
        "machine": 7,
        "campaign": 4,
        "nonce": "000000000000000000000001",
        "status": 200,
        "sent_ns": 2_000_000_000,
        "answered_ns": 2_010_000_000,
        "expected": wanted,
        "got": "200 accepted",
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
    wanted = in_words(Answer.ACCEPTED, operation)
    named = in_words(got, operation) if got is Answer.INVALID_CERTIFICATE else "401"
    assert finding.message == f"an honest {asked} of machine 3: expected {wanted}, got {named}"


def test_an_honest_machine_with_a_wrong_clock_must_be_refused(story: Story) -> None:
    """It is no attack, but accepting it is as wrong."""
    story.heartbeat(0, 1, expected=Answer.TIMESTAMP_OUT_OF_WINDOW)
    verdict = judged(story)
    assert [(finding.rule, verdict.status) for finding in verdict.findings] == [("answers.wrong", Status.FAIL)]
    assert verdict.figures["attacks_accepted"] == 0


def test_an_attack_with_an_answer_of_its_own_kind_is_wrong_but_not_accepted(story: Story) -> None:
    story.attack(0, 1, Answer.UNEXPECTED, expected=Answer.INVALID_TOKEN, status=404)
    verdict = judged(story)
    assert [finding.rule for finding in verdict.findings] == ["answers.refused-otherwise"]
    assert verdict.figures["attacks_accepted"] == 0


@pytest.mark.parametrize("got", UNJUDGED)
@pytest.mark.parametrize("expected", [Answer.ACCEPTED, Answer.INVALID_TOKEN, Answer.EITHER])
def test_an_answer_that_says_nothing_accuses_nobody(story: Story, got: Answer, expected: Answer) -> None:
    """Alone it leaves everything open; beside an answer that was judged it changes nothing."""
    story.attack(0, 1, got, expected=expected, status={Answer.LOST: 0, Answer.UNAVAILABLE: 503}.get(got, 429))
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


WORKER = MachineRecord("wrk_0123456789abcdef", "ada")


def kept(story: Story, body: bytes, *, campaign: int = HONEST, expected: str = "", status: int = 500) -> None:
    """Keep the bytes of the last request."""
    row = story.history.rows()[-1]
    answer = b"HTTP/1.1 %d Status\r\n\r\n%b" % (status, body)
    sent_ns, answered_ns = int(row["sent_ns"]), int(row["answered_ns"])
    story.history.keep(FailedExchange(sent_ns, answered_ns, campaign, b"POST / HTTP/1.1", answer, "why", expected))


def failure(error: str) -> bytes:
    return b'{"success":false,"error":"%b"}' % error.encode()


def test_a_5xx_to_an_honest_request_fails_with_the_request_and_the_servers_words(story: Story) -> None:
    story.history.machines[3] = WORKER
    story.heartbeat(3, 1)
    story.heartbeat(3, 2, Answer.FAILED, status=500)
    kept(story, failure("internal error"))
    verdict = judged(story)
    (finding,) = verdict.findings
    assert (verdict.status, finding.rule, finding.at_ns) == (Status.FAIL, "answers.failed", 2 * SECOND_NS)
    stated = "an honest heartbeat of worker wrk_0123456789abcdef: expected 200 accepted, got 500 internal error"
    assert finding.message == stated
    assert verdict.summary == f"Of 2 answers 1 failed with 5xx; {stated}."
    assert (verdict.figures["failed"], verdict.figures["wrong"], verdict.figures["lost"]) == (1, 1, 0)
    assert finding.evidence["request"].startswith("POST /")
    assert (finding.evidence["error"], finding.evidence["expected"]) == ("internal error", "200 accepted")


def test_a_refusal_of_another_kind_is_named_by_its_own_words(story: Story) -> None:
    story.history.machines[3] = WORKER
    story.history.campaigns.append(CampaignRecord(2, "nonce.delimiter", scripted=False, attempts=1, completed=1))
    story.attack(3, 1, Answer.UNEXPECTED, expected=Answer.MALFORMED_FIELDS, status=403, campaign=2)
    kept(story, failure("no active consent for worker/policy"), campaign=2, status=403)
    (finding,) = judged(story).findings
    assert finding.message == (
        "nonce.delimiter: a hostile heartbeat of worker wrk_0123456789abcdef: expected 400 invalid heartbeat fields, "
        "got 403 no active consent for worker/policy"
    )


def test_what_a_script_expected_is_told_in_its_words(story: Story) -> None:
    story.request(Operation.OTHER, NO_MACHINE, 1, Answer.ACCEPTED, expected=Answer.REFUSED, campaign=1)
    kept(story, b"{}", campaign=1, expected="403 forbidden", status=200)
    (finding,) = judged(story).findings
    assert (finding.rule, finding.message) == (
        "answers.attack-accepted",
        "a hostile request: expected 403 forbidden, got 200",
    )


@pytest.mark.parametrize("expected", sorted(set(Answer) - {Answer.UNEXPECTED, Answer.LOST, Answer.FAILED}))
def test_no_name_of_ours_and_no_machine_minus_one_is_ever_told(new_story: type[Story], expected: Answer) -> None:
    for got, machine in product(Answer, (NO_MACHINE, 5)):
        story = new_story()
        status = lost_status(Loss.CUT, 1) if got is Answer.LOST else 500 if got is Answer.FAILED else 404
        for operation in Operation:
            story.request(operation, machine, 1, got, expected=expected, status=status)
        for finding in judged(story).findings:
            assert not any(name in finding.message for name in Answer.__members__), finding.message
            assert "machine -1" not in finding.message
            assert "got -" not in finding.message
            assert finding.evidence["status"] >= 0


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (Loss.CUT, "no whole answer: its connection was cut off within 1.3 s"),
        (Loss.TIMED_OUT, "no whole answer within 1.3 s"),
        (Loss.GARBAGE, "what is no HTTP answer, or more than one"),
    ],
)
@pytest.mark.parametrize("campaign", [HONEST, 1])
def test_one_lost_answer_in_a_thousand_is_a_finding(story: Story, loss: Loss, words: str, campaign: int) -> None:
    """No threshold has to be set for it."""
    for second in range(999):
        story.heartbeat(0, second)
    story.heartbeat(0, 999, Answer.LOST, status=lost_status(loss, SECOND_NS + 200_000_000), campaign=campaign)
    verdict = judged(story)
    (finding,) = verdict.findings
    assert (verdict.status, finding.rule, verdict.figures["lost"]) == (Status.FAIL, "answers.lost", 1)
    assert finding.message.endswith(f"expected 200 accepted, got {words}")


@pytest.mark.parametrize("loss", [Loss.ENDED, Loss.UNSENT, Loss.UNKNOWN, Loss.CLOSING])
def test_what_the_run_or_a_resting_connection_explains_is_none(story: Story, loss: Loss) -> None:
    story.heartbeat(0, 1)
    story.heartbeat(0, 2, Answer.LOST, status=lost_status(loss, 0))
    verdict = judged(story)
    assert (verdict.status, verdict.figures["unjudged"]) == (Status.PASS, 1)
    assert ("crossed the close" in verdict.summary) == (loss is Loss.CLOSING)


@pytest.mark.parametrize(
    ("seen", "crossed", "status"), [(0, 1, Status.PASS), (0, 2, Status.FAIL), (2, 8, Status.PASS), (2, 9, Status.FAIL)]
)
def test_a_server_that_gives_up_resting_connections_is_seen_at_it_where_no_request_is_under_way(
    story: Story, seen: int, crossed: int, status: Status
) -> None:
    """One that only ever closes what rested as a request comes cuts requests off."""
    for second in range(20):
        story.heartbeat(0, second)
    for rested in range(1, seen + 1):
        story.history.closed_at_rest(rested * SECOND_NS)
    for second in range(20, 20 + crossed):
        story.heartbeat(0, second, Answer.LOST, status=lost_status(Loss.CLOSING, 0))
    verdict = judged(story)
    assert (verdict.status, verdict.figures["lost"]) == (status, crossed if status is Status.FAIL else 0)
    assert measure(story.history, [verdict], 1)["requests.lost"].count == verdict.figures["lost"]
    assert sum(one.count for one in story.history.closes_at_rest) == seen


def test_a_bundle_that_knows_nothing_of_closes_at_rest_accuses_nobody_of_cutting_off(story: Story) -> None:
    story.history.leave_rests_unknown()
    for second in range(9):
        got, status = (Answer.LOST, lost_status(Loss.CLOSING, 0)) if second else (Answer.ACCEPTED, 200)
        story.heartbeat(0, second, got, status=status)
    assert judged(story).status is Status.PASS


def test_an_outage_that_the_contract_lets_be_told_is_kept_apart(story: Story) -> None:
    story.heartbeat(0, 1)
    story.heartbeat(0, 2, Answer.UNAVAILABLE, status=503)
    verdict = judged(story)
    assert (verdict.status, verdict.figures["outages"]) == (Status.PASS, 1)
    assert "1 were refused for an outage that the contract allows to be told" in verdict.summary


def test_a_fault_of_the_run_excuses_a_5xx(story: Story) -> None:
    story.history.faults.append(Fault("disk.full", SECOND_NS, SECOND_NS, 3 * SECOND_NS, 3 * SECOND_NS))
    story.heartbeat(0, 2, Answer.FAILED, status=500)
    story.heartbeat(0, 30)
    assert judged(story).status is Status.PASS
    story.heartbeat(0, 31, Answer.FAILED, status=500)
    assert judged(story).status is Status.FAIL
