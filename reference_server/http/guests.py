"""Connections that a task serves each, whatever serves them: how they come in, fail, and end."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.core.rate_limit import client_key
from reference_server.http.accepting import accept
from reference_server.limits import LINGER_SECONDS

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Awaitable, Callable, Sequence

    from reference_server.http.admission import Admission

_log = logging.getLogger("hatchfarm")


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
            self._admission.note_waiting(self, served.waiting_bytes)


class Guests(ABC):
    """The connections of one server. What serves each says a subclass."""

    def __init__(self, admission: Admission, handlers: trio.Nursery) -> None:
        self._admission = admission
        self._handlers = handlers
        self._served: set[Served] = set()
        self._stop_by: float | None = None

    async def run(self, listeners: Sequence[stdlib_socket.socket]) -> None:
        """Take connections until cancelled, and have `handlers` serve them, which goes on after that."""
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(accept, listener, self._admission, self._welcome)

    def _welcome(self, socket: stdlib_socket.socket, client: str) -> None:
        guest = Guest(self._admission, client)
        self._admission.enter(guest)
        self._handlers.start_soon(self._serve_guest, guest, socket)

    async def finish(self, deadline: float) -> None:
        """Have all connections end by the deadline. Call once accepting has stopped."""
        await trio.lowlevel.checkpoint()
        self.stop(deadline)

    def stop(self, deadline: float) -> None:
        """Close connections at rest, and let no other answer take longer than until the deadline."""
        self._stop_by = deadline
        for served in list(self._served):
            served.stop(deadline)

    async def _serve_guest(self, guest: Guest, socket: stdlib_socket.socket) -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(socket))
        try:
            with guest.scope:
                await self.serve(guest, stream)
        finally:
            guest.evict()
            socket.close()

    @abstractmethod
    async def serve(self, guest: Guest, stream: trio.SocketStream) -> None:
        """Serve a connection to its end, by `attend`."""

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
