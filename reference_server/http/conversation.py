"""What one HTTP/1.1 client asks, in any form, and what it is answered: no socket, and the clock is asked per answer.

A request is looked through as soon as its head is there. What its head alone refuses is answered at once, and its body
is read past, not kept; so nobody without a credential can leave an owner's body waiting here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reference_server.http.framing import Refusal, RequestReader, Waiting
from reference_server.http.heads import Head
from reference_server.operations.outcomes import Admitted
from reference_server.pipeline.answering import REFUSALS
from reference_server.wire.values import Request

if TYPE_CHECKING:
    from reference_server.pipeline.answering import Answerer
    from reference_server.wire.values import Reply


class Answer(NamedTuple):
    """One answer, which may be `Deferred`; how it is written; and whether a success proves who the client is.

    `size` is how many bytes its request keeps while it is deferred.
    """

    reply: Reply
    bodiless: bool = False
    closes: bool = False
    proves: bool = True
    size: int = 0


class Conversation:
    """Requests of one connection, in order, and their answers. `client` is its address, `scheme` what it speaks."""

    __slots__ = ("_admitted", "_answered", "_answerer", "_client", "_continue_due", "_requests", "_scheme")

    def __init__(self, answerer: Answerer, client: str, scheme: str) -> None:
        self._answerer = answerer
        self._client = client
        self._scheme = scheme
        self._requests = RequestReader()
        self._admitted: Admitted | None = None
        self._answered = False  # by its head: the body that is still coming belongs to no question
        self._continue_due = False

    @property
    def waiting(self) -> Waiting:
        """Return what the next bytes would complete."""
        return self._requests.waiting

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in here."""
        return self._requests.waiting_bytes

    @property
    def at_rest(self) -> bool:
        """Return whether it is between two requests, and a new one would go on as well."""
        return self._requests.at_rest

    @property
    def busy(self) -> bool:
        """Return whether `next` has more to do with what has come, in another round."""
        return self._requests.busy

    @property
    def ended(self) -> bool:
        """Return whether the last answer was given: nothing more is read."""
        return self._requests.ended

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._requests.receive(data)

    def next(self) -> Answer | None:
        """Return the next answer; None until more has come."""
        while (read := self._requests.next()) is not None:
            if isinstance(read, Head):
                answer = self._begin(read)
            elif isinstance(read, Refusal):
                answer = self._refuse(read)
            else:
                answer = self._complete(read)
            if answer is not None:
                return answer
        return None

    def take_continue(self) -> bool:
        """Return, once, whether the client waits to be told that it may send its body."""
        due, self._continue_due = self._continue_due, False
        return due and self._requests.waiting is Waiting.BODY

    def _begin(self, head: Head) -> Answer | None:
        request = self._request(head)
        outcome = self._answerer.admit(request)
        if isinstance(outcome, Admitted):
            self._admitted = outcome
            self._continue_due = head.expects_continue
            return None
        # Whoever waits to be told to send its body may never send it now: nobody could tell what comes next.
        closes = head.closes or head.expects_continue
        if closes:
            self._requests.end()
        else:
            self._answered = True
            self._requests.discard_body()
        return Answer(outcome, request.method == "HEAD", closes, proves=False)

    def _complete(self, body: bytes) -> Answer | None:
        admitted, self._admitted = self._admitted, None
        self._continue_due = self._answered = False
        if admitted is None:
            return None
        bodiless = admitted.request.method == "HEAD"
        reply = self._answerer.complete(admitted, body)
        return Answer(reply, bodiless, self._requests.ended, admitted.proves, len(body))

    def _refuse(self, refusal: Refusal) -> Answer | None:
        if self._answered:
            return None
        admitted, self._admitted = self._admitted, None
        reply = REFUSALS[refusal.status]
        bodiless = refusal.bare
        if admitted is not None:  # it was counted with its head
            bodiless = admitted.request.method == "HEAD"
            reply = self._answerer.give_up(admitted, reply)
        elif refusal.head is not None:
            request = self._request(refusal.head, too_large=True)
            bodiless = request.method == "HEAD"
            outcome = self._answerer.admit(request)
            reply = self._answerer.give_up(outcome, reply) if isinstance(outcome, Admitted) else outcome
        else:
            reply = self._answerer.refuse(refusal.status, self._client)
        return Answer(reply, bodiless, closes=True, proves=False)

    def _request(self, head: Head, *, too_large: bool = False) -> Request:
        path, _, query = head.target.decode("ascii").partition("?")
        return Request(
            method=head.method.decode("ascii"),
            path=path,
            query=query,
            headers=tuple([(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]),
            client=self._client,
            scheme=self._scheme,
            body_too_large=too_large,
        )
