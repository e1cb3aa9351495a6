"""Looking at every answer: what no right server says goes into the history, and what is judged with others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from simulator.contract.asking import Odd, read_request
from simulator.contract.examining import Examined, check_unattributed, examine
from simulator.contract.heads import HeadMemory
from simulator.history import HONEST, History
from simulator.limits import UNASKED_SHOWN_MAX_BYTES
from simulator.records import CertificateShown, Deviation, Exchange, Shown
from simulator.worlds.answers import HttpAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.attacks.script import Wire, WireOutcome
    from simulator.worlds.link import Link

OK = 200
UNREADABLE = "a request of its own form"
"""The route of a request that only a raw attack sends."""
_GIVING_UP = (b"HTTP/1.1 408", b"HTTP/1.0 408")
"""By which a server may close a connection at rest (RFC 9110 §15.5.9)."""


class Witness:
    """Looks at the answers that one player gets, those of a campaign or honest ones."""

    def __init__(self, history: History, now: Callable[[], int], campaign: int = HONEST) -> None:
        self._history = history
        self.now = now
        self._campaign = campaign
        self._memory = HeadMemory()

    def saw(self, request: bytes, answer: HttpAnswer, sent_ns: int) -> None:
        """Look at a whole answer that has just come."""
        self._look(request, answer, sent_ns, self.now(), self._campaign)

    def heard(self, link: Link, answer: HttpAnswer, answered_ns: int) -> None:
        """Look at the answer to a shard's request: one that differs from a right one in its request id is right too."""
        if answer.status == OK and answer.body == link.right_body and self._memory.knows(answer.head):
            return
        if self._look(link.request, answer, link.sent_ns, answered_ns, link.campaign) and answer.status == OK:
            link.right_body = answer.body if link.machine is not None else b""

    def saw_raw(self, step: Wire, outcome: WireOutcome) -> None:
        """Look at the answers on a raw connection. To which request each is, only its attack knows."""
        request = b"".join(part for part, _ in step.parts)
        for one in outcome.answers:
            for odd in check_unattributed(one.status, one.head, one.body):
                raw = HttpAnswer(one.status, one.head, one.body, keep=False).raw
                self._deviate(odd, request, raw, outcome.sent_ns, one.at_ns, self._campaign)

    def unasked(self, request: bytes, data: bytes, sent_ns: int, campaign: int | None = None) -> None:
        """Take bytes that came where nobody waited for an answer; `request` is the last one before them."""
        if data and not data.startswith(_GIVING_UP):
            campaign = self._campaign if campaign is None else campaign
            odd = Odd("unasked", f"{len(data)} bytes more than its answer, which nobody had asked for")
            self._deviate(odd, request, data[:UNASKED_SHOWN_MAX_BYTES], sent_ns, self.now(), campaign)

    def _look(self, request: bytes, answer: HttpAnswer, sent_ns: int, answered_ns: int, campaign: int) -> bool:
        """Return whether all of it is right."""
        found = examine(request, answer.status, answer.head, answer.body, self._memory)
        for odd in found.odd:
            self._deviate(odd, request, answer.raw, sent_ns, answered_ns, campaign)
        if answer.surplus:
            self.unasked(request, answer.surplus, sent_ns, campaign)
        self._take(found, sent_ns, answered_ns, campaign)
        return not found.odd

    def _take(self, found: Examined, sent_ns: int, answered_ns: int, campaign: int) -> None:
        history = self._history
        for one in found.showings:
            history.shown.append(Shown(sent_ns, answered_ns, campaign, *one))
        for certified in found.certificates:
            history.certificates_shown.append(CertificateShown(sent_ns, answered_ns, campaign, *certified))

    def _deviate(self, odd: Odd, request: bytes, answer: bytes, sent_ns: int, answered_ns: int, campaign: int) -> None:
        asked = read_request(request)
        route = UNREADABLE if asked is None else asked.name
        exchange = Exchange(sent_ns, answered_ns, campaign, request, answer, f"contents.{odd.rule}: {odd.message}")
        self._history.deviate(
            Deviation(f"contents.{odd.rule}", route, odd.message, sent_ns, answered_ns, campaign), exchange
        )


def waiting_bytes(descriptor: int) -> bytes | None:
    """Return what waits to be read from a socket at rest: None for nothing, no bytes when it was closed."""
    try:
        return os.read(descriptor, UNASKED_SHOWN_MAX_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
