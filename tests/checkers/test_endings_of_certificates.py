"""Certificates that may have ended, or been replaced, while a request was under way: what a server may say then."""

from __future__ import annotations

from typing import Any

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers import as_known, run_checkers
from simulator.checkers.answers import check_answers
from simulator.checkers.audit_expected import FAILURE_EVENT, expect
from simulator.checkers.bounds import scrape_bounds
from simulator.checkers.endings import excuse_endings, may_end_from_ns
from simulator.checkers.verdict import Status
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.records import MachineRecord
from simulator.history.rows import NEVER_NS
from tests.checkers.conftest import Story, nanoseconds

UNDER_WAY: dict[str, Any] = {"certificate": 1, "took": 3.0, "status": 401}
"""Sent at 13 s and answered at 16 s, between which the certificate ends."""


@pytest.fixture
def certified(story: Story) -> Story:
    """Machine 3 has certificate 1, asked for at 10 s and there at 11 s, for 5 s."""
    story.history.machines[3] = MachineRecord("wrk_3", "o")
    story.certificate(3, 10, took=1, life=5)
    return story


def reasons_of(story: Story) -> dict[str, tuple[int, int]]:
    """Return how many failures of each reason a scrape at 20 s may show."""
    story.scrape(20)
    known = as_known(story.history, story.facts)
    (bounds,) = scrape_bounds(known.rows(), known.scrapes, story.facts)
    return {reason: (one.low, one.high) for reason, one in bounds.by_reason.items() if one.high}


def answers(story: Story) -> Status:
    return check_answers(as_known(story.history, story.facts), story.facts).status


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        (Operation.HEARTBEAT, Answer.INVALID_CERTIFICATE),
        (Operation.POLICY_FETCH, Answer.POLICY_INVALID_CERTIFICATE),
    ],
)
@pytest.mark.parametrize("expected", [Answer.ACCEPTED, Answer.NO_CONSENT, Answer.WHILE_REVOKING])
def test_a_server_that_stood_still_refuses_what_has_ended_meanwhile(
    certified: Story, operation: Operation, answer: Answer, expected: Answer
) -> None:
    certified.request(operation, 3, 13, Answer.UNEXPECTED, expected=expected, **UNDER_WAY)
    assert answers(certified) is not Status.FAIL
    assert reasons_of(certified) == {REASONS[answer]: (1, 1)}
    due = expect(
        as_known(certified.history, certified.facts), certified.facts, ["o"], 20 * SECOND_NS, 21 * SECOND_NS
    ).of("o")
    assert {key.reason for key in due.of(FAILURE_EVENT).exact} == {REASONS[answer]}


@pytest.mark.parametrize("took", [0.5, 1.9], ids=["long before", "just before"])
def test_while_it_surely_lives_a_refusal_is_wrong(certified: Story, took: float) -> None:
    certified.heartbeat(3, 13, Answer.UNEXPECTED, **{**UNDER_WAY, "took": took})
    assert excuse_endings(certified.history) is certified.history
    assert answers(certified) is Status.FAIL


@pytest.mark.parametrize("status", [400, 403, 500])
def test_its_end_excuses_no_other_answer(certified: Story, status: int) -> None:
    certified.heartbeat(3, 13, Answer.UNEXPECTED, **{**UNDER_WAY, "status": status})
    assert answers(certified) is Status.FAIL


@pytest.mark.parametrize("expected", [Answer.INVALID_REQUEST, Answer.MISSING_FIELDS, Answer.REFUSED])
def test_its_end_changes_no_check_that_comes_before(certified: Story, expected: Answer) -> None:
    certified.attack(3, 13, Answer.UNEXPECTED, expected=expected, **UNDER_WAY)
    assert answers(certified) is Status.FAIL


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (Answer.NONCE_REPLAYED, Answer.NONCE_REPLAYED),
        (Answer.INVALID_SIGNATURE, Answer.INVALID_SIGNATURE),
        (Answer.ONE_OF_COPIES, Answer.NONCE_REPLAYED),
        (Answer.UNCOVERED, Answer.INVALID_SIGNATURE),
        (Answer.EITHER, Answer.TIMESTAMP_OUT_OF_WINDOW),
    ],
)
def test_a_later_reason_may_have_been_the_certificate(certified: Story, expected: Answer, got: Answer) -> None:
    certified.attack(3, 13, got, expected=expected, **UNDER_WAY)
    found = reasons_of(certified)
    for answer in (got, Answer.INVALID_CERTIFICATE):
        assert found[REASONS[answer]] == (0, 1)
    assert all(one.status is not Status.FAIL for one in run_checkers(certified.history, certified.facts))


@pytest.mark.parametrize("got", [Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.INVALID_TOKEN])
def test_an_earlier_reason_stays(certified: Story, got: Answer) -> None:
    certified.attack(3, 13, got, **UNDER_WAY)
    assert reasons_of(certified) == {REASONS[got]: (1, 1)}


def test_a_rotation_under_way_may_have_come_first(certified: Story) -> None:
    certified.history.certificates.clear()
    certified.certificate(3, 10, took=1)
    certified.certificate(3, 14, took=2)
    certified.attack(3, 13, Answer.NONCE_REPLAYED, **UNDER_WAY)
    found = reasons_of(certified)
    assert found[REASONS[Answer.NONCE_REPLAYED]] == found[REASONS[Answer.INVALID_CERTIFICATE]] == (0, 1)


def test_of_certificates_each_may_end_by_time_or_by_the_next(story: Story) -> None:
    story.certificate(3, 10, took=1, life=100)
    story.certificate(3, 20, took=5, life=100)
    story.certificate(3, 21, took=1, life=100)
    story.certificate(4, 15, life=1)
    none, first, second, third, other = may_end_from_ns(story.history).tolist()
    # Of the two that were asked for at once each may have come last.
    assert (none, first, second, third) == (NEVER_NS, nanoseconds(20), nanoseconds(21), nanoseconds(21))
    assert 15.9 * SECOND_NS < other < 16 * SECOND_NS
