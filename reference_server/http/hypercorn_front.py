"""Serving one connection by Hypercorn's own TCP server, behind the framing guard and its deadlines."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState

from reference_server.http.framing import FramingGuard, Waiting
from reference_server.limits import BODY_MAX_BYTES

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import AppWrapper

    from reference_server.settings import Settings

READ_BYTES = 65_536
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)", re.IGNORECASE)
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 * BODY_MAX_BYTES
"""After a refusal the client may still be sending; reading on for a moment lets it see the answer before the close."""


class _AnswerCount:
    """Counts whole answers as they are sent; each begins in a write of its own and says its length."""

    def __init__(self) -> None:
        self.complete = 0
        self._body_left = 0
        self._says_close = False

    @property
    def closing(self) -> bool:
        """Say whether the last answer is out and the connection is to end."""
        return self._says_close and self._body_left <= 0

    def sent(self, data: bytes | bytearray | memoryview) -> None:
        """Note one write."""
        data = bytes(data)
        if data.startswith(b"HTTP/1.1 "):
            if data.startswith(b"HTTP/1.1 1"):
                return
            self.complete += self._body_left > 0  # an answer to HEAD names a length and sends nothing
            head, _, body = data.partition(b"\r\n\r\n")
            self._says_close = b"\r\nconnection: close" in head.lower()
            length = _CONTENT_LENGTH.search(head)
            self._body_left = (int(length[1]) if length else 0) - len(body)
        elif self._body_left > 0:
            self._body_left -= len(data)
        else:
            return
        self.complete += self._body_left <= 0


class GuardedStream(trio.abc.Stream):
    """A socket stream whose reads give whole, plain requests only, each part of them within its deadline."""

    def __init__(self, stream: trio.abc.Stream, settings: Settings, mark: bytes, unread: bytes = b"") -> None:
        self._stream = stream
        self._guard = FramingGuard(mark)
        self._unread = unread
        self._timeouts = {
            Waiting.REQUEST: settings.idle_timeout_seconds,
            Waiting.HEAD: settings.header_timeout_seconds,
            Waiting.BODY: settings.body_timeout_seconds,
        }
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._since = trio.current_time()
        self._answers = _AnswerCount()
        self._progress = trio.Event()
        self._receiving = trio.CancelScope()

    @property
    def socket(self) -> Any:
        """Let Hypercorn ask for the addresses."""
        return self._stream.socket  # type: ignore[attr-defined]

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give the next complete requests, or nothing once the client is gone, late or refused, and has its answers.

        Hypercorn drops the answers it still owes when a stream ends; a client may stop sending and still want them.
        """
        del max_bytes  # requests come out whole
        guard = self._guard
        while not guard.refused:
            data, self._unread = self._unread, b""
            if not data:
                data = await self._receive_in_time()
                if not data:
                    break
            before = guard.waiting
            ready = guard.receive(data)
            if guard.waiting is not before or ready:
                self._since = trio.current_time()
            if guard.continue_due and guard.waiting is Waiting.BODY:
                guard.continue_due = False
                await self._stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            if ready:
                return ready
        with trio.move_on_after(self._send_timeout_seconds):
            while self._answers.complete < guard.released:
                await self._progress.wait()
        if guard.refused:
            await self._linger()
        return b""

    async def _linger(self) -> None:
        """Read on for a moment after a refusal: closing on unread bytes would take the answer from the client."""
        dropped = 0
        with trio.move_on_after(LINGER_SECONDS):
            while dropped < LINGER_BYTES and (data := await self._stream.receive_some(READ_BYTES)):
                dropped += len(data)

    async def _receive_in_time(self) -> bytes:
        while True:
            since = self._since
            timeout = LINGER_SECONDS if self._answers.closing else self._timeouts[self._guard.waiting]
            with trio.move_on_at(since + timeout) as self._receiving:
                return bytes(await self._stream.receive_some(READ_BYTES))
            if since == self._since:
                return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send an answer; a client that does not read it in time is cut off."""
        with trio.move_on_after(self._send_timeout_seconds) as scope:
            await self._stream.send_all(data)
        self._since = trio.current_time()
        self._answers.sent(data)
        self._progress.set()
        self._progress = trio.Event()
        if self._answers.closing and not scope.cancelled_caught:
            # Hypercorn means to close now, but Quart-Trio cancels it on the way; see that the client learns of it.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_SECONDS):
                await self.send_eof()
            self._receiving.deadline = trio.current_time()
        if scope.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read its answer")

    async def wait_send_all_might_not_block(self) -> None:
        """Pass through."""
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """End the answers; TLS has no such half-close."""
        if isinstance(self._stream, trio.SocketStream):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the socket."""
        await self._stream.aclose()


class GuardedTlsStream(GuardedStream):
    """The same inside TLS. HTTP/2 has framing of its own, so it passes unguarded."""

    _tls: trio.SSLStream[trio.SocketStream]

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], settings: Settings, mark: bytes) -> None:
        super().__init__(stream, settings, mark)
        self._tls = stream
        self.transport_stream = stream.transport_stream

    async def do_handshake(self) -> None:
        """Pass through."""
        await self._tls.do_handshake()

    def selected_alpn_protocol(self) -> str | None:
        """Pass through."""
        protocol: str | None = self._tls.selected_alpn_protocol()
        return protocol

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give requests for HTTP/1.1, bytes for HTTP/2."""
        if self._tls.selected_alpn_protocol() == "h2":
            return bytes(await self._tls.receive_some(max_bytes))
        return await super().receive_some(max_bytes)


class HypercornFront:
    """Everything Hypercorn needs to serve connections of one application."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        settings: Settings,
        mark: bytes,
    ) -> None:
        self._server: Callable[..., Awaitable[None]] = partial(TCPServer, app, config, context)
        self._settings = settings
        self._mark = mark

    async def serve_socket(self, socket: stdlib_socket.socket, unread: bytes = b"") -> None:
        """Serve a plain connection to its end, beginning with bytes already read from it."""
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
        await self.serve_stream(stream, unread)

    async def serve_stream(self, stream: trio.SocketStream, unread: bytes = b"") -> None:
        """Serve a plain stream to its end."""
        await self._run(GuardedStream(stream, self._settings, self._mark, unread))

    async def serve_tls(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        """Serve a TLS stream to its end."""
        await self._run(GuardedTlsStream(stream, self._settings, self._mark))

    async def _run(self, stream: GuardedStream) -> None:
        try:
            await self._server(ConnectionState({}), stream)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_SECONDS):
                await trio.aclose_forcefully(stream)
