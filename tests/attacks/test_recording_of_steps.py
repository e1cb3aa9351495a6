"""How what a step got goes into the history."""

from __future__ import annotations

import pytest

from simulator.attacks.acting import changed
from simulator.attacks.script import Expect, Outcome, Send
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, History
from simulator.worlds.recording import record_send

OWNER = "ada"


def recorded(expected: Answer, got: Answer, status: int) -> History:
    """Record a step that had to get one thing and got another."""
    expect = Expect(expected, (200, 429), "", "it is tested")
    step = Send(b"", expect, Operation.CONSENT_CREATE, expected_events=changed(OWNER, Operation.CONSENT_CREATE))
    answered_ns = NEVER_NS if got is Answer.LOST else 2
    history = History()
    record_send(history, 1, step, Outcome(expect, got, status, b"", b"", 1, answered_ns), 1)
    return history


@pytest.mark.parametrize(
    ("expected", "got", "status", "sure"),
    [
        (Answer.ACCEPTED, Answer.ACCEPTED, 200, [True]),
        (Answer.REFUSED, Answer.REFUSED, 403, [True]),
        (Answer.WITHIN_LIMIT, Answer.ACCEPTED, 200, [True]),
        (Answer.WITHIN_LIMIT, Answer.RATE_LIMITED, 429, []),
        (Answer.ACCEPTED, Answer.RATE_LIMITED, 429, []),
        (Answer.RATE_LIMITED, Answer.RATE_LIMITED, 429, [True]),
        (Answer.ACCEPTED, Answer.LOST, 0, [False]),
        (Answer.ACCEPTED, Answer.UNAVAILABLE, 503, [False]),
        (Answer.REFUSED, Answer.ACCEPTED, 200, [False]),
    ],
)
def test_what_a_step_leaves_is_sure_where_it_got_what_it_had_to(
    expected: Answer, got: Answer, status: int, sure: list[bool]
) -> None:
    assert [effect.sure for effect in recorded(expected, got, status).effects] == sure


@pytest.mark.parametrize(
    ("expected", "got", "kept"),
    [
        (Answer.REFUSED, Answer.ACCEPTED, 1),
        (Answer.ACCEPTED, Answer.UNEXPECTED, 1),
        (Answer.ONE_OF_COPIES, Answer.UNEXPECTED, 1),
        (Answer.ONE_OF_COPIES, Answer.ACCEPTED, 0),
        (Answer.ONE_OF_COPIES, Answer.NONCE_REPLAYED, 0),
        (Answer.UNCOVERED, Answer.INVALID_SIGNATURE, 0),
        (Answer.REFUSED, Answer.LOST, 0),
        (Answer.REFUSED, Answer.RATE_LIMITED, 0),
    ],
)
def test_the_bytes_of_a_wrong_answer_are_kept_and_of_no_other(expected: Answer, got: Answer, kept: int) -> None:
    assert len(recorded(expected, got, 200).exchanges) == kept
