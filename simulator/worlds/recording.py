"""What a step of a script got, and how it goes into the history: the same in every world."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.history import Answer, History
from simulator.records import Effect, Exchange
from simulator.worlds.answers import HttpAnswer, classify_heartbeat

if TYPE_CHECKING:
    from simulator.attacks.script import Expect, Outcome, Send

OK, BAD_REQUEST, TOO_MANY, SERVER_ERROR = 200, 400, 429, 500


def classify(answer: HttpAnswer, expect: Expect) -> Answer:
    """Say what a request got, by what it had to get."""
    if not expect.statuses:
        got = classify_heartbeat(answer, expect.answer)
        let_through = got is Answer.UNEXPECTED and answer.status == OK and expect.answer is not Answer.ACCEPTED
        return Answer.ACCEPTED if let_through else got
    if answer.status in expect.statuses and expect.error.encode() in answer.body:
        return expect.answer
    if answer.status < BAD_REQUEST:
        return Answer.ACCEPTED if expect.answer is not Answer.ACCEPTED else Answer.UNEXPECTED
    if answer.status == TOO_MANY:
        return Answer.RATE_LIMITED
    return Answer.UNAVAILABLE if answer.status >= SERVER_ERROR else Answer.UNEXPECTED


def record_send(history: History, campaign: int, step: Send, outcome: Outcome, source: int) -> None:
    """Add a step's row, the audit events it must or may have left, and its bytes when its answer is wrong."""
    expected, got = step.expect.answer, outcome.got
    history.append(
        outcome.sent_ns, outcome.sent_ns, outcome.answered_ns, step.nonce, step.machine, outcome.status, step.operation,
        expected, got, campaign, source, step.certificate, step.consent,
    )  # fmt: skip
    if got is not Answer.RATE_LIMITED or expected is Answer.RATE_LIMITED:
        # What got another answer than a correct server's may have left the event of either.
        history.effects += [
            Effect(
                outcome.sent_ns, outcome.answered_ns, one.type, one.actor, one.object_id, one.owners, one.reason,
                outcome.right,
            )
            for one in step.leaves
        ]  # fmt: skip
    if outcome.known and not outcome.right:
        wanted = " or ".join(map(str, step.expect.statuses)) or expected.name
        error = f" {step.expect.error!r}" if step.expect.error else ""
        because = f": {step.expect.because}" if step.expect.because else ""
        reasoning = f"a correct server answers {wanted}{error}{because}; this one answered {outcome.status}"
        answer = outcome.head + b"\r\n\r\n" + outcome.body
        history.keep(Exchange(outcome.sent_ns, outcome.answered_ns, campaign, step.request, answer, reasoning))
