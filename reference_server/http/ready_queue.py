"""Who is served next in the express lane: nobody gets more than a few answers before everybody else was served."""

from __future__ import annotations

import select
import selectors
import sys
from collections import deque
from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.limits import LANE_BATCH_ANSWERS, LANE_LIMITED_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reference_server.http.lane_clients import Connection
    from reference_server.pipeline.resolving import Resolver

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
if sys.platform == "linux":
    _POLLED = {READ: select.EPOLLIN, WRITE: select.EPOLLOUT, READ | WRITE: select.EPOLLIN | select.EPOLLOUT}
    _EVENTS = {polled: events for events, polled in _POLLED.items()}


class Readiness(Protocol):
    """What tells which connections are ready: a selector over their sockets, or what a world without any has."""

    def register(self, descriptor: int, events: int, connection: Connection, /) -> object:
        """Look for these events on a connection."""

    def modify(self, descriptor: int, events: int, connection: Connection, /) -> object:
        """Look for these events in place of others."""

    def unregister(self, descriptor: int, /) -> object:
        """Look for nothing any more."""

    def ready(self) -> Iterable[tuple[Connection, int]]:
        """Return who is ready now, and for what."""

    async def wait(self) -> None:
        """Wait until somebody may be."""

    def close(self) -> None:
        """Look no more."""


class SelectorReadiness:
    """Readiness of sockets on any platform."""

    def __init__(self) -> None:
        selector = self._selector = selectors.DefaultSelector()
        self.register, self.modify, self.unregister = selector.register, selector.modify, selector.unregister
        self.close = selector.close

    def ready(self) -> Iterable[tuple[Connection, int]]:
        """Return who is ready now, and for what."""
        return [(key.data, events) for key, events in self._selector.select(0)]

    async def wait(self) -> None:
        """Wait until somebody may be."""
        await trio.lowlevel.wait_readable(self._selector.fileno())


class EpollReadiness:
    """The same on Linux, where a selector's keys would cost a third of what all else of a refusal does."""

    def __init__(self) -> None:
        epoll = self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self.close = epoll.close

    def register(self, descriptor: int, events: int, connection: Connection) -> None:
        """Look for these events on a connection."""
        self._epoll.register(descriptor, _POLLED[events])
        self._connections[descriptor] = connection

    def modify(self, descriptor: int, events: int, _connection: Connection) -> None:
        """Look for these events in place of others."""
        self._epoll.modify(descriptor, _POLLED[events])

    def unregister(self, descriptor: int) -> None:
        """Look for nothing any more."""
        self._epoll.unregister(descriptor)
        del self._connections[descriptor]

    def ready(self) -> Iterable[tuple[Connection, int]]:
        """Return who is ready now, and for what: for all there is, where a connection has ended."""
        connections = self._connections
        polled = self._epoll.poll(0, len(connections) or 1)
        return [(connections[descriptor], _EVENTS.get(events, READ | WRITE)) for descriptor, events in polled]

    async def wait(self) -> None:
        """Wait until somebody may be."""
        await trio.lowlevel.wait_readable(self._epoll.fileno())


def _of_sockets() -> Readiness:
    return EpollReadiness() if sys.platform == "linux" else SelectorReadiness()


class ReadyQueue:
    """The connections that are ready, and those that have more to be answered than one round allows.

    In each round the proven go first, strangers next, then whoever was postponed; those over their rate limit come
    last, only some of them, in the order in which they came. `readiness` is the sockets' own unless given.
    """

    def __init__(self, resolver: Resolver, readiness: Readiness | None = None) -> None:
        self._resolver = resolver
        self._readiness = _of_sockets() if readiness is None else readiness
        self._postponed: deque[Connection] = deque()
        self._limited: deque[Connection] = deque()

    def watch(self, connection: Connection, events: int) -> None:
        """Wait for these events on a connection's socket, and no others."""
        before, connection.events = connection.events, events
        if before == events:
            return
        if not before:
            self._readiness.register(connection.socket.fileno(), events, connection)
        elif events:
            self._readiness.modify(connection.socket.fileno(), events, connection)
        else:
            self._readiness.unregister(connection.socket.fileno())

    def postpone(self, connection: Connection) -> None:
        """Go on with a connection later: what it sends meanwhile stays in its socket.

        One over its rate limit is watched on where its turn comes soon: to end that and to begin it anew would take a
        sixth of what its refusal does.
        """
        waiting = self._limited if connection.limited else self._postponed
        if not connection.limited or len(waiting) >= LANE_LIMITED_AT_ONCE:
            self.watch(connection, 0)
        connection.postponed = True
        waiting.append(connection)

    async def wait_ready(self, seconds: float = float("inf")) -> None:
        """Wait until somebody may be served, or for so long."""
        if self._postponed or self._limited:
            await trio.lowlevel.checkpoint()
        else:
            with trio.move_on_after(seconds):
                await self._readiness.wait()

    async def serve_round(
        self,
        go_on: Callable[[Connection, int], int],
        resume: Callable[[Connection], int],
        answer_rest: Callable[[], None],
    ) -> None:
        """Serve a round. `go_on` serves a connection that is ready for these events, `resume` one that was postponed.

        Both return how many answers they gave, at least one for a look. `answer_rest` gives those that they left for
        later: nobody else runs meanwhile, and nobody who comes after them takes the token that is left for one.
        """
        served = 0
        postponed = len(self._postponed)  # who is postponed in this round goes on in the next
        strangers: list[tuple[Connection, int]] = []
        for connection, events in self._readiness.ready():
            if not connection.proven:
                strangers.append((connection, events))
                continue
            served += go_on(connection, events)
            if served >= LANE_BATCH_ANSWERS:
                served = await self._pause(answer_rest)
        answer_rest()
        for connection, events in strangers:
            served += go_on(connection, events)
            if served >= LANE_BATCH_ANSWERS:
                served = await self._pause(answer_rest)
        for waiting, most in ((self._postponed, postponed), (self._limited, LANE_LIMITED_AT_ONCE)):
            answer_rest()
            for _ in range(min(most, len(waiting))):
                connection = waiting.popleft()
                connection.postponed = False
                served += resume(connection)
                if served >= LANE_BATCH_ANSWERS:
                    served = await self._pause(answer_rest)
        answer_rest()

    async def _pause(self, answer_rest: Callable[[], None]) -> int:
        """Yield to Trio's other tasks. Return what was served since: nothing."""
        answer_rest()
        await trio.lowlevel.checkpoint()
        await self._resolver.room()
        return 0

    def close(self) -> None:
        """Wait for nothing any more."""
        self._readiness.close()
