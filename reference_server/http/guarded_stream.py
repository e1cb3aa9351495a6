"""The stream that Hypercorn reads from: whole, plain requests only, each part of them within its deadline."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.http.admission import account_nothing
from reference_server.http.framing import FramingGuard, Waiting
from reference_server.http.parting import READ_BYTES, linger
from reference_server.http.rendering import CONTINUE
from reference_server.limits import LINGER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.settings import Settings


class GuardedStream(trio.abc.Stream):
    """A socket stream whose reads give whole, plain requests only, each part of them within its deadline.

    `lifetime` is what bounds the connection once Hypercorn means to close it: Quart-Trio cancels Hypercorn on the way.
    """

    def __init__(self, stream: trio.SocketStream, settings: Settings, mark: bytes) -> None:
        self.lifetime = trio.CancelScope()
        self._stream = stream
        self._guard = FramingGuard(mark)
        self._timeouts = {
            Waiting.REQUEST: settings.idle_timeout_seconds,
            Waiting.HEAD: settings.header_timeout_seconds,
            Waiting.BODY: settings.body_timeout_seconds,
        }
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._send_by = math.inf
        self._since = trio.current_time()
        self._answered = 0
        self._handed_bytes = self._sending_bytes = 0
        self._progress = trio.Event()
        self._sent_all = False
        self._stopping = False
        self._receiving = trio.CancelScope()
        self._sending = trio.CancelScope()
        self.account: Callable[[], None] = account_nothing
        """Called whenever `waiting_bytes` may have changed."""

    @property
    def socket(self) -> trio.socket.SocketType:
        """Return what Hypercorn asks for the addresses."""
        return self._stream.socket

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it: requests that are not whole or not answered, and an answer being sent."""
        handed_bytes = self._handed_bytes if self._pending else 0
        return self._guard.waiting_bytes + handed_bytes + self._sending_bytes

    @property
    def _pending(self) -> bool:
        return self._answered < self._guard.released

    @property
    def _expecting(self) -> bool:
        return not (self._sent_all or (self._stopping and self._guard.waiting is Waiting.REQUEST))

    def stop(self, deadline: float) -> None:
        """Wait for no further request, and send nothing past the deadline, from which Hypercorn shields its sending."""
        self._stopping = True
        self._send_by = deadline
        self._sending.deadline = min(self._sending.deadline, deadline)
        if not self._expecting:
            self._receiving.deadline = trio.current_time()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next complete requests, or nothing once the client is gone, late or refused.

        Each time the answers due go first: a body held back is asked for in its turn, no request waits in Hypercorn
        when the server stops, and a client that has stopped sending still gets what Hypercorn would drop.
        """
        del max_bytes  # requests come out whole
        guard = self._guard
        while not guard.ended:
            await self._until_answered()
            if guard.continue_due and self._expecting:
                guard.continue_due = False
                await self._send_in_time(CONTINUE)
            data = await self._receive_in_time()
            if not data:
                break
            before = guard.waiting
            ready = guard.receive(data)
            self._handed_bytes = len(ready)
            self.account()
            if guard.waiting is not before or ready:
                self._since = trio.current_time()
            if ready:
                return ready
        await self._until_answered()
        parting = self._stopping and trio.current_time() - self._since < LINGER_SECONDS
        if parting and not self._sent_all:
            with suppress(trio.BrokenResourceError):
                await self.send_eof()
        if guard.ended or parting:
            await linger(self._stream)
        await self.aclose()
        return b""

    async def _until_answered(self) -> None:
        with trio.move_on_after(self._send_timeout_seconds):
            while self._pending and not self._sent_all:
                await self._progress.wait()

    async def _receive_in_time(self) -> bytes:
        while self._expecting:
            since = self._since
            with trio.move_on_at(since + self._timeouts[self._guard.waiting]) as self._receiving:
                try:
                    return bytes(await self._stream.receive_some(READ_BYTES))
                except trio.BrokenResourceError:
                    break
            if since == self._since:
                break
        return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send a part of an answer, empty at its end; a client that does not read it in time is cut off."""
        await self._send_in_time(data)
        self._answered += not data
        self.account()
        self._report_progress()

    async def _send_in_time(self, data: bytes | bytearray | memoryview) -> None:
        sent = False
        self._sending_bytes = len(data)
        self.account()
        try:
            with trio.move_on_at(min(trio.current_time() + self._send_timeout_seconds, self._send_by)) as self._sending:
                await self._stream.send_all(data)
                sent = True
            if not sent:
                raise trio.BrokenResourceError("the client does not read its answer")
        finally:
            self._since = trio.current_time()
            self._sending_bytes = 0
            self.account()
            if not sent:
                # Part of it may be out, so nothing can follow; and Hypercorn would wait for ever to answer the rest.
                self._sent_all = True
                self._report_progress()
                self.lifetime.cancel()

    def _report_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    async def wait_send_all_might_not_block(self) -> None:
        """Pass through."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the answers, as Hypercorn does before it closes."""
        await self.aclose()
        with trio.CancelScope(shield=True, deadline=self.lifetime.deadline):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """End the connection soon: when Hypercorn has no more to read, and the client could see its last answer."""
        now = trio.current_time()
        self._sent_all = True
        self._report_progress()
        self._receiving.deadline = now
        self.lifetime.deadline = min(self.lifetime.deadline, now + LINGER_SECONDS)

    async def abort(self) -> None:
        """Close the socket at once."""
        await trio.aclose_forcefully(self._stream)
