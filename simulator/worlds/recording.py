"""Classifying answers and recording requests in the history, for every world."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from simulator.attacks.script import NO_NONCE, Send
from simulator.client.answers import HttpAnswer, classify_heartbeat
from simulator.client.target import source_number
from simulator.contract.answers import ALTERNATIVES, REASONS, Answer, Operation, operation_name
from simulator.contract.features import Feature
from simulator.contract.refusals import failure_of, in_words
from simulator.history.losses import Loss, lost_status
from simulator.history.records import Effect, FailedExchange
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, NONE, History
from simulator.limits import OUTAGES_KEPT_MAX

if TYPE_CHECKING:
    from simulator.attacks.script import Expect, ExpectedEvent, Outcome, Wire, WireOutcome
    from simulator.client.link import Link
    from simulator.fleet.acts import Ask, Exchanged, Reply
    from simulator.traces.tape import Tape

OK, REDIRECT, NOT_FOUND, TOO_MANY, SERVER_ERROR = (
    HTTPStatus.OK,
    300,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.TOO_MANY_REQUESTS,
    500,
)


def classify(answer: HttpAnswer, expect: Expect) -> Answer:
    """Return the classification of an answer, by what was expected."""
    if not expect.statuses:
        got = classify_heartbeat(answer, expect.answer)
        let_through = got is Answer.UNEXPECTED and answer.status == OK and expect.answer is not Answer.ACCEPTED
        return Answer.ACCEPTED if let_through else got
    if answer.status in expect.statuses and expect.error.encode() in answer.body:
        if expect.answer is Answer.MAY_BE_REFUSED and answer.status >= REDIRECT:
            return Answer.REFUSED
        return Answer.ACCEPTED if expect.answer in ALTERNATIVES else expect.answer
    if answer.status < REDIRECT or answer.status == expect.success:
        return Answer.ACCEPTED if expect.answer is not Answer.ACCEPTED else Answer.UNEXPECTED
    if answer.status == TOO_MANY:
        return Answer.RATE_LIMITED
    if answer.status < SERVER_ERROR:
        return Answer.UNEXPECTED
    # If an outage of the backend is expected, any other 5xx is not that outage.
    return Answer.FAILED if expect.answer is Answer.UNAVAILABLE else failure_of(answer.status, answer.body)


def within(expect: Expect, lacks: frozenset[Feature]) -> Expect:
    """Return the expectation for a target that lacks some features: a 404 without an envelope has no message."""
    if Feature.JSON_404 in lacks and NOT_FOUND in expect.statuses:
        return msgspec.structs.replace(expect, error="")
    return expect


def record_send(history: History, campaign: int, step: Send, outcome: Outcome, source: int, lost: int = 0) -> None:
    """Add a step's row, the audit events it must or may have left, and its bytes when its answer is wrong.

    `lost` stands for the status of an answer that was lost (`simulator.history.losses`).
    """
    expected, got = step.expect.answer, outcome.got
    status = lost if got is Answer.LOST else outcome.status
    history.append(
        outcome.sent_ns, outcome.sent_ns, outcome.answered_ns, step.nonce, step.machine, status, step.operation,
        expected, got, campaign, source, step.certificate, step.consent,
    )  # fmt: skip
    if got is not Answer.RATE_LIMITED or expected is Answer.RATE_LIMITED:
        _note(history, outcome.sent_ns, outcome.answered_ns, step.expected_events, sure=outcome.right)
    if (outcome.known or got is Answer.FAILED) and not outcome.right:
        answer = outcome.head + b"\r\n\r\n" + outcome.body
        reasoning, wanted, basis = (
            _reasoning(step.expect, outcome.status),
            _wanted(step.expect),
            step.expect.basis or "",
        )
        sent_ns, answered_ns = outcome.sent_ns, outcome.answered_ns
        history.keep(FailedExchange(sent_ns, answered_ns, campaign, step.request, answer, reasoning, wanted, basis))


def elsewhere(step: Send, outcome: Outcome) -> tuple[Send, Outcome]:
    """Return a step to a side server and its outcome without anything about the main server: no operation, no failure.

    Whether the answer was right is kept.
    """
    expect, got = step.expect, outcome.got
    if got in REASONS or expect.answer in REASONS or (outcome.right and expect.answer in ALTERNATIVES):
        got = Answer.REFUSED if got in REASONS else got
        answer = got if outcome.right else Answer.REFUSED
        expect = msgspec.structs.replace(expect, answer=answer)
    return Send(step.request, expect), msgspec.structs.replace(outcome, expect=expect, got=got)


def record_wire(history: History, campaign: int, step: Wire, outcome: WireOutcome, source: int) -> Answer:
    """Do the same for a raw exchange, which is one row with its first answer. Return the classification."""
    expected = step.expect.answer
    got, status = classify_raw(step, outcome)
    answered_ns = NEVER_NS if got is Answer.LOST else outcome.closed_ns
    if outcome.answers:
        answered_ns = outcome.answers[0].at_ns
    history.append(
        outcome.sent_ns, outcome.sent_ns, answered_ns, NO_NONCE, NO_MACHINE, status, step.operation, expected, got,
        campaign, source,
    )  # fmt: skip
    right = got is expected or got in ALTERNATIVES.get(expected, ())
    if got is not Answer.RATE_LIMITED:
        _note(history, outcome.sent_ns, answered_ns, step.expected_events, sure=right)
    if not right and got not in {Answer.LOST, Answer.RATE_LIMITED, Answer.UNAVAILABLE}:
        shown = b"\r\n".join(one.head + b"\r\n\r\n" + one.body for one in outcome.answers) + outcome.rest
        request = b"".join(part for part, _ in step.parts)
        reasoning, wanted, basis = _reasoning(step.expect, status), _wanted(step.expect), step.expect.basis or ""
        sent_ns, closed_ns = outcome.sent_ns, outcome.closed_ns
        history.keep(FailedExchange(sent_ns, closed_ns, campaign, request, shown, reasoning, wanted, basis))
    return got


def classify_raw(step: Wire, outcome: WireOutcome) -> tuple[Answer, int]:
    """Return the classification and the status of a raw connection's first answer.

    A close without an answer is a loss, unless it is expected; the effect of the request is then unknown.
    """
    expect = step.expect
    if outcome.answers:
        first = outcome.answers[0]
        return classify(HttpAnswer(first.status, first.head, first.body, keep=False), expect), first.status
    silent = 0 in expect.statuses and outcome.closed and expect.answer is not Answer.ACCEPTED
    return (expect.answer if silent else Answer.LOST), 0


def _note(
    history: History, sent_ns: int, answered_ns: int, expected_events: tuple[ExpectedEvent, ...], *, sure: bool
) -> None:
    """Record expected audit events. A request with a wrong answer may have left the event of either answer."""
    history.effects += [
        Effect(sent_ns, answered_ns, one.type, one.actor, one.object_id, one.owners, one.reason, sure)
        for one in expected_events
    ]


def _wanted(expect: Expect) -> str:
    """Describe an expectation in the contract's words."""
    if not expect.statuses:
        return in_words(expect.answer, Operation.HEARTBEAT)
    statuses = (str(status) if status else "to be closed" for status in expect.statuses)
    return f"{' or '.join(statuses)} {expect.error}".rstrip()


def _reasoning(expect: Expect, status: int) -> str:
    because = f": {expect.because}" if expect.because else ""
    return f"a correct server answers {_wanted(expect)}{because}; this one answered {status}"


def record_act(history: History, ask: Ask, exchanged: Exchanged, source: int) -> None:
    """Add the row of a request by an honest machine, owner or agent."""
    reply, got, _, expected = exchanged
    machine, certificate, consent = NO_MACHINE, NONE, NONE
    if ask.machine is not None and ask.action is not None:
        machine, certificate = ask.machine.index, ask.machine.certificate_number
        consent = ask.machine.consent_number
    history.append(
        reply.sent_ns, reply.sent_ns, reply.answered_ns, NO_NONCE, machine, status_of(reply), ask.call.operation,
        expected, got, HONEST, source, certificate, consent,
    )  # fmt: skip


def record_asked(history: History, ask: Ask, exchanged: Exchanged, source: str | None, authority: str) -> None:
    """Add the row, note a loss on the way, and keep the bytes of a wrong answer."""
    reply, got, *_ = exchanged
    if got is Answer.LOST and reply.loss is not Loss.ENDED:
        history.trouble(reply.sent_ns, operation_name(ask.call.operation), reply.why)
    elif got in {Answer.UNEXPECTED, Answer.FAILED}:
        keep_wrong_act(history, ask, exchanged, authority)
    record_act(history, ask, exchanged, source_number(source))


def tape_act(tape: Tape, ask: Ask, exchanged: Exchanged, source: str | None, authority: str) -> None:
    """Add a request of an honest machine, owner or agent to the tape."""
    reply, got, _, expected = exchanged
    tape.take(
        reply.sent_ns, reply.sent_ns, reply.answered_ns, source, HONEST,
        NO_MACHINE if ask.machine is None else ask.machine.index, ask.call.operation,
        ask.call.message(authority), reply.raw if reply.status else None, expected, got,
    )  # fmt: skip


class ActRecorder:
    """Records requests of honest owners and agents from one address, as rows and on a tape if there is one."""

    def __init__(self, history: History, source: str | None, authority: str, tape: Tape | None) -> None:
        self._history = history
        self._source = source
        self._authority = authority
        self._tape = tape

    def record(self, ask: Ask, exchanged: Exchanged) -> None:
        """Record one exchange."""
        record_asked(self._history, ask, exchanged, self._source, self._authority)
        if self._tape is not None:
            tape_act(self._tape, ask, exchanged, self._source, self._authority)


def status_of(reply: Reply) -> int:
    """Return a row's status: the answer's own, or the code that stands for its loss."""
    return reply.status or lost_status(reply.loss, reply.ended_ns - reply.sent_ns)


def keep_wrong_act(history: History, ask: Ask, exchanged: Exchanged, authority: str) -> None:
    """Keep the bytes of a control-plane request that got a wrong answer."""
    reply, _, problem, _ = exchanged
    operation = ask.call.operation
    why = problem or f"an honest {operation_name(operation)} is not answered {reply.status}"
    message, wanted = ask.call.message(authority), in_words(Answer.ACCEPTED, operation)
    history.keep(FailedExchange(reply.sent_ns, reply.ended_ns, HONEST, message, reply.raw, why, wanted))


WORTH_KEEPING = frozenset({Answer.ACCEPTED, Answer.UNEXPECTED, Answer.FAILED, Answer.UNAVAILABLE})
"""Answers to heartbeats that may be wrong; the bytes of wrong ones become evidence."""


def record_heartbeat(
    history: History,
    tape: Tape | None,
    link: Link,
    answered_ns: int,
    answer: HttpAnswer | None,
    expected: Answer,
    got: Answer,
    lost: int = 0,
) -> None:
    """Add the row of a shard's request, tape it, and keep the bytes of a wrong answer.

    `lost` stands for the status of an answer that was lost (`simulator.history.losses`).
    """
    status = lost if answer is None else answer.status
    history.append(
        link.planned_ns, link.sent_ns, answered_ns, link.nonce, link.subject, status, Operation.HEARTBEAT,
        expected, got, link.campaign, link.number, link.certificate, link.consent,
    )  # fmt: skip
    if tape is not None:
        tape.take(
            link.planned_ns, link.sent_ns, answered_ns, link.source, link.campaign, link.subject, Operation.HEARTBEAT,
            link.request, None if answer is None else answer.raw, expected, got,
        )  # fmt: skip
    wrong = got is not expected and got in WORTH_KEEPING and got not in ALTERNATIVES.get(expected, ())
    if answer is not None and wrong and (got is not Answer.UNAVAILABLE or len(history.exchanges) < OUTAGES_KEPT_MAX):
        wanted = in_words(expected, Operation.HEARTBEAT)
        reasoning = f"a correct server answers {wanted}; this one answered {status}"
        history.keep(
            FailedExchange(link.sent_ns, answered_ns, link.campaign, link.request, answer.raw, reasoning, wanted)
        )
