"""Looking at every answer: what no right server says goes into the history, and what is judged with others."""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from simulator.client.answers import HttpAnswer
from simulator.contract.answer_check import AnswerCheck, check_answer, check_unattributed
from simulator.contract.answers import Operation
from simulator.contract.heads import HeadMemory
from simulator.contract.parsed_request import Violation, parse_request
from simulator.contract.refusals import SERVER_ERROR, failure_of
from simulator.history.records import CertificateShown, Deviation, FailedExchange, Shown, Unserved
from simulator.history.rows import HONEST, History
from simulator.limits import UNASKED_SHOWN_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.attacks.script import Wire, WireOutcome
    from simulator.client.link import Link

OK = HTTPStatus.OK
HEARTBEAT = "POST /workers/{id}/heartbeat"
"""The route of a shard's requests."""
UNREADABLE = "a request of its own form"
"""The route of a request that only a raw attack sends."""
_GIVING_UP = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""By which a server may close a connection at rest (RFC 9110 §15.5.9)."""


class Witness:
    """Looks at the answers that one player gets, those of a campaign or honest ones.

    One that `reads` asks for what has no row: it notes what fails.
    """

    def __init__(
        self, history: History, now: Callable[[], int], campaign: int = HONEST, *, reads: bool = False
    ) -> None:
        self._history = history
        self.now = now
        self._campaign = campaign
        self._reads = reads
        self._memory = HeadMemory()

    def saw(self, request: bytes, answer: HttpAnswer, sent_ns: int) -> None:
        """Look at a whole answer that has just come."""
        answered_ns = self.now()
        found = self._look(request, answer, sent_ns, answered_ns, self._campaign)
        if self._reads and answer.status >= SERVER_ERROR:
            got = failure_of(answer.status, answer.body)
            route = UNREADABLE if found.asked is None else found.asked.name
            why = f"an honest reader is not answered {answer.status}"
            self._history.fail(
                Unserved(sent_ns, answered_ns, Operation.OTHER, answer.status, got),
                FailedExchange(sent_ns, answered_ns, HONEST, request, answer.raw, why, f"200 to {route}"),
            )

    def heard(self, link: Link, answer: HttpAnswer, answered_ns: int) -> None:
        """Look at the answer to a shard's request: of a body that was right before, only the head is looked at."""
        if answer.status == OK and answer.body == link.right_body:
            odd = self._memory.recall(answer.head)
            if odd is not None:
                for one in odd:
                    self._deviate(one, HEARTBEAT, link.request, answer, link.sent_ns, answered_ns, link.campaign)
                return
        found = self._look(link.request, answer, link.sent_ns, answered_ns, link.campaign)
        if answer.status == OK and link.machine is not None and len(found.odd) == found.heads:
            link.right_body = answer.body

    def saw_raw(self, step: Wire, outcome: WireOutcome) -> None:
        """Look at the answers on a raw connection. To which request each is, only its attack knows."""
        request = b"".join(part for part, _ in step.parts)
        for one in outcome.answers:
            for odd in check_unattributed(one.status, one.head, one.body):
                answer = HttpAnswer(one.status, one.head, one.body, keep=False)
                self._deviate(odd, _route(request), request, answer, outcome.sent_ns, one.at_ns, self._campaign)

    def unasked(self, request: bytes, data: bytes, sent_ns: int, campaign: int | None = None) -> None:
        """Take bytes that came where nobody waited for an answer; `request` is the last one before them."""
        if data and not data.startswith(_GIVING_UP):
            campaign = self._campaign if campaign is None else campaign
            odd = Violation("unasked", f"{len(data)} bytes more than its answer, which nobody had asked for")
            answer = HttpAnswer(0, b"", data[:UNASKED_SHOWN_MAX_BYTES], keep=False)
            self._deviate(odd, _route(request), request, answer, sent_ns, self.now(), campaign)

    def _look(self, request: bytes, answer: HttpAnswer, sent_ns: int, answered_ns: int, campaign: int) -> AnswerCheck:
        found = check_answer(request, answer.status, answer.head, answer.body, self._memory)
        route = UNREADABLE if found.asked is None else found.asked.name
        for odd in found.odd:
            self._deviate(odd, route, request, answer, sent_ns, answered_ns, campaign)
        if answer.surplus:
            self.unasked(request, answer.surplus, sent_ns, campaign)
        self._take(found, sent_ns, answered_ns, campaign)
        return found

    def _take(self, found: AnswerCheck, sent_ns: int, answered_ns: int, campaign: int) -> None:
        history = self._history
        for one in found.showings:
            history.shown.append(Shown(sent_ns, answered_ns, campaign, *one))
        for certified in found.certificates:
            history.certificates_shown.append(CertificateShown(sent_ns, answered_ns, campaign, *certified))

    def _deviate(
        self,
        odd: Violation,
        route: str,
        request: bytes,
        answer: HttpAnswer,
        sent_ns: int,
        answered_ns: int,
        campaign: int,
    ) -> None:
        rule = f"contents.{odd.rule}"
        if self._history.deviated_again(rule, route):
            return
        raw = answer.raw if answer.status else answer.body
        exchange = FailedExchange(sent_ns, answered_ns, campaign, request, raw, f"{rule}: {odd.message}")
        self._history.deviate(Deviation(rule, route, odd.message, sent_ns, answered_ns, campaign), exchange)


def _route(request: bytes) -> str:
    asked = parse_request(request)
    return UNREADABLE if asked is None else asked.name


def waiting_bytes(descriptor: int) -> bytes | None:
    """Return what waits to be read from a socket at rest: None for nothing, no bytes when it was closed."""
    try:
        return os.read(descriptor, UNASKED_SHOWN_MAX_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
