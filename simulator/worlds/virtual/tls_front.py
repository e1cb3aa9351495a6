"""TLS connections of a virtual server: the server's own `Opening`, with tasks that wait for ends of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from reference_server.http.opening import Opening
from reference_server.http.tls_stream import Waits
from reference_server.pipeline.answering import Answerer
from simulator.worlds.virtual.end_stream import READ, WRITE, EndStream

if TYPE_CHECKING:
    from ssl import SSLContext

    from reference_server.http.admission import Admission
    from reference_server.http.guests import Guest
    from reference_server.operations.api import Api
    from reference_server.pipeline.resolving import Resolver
    from reference_server.ports import Clock
    from simulator.worlds.virtual.lane import EventLane
    from simulator.worlds.virtual.network import End


class _EndOpening(Opening):
    """Makes TLS handshakes over ends, passes HTTP/1.1 to the lane, and serves HTTP/2."""

    def __init__(
        self, lane: EventLane, admission: Admission, handlers: trio.Nursery, api: Api, tls: SSLContext,
        answerer: Answerer,
    ) -> None:  # fmt: skip
        waits = Waits(self._readable, self._writable)
        super().__init__(lane, admission, handlers, api.settings, api.proxies, tls, answerer, waits)
        self.streams: dict[object, EndStream] = {}
        """The stream of each connection by its end, until the lane takes the connection or it is over."""

    def take(self, end: End) -> None:
        """Serve a new connection."""
        self.streams[end] = EndStream(end)
        self._welcome(end, end.client)  # type: ignore[arg-type]  # an End has all that is used here

    async def _serve_guest(self, guest: Guest) -> None:
        try:
            await super()._serve_guest(guest)
        finally:
            self.streams.pop(guest.socket, None)

    async def _readable(self, end: object) -> None:
        await self._wait(end, READ)

    async def _writable(self, end: object) -> None:
        await self._wait(end, WRITE)

    async def _wait(self, end: object, events: int) -> None:
        """Wait as for a socket; if the end is already ready, other tasks may run first."""
        await trio.lowlevel.checkpoint()
        await self.streams[end].wait(events)


class TlsFront:
    """Serves a process's TLS connections, as `reference_server.http.serve` does."""

    def __init__(
        self, lane: EventLane, admission: Admission, api: Api, clock: Clock, resolver: Resolver, tls: SSLContext
    ) -> None:
        self._lane = lane
        self._admission = admission
        self._api = api
        self._tls = tls
        self._answerer = Answerer(api, clock, resolver)
        self._opening: _EndOpening | None = None
        self._stopping, self._stopped = trio.Event(), trio.Event()
        self._handlers = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve connections until all of them have ended after `finish`."""
        try:
            with self._handlers:
                async with trio.open_nursery() as handlers:
                    self._opening = _EndOpening(
                        self._lane, self._admission, handlers, self._api, self._tls, self._answerer
                    )  # fmt: skip
                    task_status.started()
                    await self._stopping.wait()
        finally:
            self._stopped.set()

    def take(self, end: End) -> None:
        """Serve a new connection; after the end it is closed at once."""
        if self._opening is None or self._stopping.is_set() or self._stopped.is_set():
            end.close()
        else:
            self._opening.take(end)

    async def finish(self, deadline: float) -> None:
        """End all connections by the deadline, including those of the lane."""
        if self._opening is not None:
            self._handlers.deadline = deadline
            await self._opening.finish(deadline)
            self._stopping.set()
            await self._stopped.wait()

    def end(self) -> None:
        """Close all connections that the lane does not have: nothing that their tasks still do is sent."""
        if self._opening is not None:
            for stream in self._opening.streams.values():
                stream.end.close()
