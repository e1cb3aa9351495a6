"""The recorder of a run: what it takes, in what order, and that it ends rather than grow."""

from __future__ import annotations

from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS
from simulator.traces.tape import TAKEN_BYTES, Tape
from tests.traces.recorded import in_order

REQUEST, ANSWER = b"r" * 300, b"a" * 200
SIZE = len(REQUEST) + len(ANSWER) + TAKEN_BYTES


def take(tape: Tape, sent_ns: int, *, answered_ns: int = 0, request: bytes = REQUEST) -> None:
    lost = answered_ns == NEVER_NS
    tape.take(
        sent_ns, sent_ns, answered_ns, "127.16.0.1", 0, 4, Operation.HEARTBEAT, request, None if lost else ANSWER,
        Answer.ACCEPTED, Answer.LOST if lost else Answer.ACCEPTED,
    )  # fmt: skip


def test_exchanges_come_in_the_order_they_were_sent_however_they_were_answered() -> None:
    tape = Tape()
    for sent_ns in (30, 10, 20):
        take(tape, sent_ns)
    assert in_order([one.sent_ns for one in tape.exchanges()])
    assert len(tape) == 3


def test_a_full_tape_takes_nothing_more_and_counts_what_it_left_out() -> None:
    tape = Tape(max_bytes=3 * SIZE)
    for sent_ns in range(5):
        take(tape, sent_ns)
    assert (len(tape), tape.left_out) == (3, 2)


def test_a_full_tape_does_not_take_a_smaller_exchange_that_would_still_fit() -> None:
    """Else what it holds would have gaps that nobody sees."""
    tape = Tape(max_bytes=2 * SIZE)
    take(tape, 1)
    take(tape, 2, request=b"r" * 10_000)
    take(tape, 3, request=b"")
    assert ([one.sent_ns for one in tape.exchanges()], tape.left_out) == ([1], 2)


def test_starting_counts_what_came_before_backwards_and_leaves_lost_answers_lost() -> None:
    tape = Tape()
    take(tape, 100, answered_ns=150)
    take(tape, 120, answered_ns=NEVER_NS)
    tape.start(200, 1_700_000_000_000_000_000)
    take(tape, 5, answered_ns=9)
    assert [(one.sent_ns, one.answered_ns) for one in tape.exchanges()] == [(-100, -50), (-80, NEVER_NS), (5, 9)]
    assert tape.started_unix_ns == 1_700_000_000_000_000_000


def test_one_source_for_all_is_an_empty_one() -> None:
    tape = Tape()
    tape.take(0, 0, 1, None, 0, -1, Operation.OTHER, b"", b"", Answer.ACCEPTED, Answer.ACCEPTED)
    assert tape.exchanges()[0].source == ""
