"""Connections that speak TLS: the handshake, and then a session of the protocol that was agreed on."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from reference_server.http.admission import account_nothing
from reference_server.http.guests import Guest, Guests
from reference_server.http.http2_front import Http2Session
from reference_server.http.http11_session import Http11Session

if TYPE_CHECKING:
    from ssl import SSLContext

    from reference_server.http.admission import Admission
    from reference_server.http.rendering import Renderer
    from reference_server.pipeline.answering import Answerer
    from reference_server.settings import Settings


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


class TlsFront(Guests):
    """Serves what comes by our own HTTP/1.1 and HTTP/2."""

    def __init__(
        self,
        admission: Admission,
        handlers: trio.Nursery,
        tls: SSLContext,
        settings: Settings,
        answerer: Answerer,
        renderer: Renderer,
    ) -> None:
        super().__init__(admission, handlers)
        self._tls = tls
        self._settings = settings
        self._answerer = answerer
        self._renderer = renderer

    async def serve(self, guest: Guest, stream: trio.SocketStream) -> None:
        """Shake hands, and serve the protocol that is agreed on."""
        secure = trio.SSLStream(stream, self._tls, server_side=True, https_compatible=True)
        try:
            await self._shake_hands(guest, secure)
        finally:
            # It refers to itself by what it would shake hands with, and OpenSSL's part of it is large.
            vars(secure).pop("_handshook", None)

    async def _shake_hands(self, guest: Guest, stream: trio.SSLStream[trio.SocketStream]) -> None:
        agreed = False

        async def shake_hands() -> None:
            nonlocal agreed
            with trio.move_on_after(self._settings.header_timeout_seconds), suppress(trio.BrokenResourceError):
                await stream.do_handshake()
                agreed = True

        handshake = _Handshake(stream)
        await self.attend(handshake, shake_hands, closes=False)
        if not agreed:
            await handshake.abort()
        else:
            session = self._session(guest, stream)
            session.account = partial(guest.account, session)
            try:
                await self.attend(session, session.run)
            finally:
                session.account = account_nothing

    def _session(self, guest: Guest, stream: trio.SSLStream[trio.SocketStream]) -> Http11Session | Http2Session:
        """Begin what serves a connection by the protocol that it agreed on; HTTP/1.1 where it named none."""
        if stream.selected_alpn_protocol() == "h2":
            return Http2Session(stream, guest.client, self._settings, self._answerer, guest.learn)
        return Http11Session(stream, guest.client, self._settings, self._answerer, self._renderer, guest.learn)
