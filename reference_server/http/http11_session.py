"""Serving one HTTP/1.1 connection over TLS: reading, writing and waiting; `conversation` decides the rest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.http.admission import account_nothing
from reference_server.http.conversation import Conversation
from reference_server.http.framing import Waiting
from reference_server.http.parting import READ_BYTES, part
from reference_server.http.rendering import CONTINUE
from reference_server.limits import HTTP11_ANSWERS_AT_ONCE, LANE_ANSWERS_MAX_BYTES
from reference_server.wire.values import succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.http.conversation import Answer
    from reference_server.http.rendering import Renderer
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings


class Http11Session:
    """A connection that speaks HTTP/1.1, from the end of its handshake. `lifetime` bounds it from outside.

    It does one thing at a time: while an answer is deferred, or the client has not taken what was sent, nothing more
    is read or decided, so what a client can have waiting here is bounded.
    """

    def __init__(
        self,
        stream: trio.SSLStream[trio.SocketStream],
        client: str,
        settings: Settings,
        answerer: Answerer,
        renderer: Renderer,
        learn: Callable[[bool], None],
    ) -> None:
        self.lifetime = trio.CancelScope()
        self._stream = stream
        self._answerer = answerer
        self._renderer = renderer
        self._learn = learn
        self._conversation = Conversation(answerer, client, "https")
        self._timeouts = {
            Waiting.REQUEST: settings.idle_timeout_seconds,
            Waiting.HEAD: settings.header_timeout_seconds,
            Waiting.BODY: settings.body_timeout_seconds,
        }
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._awaited = Waiting.REQUEST
        self._since = trio.current_time()  # when it began to be awaited: more bytes of the same gain no time
        self._receiving = trio.CancelScope()
        self._unsent_bytes = 0
        self._stopping = False
        self._closing = False
        self.account: Callable[[], None] = account_nothing
        """Called whenever `waiting_bytes` may have changed."""

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it: requests that are not whole, and answers that are not sent."""
        return self._conversation.waiting_bytes + self._unsent_bytes

    @property
    def _over(self) -> bool:
        """Return whether nothing more is read: the last answer is out, or no request had begun before the stop."""
        return self._closing or (self._stopping and self._conversation.waiting is Waiting.REQUEST)

    def stop(self, deadline: float) -> None:
        """Take no further request, and let what has begun or arrived take no longer than until the deadline."""
        self.lifetime.deadline = min(self.lifetime.deadline, deadline)
        self._stopping = True
        if self._over:  # what has arrived is still read: Trio looks at sockets before it looks at deadlines
            self._receiving.deadline = trio.current_time()

    async def abort(self) -> None:
        """Close the socket at once."""
        await trio.aclose_forcefully(self._stream)

    async def run(self) -> None:
        """Serve to the end of the connection."""
        with suppress(trio.BrokenResourceError):  # the client is gone, or was cut off
            while not self._over:
                data = await self._receive()
                if data:
                    self._conversation.receive(data)
                    self.account()
                    await self._answer()
                elif not self._over:
                    return
            await part(self._stream.transport_stream)

    async def _receive(self) -> bytes:
        """Return what came before the deadline of what is awaited; nothing once the client is late, or has ended."""
        with trio.CancelScope(deadline=self._since + self._timeouts[self._awaited]) as self._receiving:
            return bytes(await self._stream.receive_some(READ_BYTES))
        return b""

    async def _answer(self) -> None:
        """Answer all that has come, a batch at a time; then note what is awaited now, and since when.

        Sending lets the other tasks run, so no client holds the loop for longer than a batch.
        """
        progressed = False
        more = True
        while more:
            answers: list[bytes] = []
            more = await self._decide(answers)
            if answers:
                await self._send(b"".join(answers))
                progressed = True
        waiting = self._conversation.waiting
        if progressed or waiting is not self._awaited:
            self._awaited, self._since = waiting, trio.current_time()
        self.account()

    async def _decide(self, answers: list[bytes]) -> bool:
        """Put the next answers behind the others. Return whether there may be more after these."""
        conversation = self._conversation
        while len(answers) < HTTP11_ANSWERS_AT_ONCE and self._unsent_bytes < LANE_ANSWERS_MAX_BYTES:
            await self._answerer.room()
            answer = conversation.next()
            if answer is None and conversation.busy:
                await trio.lowlevel.checkpoint()
                return True
            if answer is None:
                if conversation.take_continue():
                    answers.append(CONTINUE)
                self._closing = conversation.ended
                return False
            answers.append(await self._write(answer))
            self._unsent_bytes += len(answers[-1])
            if self._closing:
                return False
        return True

    async def _write(self, answer: Answer) -> bytes:
        """Return an answer as its bytes, once it may be sent. One that closes is the last."""
        self.account()
        # Waited for before anything else is decided: what fails to be committed undoes only what is deferred.
        reply = await self._answerer.resolved(answer.reply)
        self._learn(answer.proves and succeeded(reply))
        self._closing = answer.closes or self._stopping
        return self._renderer.full(reply, self._answerer.now(), bodiless=answer.bodiless, closes=self._closing)

    async def _send(self, data: bytes) -> None:
        """Send answers. Raises trio.BrokenResourceError for a client that is gone, or does not take them in time."""
        self.account()
        sent = False
        with trio.move_on_after(self._send_timeout_seconds):
            await self._stream.send_all(data)
            sent = True
        if not sent:
            raise trio.BrokenResourceError("the client does not read its answers")
        self._unsent_bytes = 0
        self.account()
