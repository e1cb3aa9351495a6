"""Serving one HTTP/2 connection over TLS: reading, writing and waiting; `http2_connection` decides the rest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.http.admission import account_nothing
from reference_server.http.http2_connection import Http2Connection
from reference_server.http.parting import READ_BYTES, part

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.http.tls_stream import TlsStream
    from reference_server.operations.outcomes import Deferred
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings
    from reference_server.wire.values import Reply


class Http2Session:
    """A connection that speaks HTTP/2, from the end of its handshake. `lifetime` bounds it from outside."""

    def __init__(
        self,
        stream: TlsStream,
        client: str,
        settings: Settings,
        answerer: Answerer,
        learn: Callable[[bool], None],
    ) -> None:
        self.lifetime = trio.CancelScope()
        self._stream = stream
        self._answerer = answerer
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._receiving = trio.CancelScope()
        self._changed = trio.Event()
        self._sent = trio.Event()
        self._gone = False
        self._connection = Http2Connection(answerer, self._defer, client, settings, trio.current_time(), learn)
        self.account: Callable[[], None] = account_nothing
        """Called whenever `waiting_bytes` may have changed."""

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it."""
        return self._connection.waiting_bytes

    def stop(self, deadline: float) -> None:
        """Take no further request, and let the answers to those there are take no longer than until the deadline."""
        self.lifetime.deadline = min(self.lifetime.deadline, deadline)
        self._connection.stop()
        self._note_change()

    async def abort(self) -> None:
        """Close the socket at once."""
        self._stream.close()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Serve to the end of the connection."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                await self._read()
                if self._gone:
                    nursery.cancel_scope.cancel()
            if not self._gone:
                await part(self._stream)
        finally:
            self._connection.abandon()

    def _defer(self, deferred: Deferred, resolved: Callable[[Reply, float], None]) -> None:
        def give(reply: Reply) -> None:
            resolved(reply, trio.current_time())
            self._note_change()

        self._answerer.defer(deferred, give)

    def _note_change(self) -> None:
        self._changed.set()
        self._receiving.deadline = self._connection.late_at
        self.account()

    async def _read(self) -> None:
        connection = self._connection
        while not connection.ended:
            data = b""
            with trio.CancelScope(deadline=connection.late_at) as self._receiving, suppress(trio.BrokenResourceError):
                data = await self._stream.receive_some(READ_BYTES)
            if data:
                await self._serve(data)
            elif self._receiving.cancelled_caught:
                connection.expire(trio.current_time())
            else:
                self._leave()
            self._note_change()

    async def _serve(self, data: bytes) -> None:
        connection = self._connection
        connection.receive(data)
        more = True
        while more:
            await self._answerer.room()
            more = connection.step(trio.current_time())
            self._note_change()
            await trio.lowlevel.checkpoint()
        while connection.choked and not connection.ended:
            self._sent = trio.Event()
            await self._sent.wait()

    async def _write(self) -> None:
        """Send what there is to say until that was the last. A client that does not take it in time is cut off."""
        connection = self._connection
        while True:
            data = connection.output(trio.current_time())
            self._receiving.deadline = connection.late_at
            if data:
                sent = False
                with trio.move_on_after(self._send_timeout_seconds), suppress(trio.BrokenResourceError):
                    await self._stream.send_all(data)
                    sent = True
                if not sent:
                    self._leave()
                    self.lifetime.cancel()
                self._sent.set()
                self.account()
            elif connection.ended:
                self._receiving.cancel()
                return
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    def _leave(self) -> None:
        self._gone = True
        self._connection.abandon()
