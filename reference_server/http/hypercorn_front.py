"""Serving one connection by Hypercorn's own TCP server, behind the framing guard and its deadlines."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState

from reference_server.core.rate_limit import client_key
from reference_server.http.framing import FramingGuard, Waiting
from reference_server.limits import LINGER_MAX_BYTES, LINGER_SECONDS

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Awaitable, Callable
    from ssl import SSLContext

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import AppWrapper

    from reference_server.http.admission import Admission
    from reference_server.settings import Settings

READ_BYTES = 65_536
_log = logging.getLogger("hatchfarm")


class GuardedStream(trio.abc.Stream):
    """A socket stream whose reads give whole, plain requests only, each part of them within its deadline.

    `unread` is what came before, and `waited_seconds` how long its rest has been waited for. `lifetime` is what bounds
    the connection once Hypercorn means to close it: Quart-Trio cancels Hypercorn on the way.
    """

    def __init__(
        self, stream: trio.abc.Stream, settings: Settings, mark: bytes, unread: bytes = b"", waited_seconds: float = 0.0
    ) -> None:
        self.lifetime = trio.CancelScope()
        self._stream = stream
        self._guard = FramingGuard(mark)
        self._unread = unread
        self._waited_seconds = waited_seconds
        self._timeouts = {
            Waiting.REQUEST: settings.idle_timeout_seconds,
            Waiting.HEAD: settings.header_timeout_seconds,
            Waiting.BODY: settings.body_timeout_seconds,
        }
        self._send_timeout_seconds = settings.body_timeout_seconds
        self._send_by = math.inf
        self._since = trio.current_time()
        self._answered = 0
        self._progress = trio.Event()
        self._sent_all = False
        self._stopping = False
        self._receiving = trio.CancelScope()
        self._sending = trio.CancelScope()

    @property
    def socket(self) -> Any:
        """Let Hypercorn ask for the addresses."""
        return self._stream.socket  # type: ignore[attr-defined]

    @property
    def _owing(self) -> bool:
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
        """Give the next complete requests, or nothing once the client is gone, late or refused.

        Each time the answers due go first: a body held back is asked for in its turn, no request waits in Hypercorn
        when the server stops, and a client that has stopped sending still gets what Hypercorn would drop.
        """
        del max_bytes  # requests come out whole
        guard = self._guard
        while not guard.ended:
            data, self._unread = self._unread, b""
            waited_seconds, self._waited_seconds = self._waited_seconds, 0.0
            if not data:
                await self._until_answered()
                if guard.continue_due and self._expecting:
                    guard.continue_due = False
                    await self._send_in_time(b"HTTP/1.1 100 Continue\r\n\r\n")
                data = await self._receive_in_time()
                if not data:
                    break
            before = guard.waiting
            ready = guard.receive(data)
            if guard.waiting is not before or ready:
                self._since = trio.current_time()
                if guard.waiting is Waiting.HEAD and not ready:
                    self._since -= waited_seconds
            if ready:
                return ready
        await self._until_answered()
        parting = self._stopping and trio.current_time() - self._since < LINGER_SECONDS
        if parting and not self._sent_all:
            with suppress(trio.BrokenResourceError):
                await self.send_eof()
        if guard.refused or ((guard.ended or parting) and isinstance(self._stream, trio.SocketStream)):
            await self._linger()
        await self.aclose()
        return b""

    async def _until_answered(self) -> None:
        with trio.move_on_after(self._send_timeout_seconds):
            while self._owing and not self._sent_all:
                await self._progress.wait()

    async def _linger(self) -> None:
        """Read on for a moment: closing on unread bytes would take the last answer from the client."""
        dropped = 0
        with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError):
            while dropped < LINGER_MAX_BYTES and (data := await self._stream.receive_some(READ_BYTES)):
                dropped += len(data)

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
        self._report_progress()

    async def _send_in_time(self, data: bytes | bytearray | memoryview) -> None:
        sent = False
        try:
            with trio.move_on_at(min(trio.current_time() + self._send_timeout_seconds, self._send_by)) as self._sending:
                await self._stream.send_all(data)
                sent = True
            if not sent:
                raise trio.BrokenResourceError("the client does not read its answer")
        finally:
            self._since = trio.current_time()
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
        """End the answers, as Hypercorn does before it closes; TLS has no such half-close."""
        await self.aclose()
        if isinstance(self._stream, trio.SocketStream):
            with trio.CancelScope(shield=True, deadline=self.lifetime.deadline):
                await self._stream.send_eof()

    async def aclose(self) -> None:
        """Let the connection end soon: when Hypercorn has no more to read, and the client could see its last answer."""
        now = trio.current_time()
        self._sent_all = True
        self._report_progress()
        self._receiving.deadline = now
        self.lifetime.deadline = min(self.lifetime.deadline, now + LINGER_SECONDS)

    async def abort(self) -> None:
        """Close the socket at once."""
        await trio.aclose_forcefully(self._stream)


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

    @property
    def _speaks_http2(self) -> bool:
        return self.selected_alpn_protocol() == "h2"

    @property
    def _expecting(self) -> bool:
        return not self._sent_all if self._speaks_http2 else super()._expecting

    def stop(self, deadline: float) -> None:
        """Do the same; for HTTP/2, where streams rest and not requests, leave it a moment to answer what it has."""
        try:
            super().stop(deadline)
            if self._speaks_http2:
                self.lifetime.deadline = min(deadline, trio.current_time() + LINGER_SECONDS)
        except trio.NeedHandshakeError:
            self.lifetime.cancel()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Give requests for HTTP/1.1, bytes for HTTP/2."""
        if not self._speaks_http2:
            return await super().receive_some(max_bytes)
        data = await self._receive_in_time()
        self._since = trio.current_time()
        if not data:
            await self.aclose()
        return data


class _Server(TCPServer):
    """Hypercorn's server of one connection, without its idle timeout: the guarded stream closes what rests.

    Hypercorn's own would close idle connections the moment the server begins to stop, and drop a request that is just
    coming in on one of them.
    """

    async def _idle_timeout(self) -> None:
        await trio.sleep_forever()

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


class _Guest:
    """A connection that Hypercorn serves, as `Admission` sees it."""

    def __init__(self, client: str) -> None:
        self.address = client_key(client)
        self.proven = False
        self.waiting_bytes = 0
        self.scope = trio.CancelScope()

    def evict(self) -> None:
        """Close at once."""
        self.scope.cancel()


class HypercornFront:
    """Everything Hypercorn needs to serve connections of one application."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        settings: Settings,
        mark: bytes,
        admission: Admission,
    ) -> None:
        self._admission = admission
        self._server: Callable[..., Awaitable[None]] = partial(_Server, app, config, context)
        self._settings = settings
        self._mark = mark
        self._streams: set[GuardedStream] = set()
        self._stop_by: float | None = None

    def stop(self, deadline: float) -> None:
        """Close connections at rest, and let no other answer take longer than until the deadline."""
        self._stop_by = deadline
        for stream in self._streams:
            stream.stop(deadline)

    def welcome(
        self, handlers: trio.Nursery, tls: SSLContext | None, socket: stdlib_socket.socket, client: str
    ) -> None:
        """Serve a new connection in `handlers`, over TLS where there is a context for it."""
        guest = _Guest(client)
        self._admission.enter(guest)
        handlers.start_soon(self._serve_guest, guest, socket, tls)

    async def _serve_guest(self, guest: _Guest, socket: stdlib_socket.socket, tls: SSLContext | None) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
        try:
            with guest.scope:
                if tls is None:
                    await self.serve_stream(stream)
                else:
                    await self.serve_tls(trio.SSLStream(stream, tls, server_side=True, https_compatible=True))
        finally:
            self._admission.leave(guest)
            socket.close()

    async def serve_stream(self, stream: trio.SocketStream, unread: bytes = b"", waited_seconds: float = 0.0) -> None:
        """Serve a plain stream to its end; `unread` has come already, and its rest has been waited for so long."""
        await self._run(GuardedStream(stream, self._settings, self._mark, unread, waited_seconds))

    async def serve_tls(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        """Serve a TLS stream to its end."""
        await self._run(GuardedTlsStream(stream, self._settings, self._mark))

    async def _run(self, stream: GuardedStream) -> None:
        self._streams.add(stream)
        if self._stop_by is not None:
            stream.stop(self._stop_by)
        try:
            with stream.lifetime:
                await self._server(ConnectionState({}), stream)
        except* Exception:  # noqa: BLE001 - one connection's fault must not end the others
            _log.exception("A fault while serving a connection: it is closed, the others are not")
        finally:
            self._streams.discard(stream)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_SECONDS):
                await stream.abort()
