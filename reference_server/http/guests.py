"""Connections that a task serves each, whatever serves them: how they come in, fail, and end."""

from __future__ import annotations

import logging
import socket as stdlib_socket
from abc import ABC, abstractmethod
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.http.accepting import accept
from reference_server.http.admission import shared_or_own
from reference_server.http.proxy_header import ProxyHeader, ProxyHeaderError
from reference_server.limits import LINGER_SECONDS, PROXY_HEADER_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reference_server.core.trusted_proxies import TrustedProxies
    from reference_server.http.admission import Admission
    from reference_server.settings import Settings

_log = logging.getLogger("hatchfarm")


async def read_proxy_header(socket: stdlib_socket.socket) -> str:
    """Read a connection's PROXY header, and no byte of what follows. Return the client that it names, if it does.

    Raises ProxyHeaderError, or OSError.
    """
    header = ProxyHeader()
    while not header.done:
        await trio.lowlevel.wait_readable(socket)
        try:
            data = socket.recv(PROXY_HEADER_MAX_BYTES, stdlib_socket.MSG_PEEK)
        except BlockingIOError:
            continue
        if not data:
            raise ProxyHeaderError("it ended before")
        socket.recv(header.take(data))
    return header.client


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


class Guest:
    """A connection that a task serves, as `Admission` sees it. Its socket is closed with it, unless it has left."""

    def __init__(self, admission: Admission, socket: stdlib_socket.socket, client: str, address: str) -> None:
        self.socket = socket
        self.client = client
        self.address = address
        self.left = False
        self.proven = False
        self.waiting_bytes = 0
        self.scope = trio.CancelScope()
        self._admission = admission

    def evict(self) -> None:
        """Close at once."""
        if not self.scope.cancel_called:
            self.scope.cancel()
            self._admission.leave(self)

    def leave(self) -> stdlib_socket.socket | None:
        """Leave, for another to serve the socket from here on. None where it has been sent away."""
        if self.scope.cancel_called:
            return None
        self.left = True
        self.evict()
        return self.socket

    def learn(self, proven: bool) -> None:  # noqa: FBT001 - as a callback it has no names
        """Note that it was answered, and whether somebody has proven who they are by that."""
        if not self.scope.cancel_called:
            self._admission.answered(self, proves=proven)

    def account(self, served: Served) -> None:
        """Note what waits in what serves it. It may have to go for that."""
        if not self.scope.cancel_called:
            self._admission.note_waiting(self, served.waiting_bytes)


class _Opening:
    """A connection of which it is not known yet what it speaks; nothing of it waits."""

    waiting_bytes = 0

    def __init__(self, socket: stdlib_socket.socket) -> None:
        self.lifetime = trio.CancelScope()
        self._socket = socket

    def stop(self, _deadline: float) -> None:
        """End at once."""
        self.lifetime.cancel()

    async def abort(self) -> None:
        """Close the socket at once."""
        self._socket.close()
        await trio.lowlevel.checkpoint()


class Guests(ABC):
    """The connections of one server. What serves each says a subclass."""

    def __init__(
        self, admission: Admission, handlers: trio.Nursery, settings: Settings, proxies: TrustedProxies
    ) -> None:
        self._admission = admission
        self._handlers = handlers
        self._settings = settings
        self._proxies = proxies
        self._served: set[Served] = set()
        self._stop_by: float | None = None

    async def run(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        """Take connections until cancelled, and have `handlers` serve them, which goes on after that."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept, listener, self._admission, self._welcome)

    def _welcome(self, socket: stdlib_socket.socket, client: str) -> None:
        guest = Guest(self._admission, socket, client, shared_or_own(client, self._proxies))
        self._admission.enter(guest)
        self._handlers.start_soon(self._serve_guest, guest)

    async def finish(self, deadline: float) -> None:
        """Have all connections end by the deadline. Call once accepting has stopped."""
        await trio.lowlevel.checkpoint()
        self.stop(deadline)

    def stop(self, deadline: float) -> None:
        """Close connections at rest, and let no other answer take longer than until the deadline."""
        self._stop_by = deadline
        for served in list(self._served):
            served.stop(deadline)

    def close(self) -> None:
        """Begin nothing more. Each connection is closed by its own task, which ends with `handlers`."""
        if self._stop_by is None:
            self._stop_by = -inf

    async def _serve_guest(self, guest: Guest) -> None:
        try:
            with guest.scope:
                named = self._settings.proxy_protocol and self._proxies.trusts(guest.client)
                if not named or await self.open(guest, partial(self._ask_whose, guest)):
                    await self.serve(guest)
        except Exception:  # noqa: BLE001 - it would end the nursery, and with it every other connection
            _log.exception("A fault around a connection: it is closed, the others are not")
        finally:
            guest.evict()
            if not guest.left:
                guest.socket.close()

    async def _ask_whose(self, guest: Guest) -> None:
        """Read the header with which a trusted proxy says whose a connection is."""
        try:
            client = await read_proxy_header(guest.socket)
        except ProxyHeaderError as error:
            _log.warning("%s opened a connection without a right PROXY header: %s", guest.client, error)
            raise trio.BrokenResourceError from None
        if client and not guest.scope.cancel_called:
            guest.client = client
            self._admission.move(guest, shared_or_own(client, self._proxies))

    async def open(self, guest: Guest, step: Callable[[], Awaitable[None]]) -> bool:
        """Await a step that comes before HTTP, as long as a head may take. Return whether it was taken.

        It is not taken to its end where it raises trio.BrokenResourceError or OSError, or the server stops.
        """
        taken = False

        async def take() -> None:
            nonlocal taken
            with (
                trio.move_on_after(self._settings.header_timeout_seconds),
                suppress(trio.BrokenResourceError, OSError),
            ):
                await step()
                taken = True

        await self.attend(_Opening(guest.socket), take, closes=False)
        return taken

    @abstractmethod
    async def serve(self, guest: Guest) -> None:
        """Serve a connection to its end, by `attend`, or hand it over."""

    async def attend(self, served: Served, serve: Callable[[], Awaitable[None]], *, closes: bool = True) -> None:
        """Await `serve` within the bounds of what is served, and close that in the end unless told otherwise."""
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
