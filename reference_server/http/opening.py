"""Connections before they speak HTTP: a proxy's header, a TLS handshake, and then to whoever serves what was agreed on.

Each has a task as long as that takes. HTTP/1.1 goes on in the express lane, HTTP/2 in the same task.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from reference_server.http.admission import account_nothing
from reference_server.http.guests import Guest, Guests
from reference_server.http.http2_front import Http2Session
from reference_server.http.tls_socket import TlsSocket
from reference_server.http.tls_stream import OF_SOCKETS, TlsStream

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Sequence
    from ssl import SSLContext

    from reference_server.core.trusted_proxies import TrustedProxies
    from reference_server.http.admission import Admission
    from reference_server.http.express_lane import ExpressLane
    from reference_server.http.tls_stream import Waits
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings


class Opening(Guests):
    """Has the lane serve HTTP/1.1, plain or inside TLS, and serves HTTP/2. `tls` is None where all is plain."""

    def __init__(
        self,
        lane: ExpressLane,
        admission: Admission,
        handlers: trio.Nursery,
        settings: Settings,
        proxies: TrustedProxies,
        tls: SSLContext | None,
        answerer: Answerer,
        waits: Waits = OF_SOCKETS,
    ) -> None:
        super().__init__(admission, handlers, settings, proxies)
        self._lane = lane
        self._tls = tls
        self._answerer = answerer
        self._waits = waits

    async def run(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        """Take connections, and have the lane serve those that are handed over to it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lane.run, ())
            await super().run(listeners)

    async def finish(self, deadline: float) -> None:
        """Have all connections end by the deadline."""
        await super().finish(deadline)
        await self._lane.finish(deadline)

    def close(self) -> None:
        """Close what the lane has left as well."""
        super().close()
        self._lane.close()

    async def serve(self, guest: Guest) -> None:
        """Shake hands where this server speaks TLS, and see to it that the protocol that is agreed on is served."""
        tls: TlsSocket | None = None
        if self._tls is not None:
            tls = TlsSocket(guest.socket, self._tls)
            stream = TlsStream(guest.socket, tls, self._waits)
            protocol: str | None = None

            async def shake_hands() -> None:
                nonlocal protocol
                protocol = await stream.shake_hands()

            if not await self.open(guest, shake_hands):
                return
            if protocol == "h2":
                await self._serve_http2(guest, stream)
                return
        if self._stop_by is not None:
            return  # whatever it says has not begun, and the lane may have closed already
        socket = guest.leave()
        if socket is not None:
            self._lane.welcome(socket, guest.client, tls)

    async def _serve_http2(self, guest: Guest, stream: TlsStream) -> None:
        session = Http2Session(stream, guest.client, self._settings, self._answerer, guest.learn)
        session.account = partial(guest.account, session)
        try:
            await self.attend(session, session.run)
        finally:
            session.account = account_nothing
