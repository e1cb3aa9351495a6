"""Connections that Hypercorn and Quart serve, behind a guard: plain HTTP/1.1 without the express lane.

To load these two takes longer than all else of a server's start, so this is imported where it is wanted only.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from reference_server.http.admission import CLIENT, CONNECTION, account_nothing
from reference_server.http.guarded_stream import GuardedStream
from reference_server.http.guests import Guest, Guests
from reference_server.http.quart_app import create_app
from reference_server.limits import BODY_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.trusted_proxies import TrustedProxies
    from reference_server.http.admission import Admission
    from reference_server.pipeline.answering import Answerer
    from reference_server.ports import Entropy
    from reference_server.settings import Settings

_log = logging.getLogger("hatchfarm")


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


def make_config(settings: Settings) -> Config:
    """Return a configuration that leaves all limits to the guarded stream."""
    config = Config()
    config.errorlog = _log  # Hypercorn's own handler would write what ours bounds
    config.include_server_header = False
    config.accesslog = None
    config.keep_alive_max_requests = sys.maxsize
    # The guarded stream keeps the deadlines; Hypercorn's own must never come first.
    config.keep_alive_timeout = (
        settings.idle_timeout_seconds + settings.header_timeout_seconds + settings.body_timeout_seconds
    )
    config.h11_max_incomplete_size = 4 * BODY_MAX_BYTES
    return config


class HypercornFront(Guests):
    """Serves what comes by Hypercorn's server of one connection and the Quart application."""

    def __init__(
        self,
        admission: Admission,
        handlers: trio.Nursery,
        settings: Settings,
        proxies: TrustedProxies,
        answerer: Answerer,
        entropy: Entropy,
    ) -> None:
        super().__init__(admission, handlers, settings, proxies)
        mark = f"x-framing-{entropy.hex(32)}"
        app = ASGIWrapper(create_app(answerer, settings, mark))
        self._context = WorkerContext(None)
        self._server: Callable[..., _Server] = partial(_Server, app, make_config(settings), self._context)
        self._mark = mark.encode()

    async def finish(self, deadline: float) -> None:
        """Have all connections end by the deadline; Hypercorn's are told that it stops, too."""
        await super().finish(deadline)
        await self._context.terminated.set()

    async def serve(self, guest: Guest) -> None:
        """Serve a connection by Hypercorn."""
        CONNECTION.set(guest.learn)
        CLIENT.set(guest.client)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(guest.socket))
        guarded = GuardedStream(stream, self._settings, self._mark)
        guarded.account = partial(guest.account, guarded)
        server = self._server(ConnectionState({}), guarded)
        try:
            await self.attend(guarded, server.run)
        finally:
            server.cut()
            guarded.account = account_nothing
