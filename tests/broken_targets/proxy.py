"""A real server behind something that misbehaves from a chosen moment of a run on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import trio

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.http.serve import serve_until
from simulator.client.answers import AnswerReader, GarbageError
from tests.simulator.conftest import WatchedApi

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.ports import Clock

ATTACKERS = ("127.9.", "127.13.")
"""Where single shots, and the clients of scripts, come from."""
AUDITORS = "127.6."
HEARTBEATS_BEFORE_RUNNING = 10
READ_BYTES = 65_536


class Moment(Enum):
    """From when on a target misbehaves."""

    CHECK = "from the start"
    ONBOARDING = "when machines register"
    RUNNING = "when heartbeats flow"
    ATTACKS = "when the first attack comes"
    LAST_SCRAPE = "when the run has ended"
    LISTS = "when audit lists are read"


class Asked(NamedTuple):
    """One request as it came; `fresh` says whether it is the first on its connection."""

    client: str
    method: str
    path: str
    message: bytes
    fresh: bool


class Talk:
    """One request that is being answered: the client's stream, and what the real server would say.

    `memory` is what a fault notes in the course of one run; what is played again begins without it.
    """

    def __init__(
        self,
        asked: Asked,
        stream: trio.SocketStream,
        upstream: Upstream,
        die: Callable[[], None],
        memory: dict[str, float],
    ) -> None:
        self.asked = asked
        self.stream = stream
        self.die = die
        self.memory = memory
        self._upstream = upstream

    async def real(self) -> bytes:
        """Ask the real server; gives its whole answer."""
        return await self._upstream.ask(self.asked.message)


Fault = Callable[[Talk], Awaitable[bool]]
"""Answers one request wrongly; says whether its connection stays open."""


class Upstream:
    """The connection to the real server that belongs to one client, from the same address."""

    def __init__(self, host: str, port: int, client: str) -> None:
        self._where = (host, port, client)
        self._stream: trio.SocketStream | None = None

    async def ask(self, message: bytes) -> bytes:
        """Send a request on and wait for its whole answer."""
        host, port, client = self._where
        while True:
            fresh = self._stream is None
            if self._stream is None:
                self._stream = await trio.open_tcp_stream(host, port, local_address=client)
            data, reader = b"", AnswerReader()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_all(message)
                while part := await self._stream.receive_some(READ_BYTES):
                    data += part
                    answer = reader.feed(part)
                    if answer is not None:
                        if not answer.keep:
                            await self.close()
                        return data
            await self.close()
            if fresh:
                raise GarbageError("the real server closed")

    async def close(self) -> None:
        """Close it; the next request opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await trio.aclose_forcefully(stream)


class Proxy:
    """Passes requests on until its moment has come, and then lets its fault answer those it is meant for."""

    def __init__(self, upstream: str, fault: Fault, moment: Moment, meant: Callable[[Asked], bool]) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 0)
        self._fault = fault
        self._moment = moment
        self._meant = meant
        self._heartbeats = 0
        self._memory: dict[str, float] = {}
        self._scope = trio.CancelScope()
        self.begun = moment is Moment.CHECK
        self.hit = 0
        self.url = ""

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        with self._scope:
            await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        client = stream.socket.getpeername()[0]
        upstream = Upstream(*self._upstream, client)
        fresh = True
        try:
            async with stream:
                while (message := await _message(stream)) is not None:
                    method, path = message.split(b" ", 2)[:2]
                    asked = Asked(client, method.decode("latin-1"), path.decode("latin-1"), message, fresh)
                    fresh = False
                    self._look(asked)
                    talk = Talk(asked, stream, upstream, self._scope.cancel, self._memory)
                    if self.begun and self._meant(asked):
                        self.hit += 1
                        if not await self._fault(talk):
                            return
                    else:
                        await stream.send_all(await talk.real())
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError, GarbageError):
            pass  # what clients make of it is asserted on their side
        finally:
            with trio.CancelScope(shield=True):
                await upstream.close()

    def _look(self, asked: Asked) -> None:
        """See whether the moment has come."""
        self._heartbeats += asked.path.endswith("/heartbeat")
        match self._moment:
            case Moment.ONBOARDING:
                self.begun |= asked.path.endswith("/machines/register")
            case Moment.RUNNING:
                self.begun |= self._heartbeats > HEARTBEATS_BEFORE_RUNNING
            case Moment.ATTACKS:
                self.begun |= asked.client.startswith(ATTACKERS)
            case Moment.LAST_SCRAPE:
                self.begun |= bool(self._heartbeats and asked.fresh and asked.path == "/metrics")
            case Moment.LISTS:
                self.begun |= asked.client.startswith(AUDITORS) and "limit=500" in asked.path


async def _message(stream: trio.SocketStream) -> bytes | None:
    """Read one request, as far as its framing can be read. None at the end."""
    data = b""
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        at = head.lower().find(b"content-length:")
        digits = head[at + 15 :].split(b"\r\n", 1)[0].strip() if at >= 0 else b""
        length = int(digits) if digits.isdigit() else 0
        if end and len(rest) >= length:
            return data
        part = await stream.receive_some(READ_BYTES)
        if not part:
            return None
        data += part


@asynccontextmanager
async def misbehaving(
    fault: Fault,
    moment: Moment,
    meant: Callable[[Asked], bool],
    clock: Clock | None = None,
    **settings: object,
) -> AsyncIterator[Proxy]:
    """Run the real server in this loop, behind a proxy."""
    clock = clock or SystemClock()
    given = {
        "rate_limit_burst": 1_000_000,
        "rate_limit_refill_per_second": 1e6,
        "shutdown_grace_seconds": 0.1,
        **settings,
    }
    api = WatchedApi(clock.now(), **given)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve_until, api, clock, SystemEntropy(), stop.wait))
        async with trio.open_nursery() as front:
            proxy = Proxy(url, fault, moment, meant)
            await front.start(proxy.serve)
            try:
                yield proxy
            finally:
                front.cancel_scope.cancel()
        stop.set()
