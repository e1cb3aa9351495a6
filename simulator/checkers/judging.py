"""The one table of what an answer is: expectation x answer x circumstance -> ruling. Every checker goes by it.

A circumstance is what excuses a server, or leaves open whose doing it was. What an answer says wrongly, no circumstance
excuses; what no answer says, or one that only says that there is none, may be the run's own doing.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import Excused
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.contract.refusals import SERVER_ERROR, backend_of
from simulator.history.losses import CROSSING_MAX_NS, CROSSINGS_EACH, TENTH_NS, Loss, losses_of
from simulator.history.rows import HONEST, History
from simulator.history.starvation import Starvation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts


class Circumstance(IntEnum):
    """Under what a request was answered, or was not."""

    NONE = 0
    """Nothing excuses the server."""
    FAULT = 1
    """Within the window of a fault that the run made (`simulator.checkers.excused`)."""
    EXCUSED = 2
    """The run itself gave up on it, stood still meanwhile, or never asked; or nobody knows why it was lost; or it was
    under way for so long that a deadline may have closed it. Of what was answered: a restart, an unknown clock or a
    certificate's end leaves open what it must have been."""
    CLOSING = 3
    """The server closed a connection that had rested, and the close crossed the request (RFC 9112 §9.6)."""
    OUTAGE = 4
    """The answer names something that the server stands on and that may have failed it (contract §4, §6, §7)."""
    STARVED = 5
    """No answer came in time, and who was to give it, or to read it, waited for a CPU (`history.starvation`)."""


class Ruling(IntEnum):
    """What an answer is, by the table."""

    RIGHT = 0
    UNDECIDED = 1
    WRONG = 2
    """Another answer than the contract gives it."""
    FAILED = 3
    """A 5xx that nothing excuses."""
    LOST = 4
    """No whole answer, and nothing that the run did explains it."""


class Kind(Enum):
    """What an answer says, which decides what may excuse it."""

    SAYS = "what the server thinks of the request"
    LIMITED = "that there were too many; judged by the limits checker"
    LACKS = "that the server lacks what it needs, and what"
    FAILS = "that the server failed"
    NOTHING = "nothing: none came whole"
    NEVER = "is only ever expected"


KINDS: dict[Answer, Kind] = {
    Answer.ACCEPTED: Kind.SAYS,
    Answer.MISSING_FIELDS: Kind.SAYS,
    Answer.MALFORMED_FIELDS: Kind.SAYS,
    Answer.INVALID_TIMESTAMP: Kind.SAYS,
    Answer.TIMESTAMP_OUT_OF_WINDOW: Kind.SAYS,
    Answer.INVALID_TOKEN: Kind.SAYS,
    Answer.INVALID_CERTIFICATE: Kind.SAYS,
    Answer.INVALID_SIGNATURE: Kind.SAYS,
    Answer.NO_CONSENT: Kind.SAYS,
    Answer.NONCE_REPLAYED: Kind.SAYS,
    Answer.POLICY_MISSING_HEADERS: Kind.SAYS,
    Answer.POLICY_INVALID_TOKEN: Kind.SAYS,
    Answer.POLICY_INVALID_CERTIFICATE: Kind.SAYS,
    Answer.INVALID_REQUEST: Kind.SAYS,
    Answer.REFUSED: Kind.SAYS,
    Answer.UNEXPECTED: Kind.SAYS,
    Answer.RATE_LIMITED: Kind.LIMITED,
    Answer.UNAVAILABLE: Kind.LACKS,
    Answer.FAILED: Kind.FAILS,
    Answer.LOST: Kind.NOTHING,
    Answer.EITHER: Kind.NEVER,
    Answer.ONE_OF_COPIES: Kind.NEVER,
    Answer.WHILE_REVOKING: Kind.NEVER,
    Answer.WITHIN_LIMIT: Kind.NEVER,
    Answer.UNCOVERED: Kind.NEVER,
    Answer.MAY_BE_REFUSED: Kind.NEVER,
}
"""What each answer says; one without a line here fails the tests, and every run."""


class Row(NamedTuple):
    """What an answer of a kind is that was not expected: which circumstances excuse it, and what it is without."""

    excused_by: frozenset[Circumstance]
    ruling: Ruling


RULINGS: dict[Kind, Row] = {
    Kind.SAYS: Row(frozenset(), Ruling.WRONG),
    Kind.LIMITED: Row(frozenset(Circumstance), Ruling.UNDECIDED),
    Kind.LACKS: Row(frozenset({Circumstance.FAULT, Circumstance.EXCUSED, Circumstance.OUTAGE}), Ruling.FAILED),
    Kind.FAILS: Row(frozenset({Circumstance.FAULT}), Ruling.FAILED),
    Kind.NOTHING: Row(
        frozenset({Circumstance.FAULT, Circumstance.EXCUSED, Circumstance.CLOSING, Circumstance.STARVED}), Ruling.LOST
    ),
    Kind.NEVER: Row(frozenset(), Ruling.WRONG),
}
PROVEN = (Ruling.WRONG, Ruling.FAILED, Ruling.LOST)
"""What a server is to blame for."""
SILENT = (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST)
"""Answers that say nothing about what the server thinks of a request."""
UNSURE = (Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED, Answer.UNEXPECTED)
"""Answers that say nothing about what a request did: as right may be all that it did, or nothing."""


def is_right(expected: Answer, got: Answer) -> bool:
    """Return whether a correct server may give such an answer, whatever the circumstance."""
    return got is expected or got in ALTERNATIVES.get(expected, ())


def rule(expected: Answer, got: Answer, circumstance: Circumstance) -> Ruling:
    """Return what the table says of one answer."""
    if is_right(expected, got):
        return Ruling.RIGHT
    excused_by, ruling = RULINGS[KINDS[got]]
    return Ruling.UNDECIDED if circumstance in excused_by else ruling


TABLE = np.array(
    [[[rule(expected, got, circumstance) for circumstance in Circumstance] for got in Answer] for expected in Answer],
    dtype=np.int8,
)
"""The same for all at once: by expectation, answer and circumstance."""


def judge(history: History, facts: Facts, rows: NDArray[Any] | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the ruling on each of a history's rows, or of some others, and the circumstance it was given under."""
    rows = history.rows() if rows is None else rows
    under = circumstances(history, facts, rows)
    return TABLE[rows["expected"], rows["got"], under], under


def judge_answers(rows: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows got an answer that says what a server thinks, and which one that a correct server may give.

    For those who count what a request did, whatever excuses its answer.
    """
    right: NDArray[np.bool_] = TABLE[rows["expected"], rows["got"], Circumstance.NONE] == Ruling.RIGHT
    return right | ~np.isin(rows["got"], SILENT), right


def circumstances(history: History, facts: Facts, rows: NDArray[Any]) -> NDArray[np.int8]:
    """Return under which circumstance each row was answered, or was not."""
    under = np.zeros(len(rows), dtype=np.int8)
    lost, lacks = rows["got"] == Answer.LOST, rows["got"] == Answer.UNAVAILABLE
    doubtful = np.flatnonzero(lost | lacks | (rows["got"] == Answer.FAILED))
    if not len(doubtful):
        return under
    some, lost, lacks = rows[doubtful], lost[doubtful], lacks[doubtful]
    cause, waited_ns = losses_of(some["status"])
    sent_ns = some["sent_ns"]
    until_ns = np.where(lost, sent_ns + waited_ns, some["answered_ns"])
    timed_out = cause == Loss.TIMED_OUT
    late = timed_out & _stood_still(history, facts, sent_ns, until_ns)
    if facts.request_seconds is not None:
        # What came slowly on its way is closed by a deadline, and nobody here sees how it came.
        late |= (cause == Loss.CUT) & (waited_ns >= facts.request_seconds * SECOND_NS)
    given_up = np.isin(cause, [Loss.UNKNOWN, Loss.ENDED, Loss.UNSENT])
    found = np.zeros(len(some), dtype=np.int8)
    found[lacks & _may_lack(some, facts)] = Circumstance.OUTAGE
    found[crossed_closes(history, some)] = Circumstance.CLOSING
    found[timed_out & Starvation(history).covers(sent_ns, until_ns)] = Circumstance.STARVED
    found[(lost & (given_up | late)) | (lacks & (some["status"] < SERVER_ERROR))] = Circumstance.EXCUSED
    # A slow network makes answers late. It neither cuts them off nor has a server fail.
    slowed = timed_out & Excused(history, late=True).overlap(sent_ns, until_ns)
    found[slowed | Excused(history).overlap(sent_ns, until_ns)] = Circumstance.FAULT
    under[doubtful] = found
    return under


def crossed_closes(history: History, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows have no answer because the close of a resting connection crossed them (RFC 9112 §9.6).

    A server that closes what rests is seen at it where no request is under way, too. Where it hardly is, what it cut
    off were the requests.
    """
    cause, waited_ns = losses_of(rows["status"])
    crossed: NDArray[np.bool_] = (rows["got"] == Answer.LOST) & (cause == Loss.CLOSING)
    if (slowly := crossed & (waited_ns > CROSSING_MAX_NS + TENTH_NS)).any():
        sent_ns = rows["sent_ns"]
        crossed &= ~slowly | Excused(history, late=True).overlap(sent_ns, sent_ns + waited_ns)
    if not crossed.any() or not history.rests_watched:
        return crossed
    whole = history.rows()
    closing = (whole["got"] == Answer.LOST) & (losses_of(whole["status"])[0] == Loss.CLOSING) & _of_the_fleet(whole)
    seen = sum(one.count for one in history.closes_at_rest)
    if int(closing.sum()) > max(1, CROSSINGS_EACH * seen):
        crossed &= ~_of_the_fleet(rows)
    return crossed


def _of_the_fleet(rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are the honest fleet's heartbeats, whose connections are watched at all times."""
    fleet: NDArray[np.bool_] = (rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST)
    return fleet


def _may_lack(rows: NDArray[Any], facts: Facts) -> NDArray[np.bool_]:
    """Return which rows name something that their server stands on, as far as anybody knows.

    Attacks may have servers of their own, of which the facts say nothing.
    """
    if facts.stands_on is None:
        return np.ones(len(rows), dtype=np.bool_)
    stands_on = {*facts.stands_on, "memory"}
    known = {
        (operation, status): backend_of(Operation(operation), status) in stands_on
        for operation, status in {*zip(rows["operation"].tolist(), rows["status"].tolist(), strict=True)}
    }
    named = [known[key] for key in zip(rows["operation"].tolist(), rows["status"].tolist(), strict=True)]
    may: NDArray[np.bool_] = np.array(named, dtype=np.bool_) | (rows["campaign"] != HONEST)
    return may


def _stood_still(
    history: History, facts: Facts, sent_ns: NDArray[np.int64], until_ns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return during which waits the harness itself stood still, so that an answer may have come in time unread."""
    worst = sorted(one.at_ns for one in history.generator if one.loop_lag_ns > facts.lag_budget_seconds * SECOND_NS)
    # A sample tells of the second before it.
    first = np.searchsorted(np.array(worst, dtype=np.int64), sent_ns, side="left")
    last = np.searchsorted(np.array(worst, dtype=np.int64), until_ns + SECOND_NS, side="right")
    stood: NDArray[np.bool_] = first < last
    return stood
