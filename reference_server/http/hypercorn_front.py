"""Serving one connection: HTTP/1.1 by Hypercorn's own TCP server behind the framing guard, HTTP/2 by its own front."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState

from reference_server.http.framing import FramingGuard, Waiting
from reference_server.http.http2_front import Http2Session
from reference_server.limits import BODY_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import AppWrapper

    from reference_server.http.answers import Answerer
    from reference_server.settings import Settings

READ_BYTES = 65_536
LINGER_SECONDS = 2.0
LINGER_BYTES = 8 * BODY_MAX_BYTES
"""After a refusal the client may still be sending; reading on for a moment lets it see the answer before the close."""
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
        self._handed_bytes = self._sending_bytes = 0
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
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it: requests that are not whole or not answered, and an answer being sent."""
        handed_bytes = self._handed_bytes if self._owing else 0
        return len(self._unread) + self._guard.waiting_bytes + handed_bytes + self._sending_bytes

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
                self._handed_bytes = len(ready)
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
            while dropped < LINGER_BYTES and (data := await self._stream.receive_some(READ_BYTES)):
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
        self._sending_bytes = len(data)
        try:
            with trio.move_on_at(min(trio.current_time() + self._send_timeout_seconds, self._send_by)) as self._sending:
                await self._stream.send_all(data)
                sent = True
            if not sent:
                raise trio.BrokenResourceError("the client does not read its answer")
        finally:
            self._since = trio.current_time()
            self._sending_bytes = 0
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
    """The same inside TLS."""

    _tls: trio.SSLStream[trio.SocketStream]

    def __init__(self, stream: trio.SSLStream[trio.SocketStream], settings: Settings, mark: bytes) -> None:
        super().__init__(stream, settings, mark)
        self._tls = stream
        self.transport_stream = stream.transport_stream

    async def do_handshake(self) -> None:
        """Pass through."""
        await self._tls.do_handshake()

    def selected_alpn_protocol(self) -> str:
        """Name the only protocol that is served through this stream."""
        return "http/1.1"


class _Handshake:
    """A TLS connection of which it is not known yet what it speaks; nothing of it waits."""

    waiting_bytes = 0

    def __init__(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        self.lifetime = trio.CancelScope()
        self._stream = stream

    def stop(self, _deadline: float) -> None:
        """End at once."""
        self.lifetime.cancel()

    async def abort(self) -> None:
        """Close the socket at once."""
        await trio.aclose_forcefully(self._stream)


class Served(Protocol):
    """A connection while it is served. `lifetime` bounds it, `waiting_bytes` counts what waits in it."""

    lifetime: trio.CancelScope

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in it."""

    def stop(self, deadline: float, /) -> None:
        """Take no further request, and end by the deadline."""

    async def abort(self) -> None:
        """Close the socket at once."""


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


class HypercornFront:
    """Everything that is needed to serve connections of one application."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        settings: Settings,
        mark: bytes,
        answerer: Answerer,
    ) -> None:
        config.errorlog = _log  # Hypercorn's own handler would write what ours bounds
        self._server: Callable[..., _Server] = partial(_Server, app, config, context)
        self._settings = settings
        self._mark = mark
        self._answerer = answerer
        self._served: set[Served] = set()
        self._stop_by: float | None = None

    def stop(self, deadline: float) -> None:
        """Close connections at rest, and let no other answer take longer than until the deadline."""
        self._stop_by = deadline
        for served in list(self._served):
            served.stop(deadline)

    async def serve_stream(self, stream: trio.SocketStream, unread: bytes = b"", waited_seconds: float = 0.0) -> None:
        """Serve a plain stream to its end; `unread` has come already, and its rest has been waited for so long."""
        guarded = GuardedStream(stream, self._settings, self._mark, unread, waited_seconds)
        await self._run(guarded, partial(self._serve_by_hypercorn, guarded))

    async def serve_tls(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        """Serve a TLS stream to its end."""
        try:
            await self._serve_tls(stream)
        finally:
            # It refers to itself by what it would shake hands with, and OpenSSL's part of it is large.
            vars(stream).pop("_handshook", None)

    async def _serve_tls(self, stream: trio.SSLStream[trio.SocketStream]) -> None:
        agreed = False

        async def shake_hands() -> None:
            nonlocal agreed
            with trio.move_on_after(self._settings.header_timeout_seconds), suppress(trio.BrokenResourceError):
                await stream.do_handshake()
                agreed = True

        handshake = _Handshake(stream)
        await self._run(handshake, shake_hands, closes=False)
        client = ""
        with suppress(OSError):  # a client that has reset the connection has no address any more
            client = stream.transport_stream.socket.getpeername()[0]
        if not (agreed and client):
            await handshake.abort()
        elif stream.selected_alpn_protocol() == "h2":
            session = Http2Session(stream, client, self._settings, self._answerer)
            await self._run(session, session.run)
        else:
            guarded = GuardedTlsStream(stream, self._settings, self._mark)
            await self._run(guarded, partial(self._serve_by_hypercorn, guarded))

    async def _serve_by_hypercorn(self, stream: GuardedStream) -> None:
        server = self._server(ConnectionState({}), stream)
        try:
            await server.run()
        finally:
            # Server, protocol and stream refer to each other in circles, with the bodies that they hold.
            vars(server).clear()

    async def _run(self, served: Served, serve: Callable[[], Awaitable[None]], *, closes: bool = True) -> None:
        self._served.add(served)
        if self._stop_by is not None:
            served.stop(self._stop_by)
        try:
            with served.lifetime:
                await serve()
        except* Exception:  # noqa: BLE001 - one connection's fault must not end the others
            _log.exception("A fault while serving a connection: it is closed, the others are not")
        finally:
            self._served.discard(served)
            if closes:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + LINGER_SECONDS):
                    await served.abort()
