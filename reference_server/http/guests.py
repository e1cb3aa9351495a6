"""Serving connections by a task each: TLS by a session of its protocol, plain HTTP/1.1 by Hypercorn behind a guard."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.typing import ConnectionState

from reference_server.core.rate_limit import client_key
from reference_server.http.admission import CONNECTION, account_nothing
from reference_server.http.guarded_stream import GuardedStream
from reference_server.http.http2_front import Http2Session
from reference_server.http.http11_session import Http11Session
from reference_server.limits import LINGER_SECONDS

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Awaitable, Callable
    from ssl import SSLContext

    from hypercorn.config import Config
    from hypercorn.trio.worker_context import WorkerContext
    from hypercorn.typing import AppWrapper

    from reference_server.http.admission import Admission
    from reference_server.http.rendering import Renderer
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings

_log = logging.getLogger("hatchfarm")


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

    def cut(self) -> None:
        """Forget everything, once nothing runs any more.

        Server, protocol and stream refer to each other in circles, with the bodies that they hold. Of Hypercorn's own
        one stays where a client left before its answer: what speaks HTTP/1.1 goes on naming the request.
        """
        wrapper = vars(self).pop("protocol", None)
        if wrapper is not None:
            vars(wrapper.protocol).clear()
        vars(self).clear()


class _Guest:
    """A connection that a task serves, as `Admission` sees it."""

    def __init__(self, admission: Admission, client: str) -> None:
        self.client = client
        self.address = client_key(client)
        self.proven = False
        self.waiting_bytes = 0
        self.scope = trio.CancelScope()
        self._admission = admission

    def evict(self) -> None:
        """Close at once."""
        if not self.scope.cancel_called:
            self.scope.cancel()
            self._admission.leave(self)

    def learn(self, proven: bool) -> None:  # noqa: FBT001 - as a callback it has no names
        """Note that it was answered, and whether somebody has proven who they are by that."""
        if self.scope.cancel_called:
            return
        if proven:
            self._admission.prove(self)
        else:
            self._admission.progress(self)

    def account(self, served: Served) -> None:
        """Note what waits in what serves it. It may have to go for that."""
        if not self.scope.cancel_called:
            self._admission.hold(self, served.waiting_bytes)


class Guests:
    """Everything that is needed to serve connections of one application."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        settings: Settings,
        mark: bytes,
        admission: Admission,
        answerer: Answerer,
        renderer: Renderer,
    ) -> None:
        config.errorlog = _log  # Hypercorn's own handler would write what ours bounds
        self._admission = admission
        self._server: Callable[..., _Server] = partial(_Server, app, config, context)
        self._settings = settings
        self._mark = mark
        self._answerer = answerer
        self._renderer = renderer
        self._served: set[Served] = set()
        self._stop_by: float | None = None

    def stop(self, deadline: float) -> None:
        """Close connections at rest, and let no other answer take longer than until the deadline."""
        self._stop_by = deadline
        for served in list(self._served):
            served.stop(deadline)

    def welcome(
        self, handlers: trio.Nursery, tls: SSLContext | None, socket: stdlib_socket.socket, client: str
    ) -> None:
        """Serve a new connection in `handlers`, over TLS where there is a context for it."""
        guest = _Guest(self._admission, client)
        self._admission.enter(guest)
        handlers.start_soon(self._serve_guest, guest, socket, tls)

    async def _serve_guest(self, guest: _Guest, socket: stdlib_socket.socket, tls: SSLContext | None) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
        try:
            with guest.scope:
                CONNECTION.set(guest.learn)
                if tls is None:
                    await self._serve_by_hypercorn(guest, GuardedStream(stream, self._settings, self._mark))
                else:
                    await self._serve_tls(guest, trio.SSLStream(stream, tls, server_side=True, https_compatible=True))
        finally:
            guest.evict()
            socket.close()

    async def _serve_tls(self, guest: _Guest, stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await self._shake_hands(guest, stream)
        finally:
            # It refers to itself by what it would shake hands with, and OpenSSL's part of it is large.
            vars(stream).pop("_handshook", None)

    async def _shake_hands(self, guest: _Guest, stream: trio.SSLStream[trio.SocketStream]) -> None:
        agreed = False

        async def shake_hands() -> None:
            nonlocal agreed
            with trio.move_on_after(self._settings.header_timeout_seconds), suppress(trio.BrokenResourceError):
                await stream.do_handshake()
                agreed = True

        handshake = _Handshake(stream)
        await self._run(handshake, shake_hands, closes=False)
        if not agreed:
            await handshake.abort()
        else:
            session = self._session(guest, stream)
            session.account = partial(guest.account, session)
            try:
                await self._run(session, session.run)
            finally:
                session.account = account_nothing

    def _session(self, guest: _Guest, stream: trio.SSLStream[trio.SocketStream]) -> Http11Session | Http2Session:
        """Begin what serves a connection by the protocol that it agreed on; HTTP/1.1 where it named none."""
        if stream.selected_alpn_protocol() == "h2":
            return Http2Session(stream, guest.client, self._settings, self._answerer, guest.learn)
        return Http11Session(stream, guest.client, self._settings, self._answerer, self._renderer, guest.learn)

    async def _serve_by_hypercorn(self, guest: _Guest, stream: GuardedStream) -> None:
        stream.account = partial(guest.account, stream)
        server = self._server(ConnectionState({}), stream)
        try:
            await self._run(stream, server.run)
        finally:
            server.cut()
            stream.account = account_nothing

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
