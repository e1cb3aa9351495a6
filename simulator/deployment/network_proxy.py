"""A proxy between a run's clients and one server of its own, which does what the network's conditions are.

It passes on bytes as they are, TLS too, and speaks to the server from the client's own address of this machine, so the
server tells clients apart as without it. It is a task of the run's own process: each client costs two more open files.
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer
from simulator.deployment.delayed_stream import DelayedStream
from simulator.limits import COPY_SECONDS, PROXY_CONNECTIONS_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from simulator.deployment.conditions import Conditions

READ_BYTES = 65_536
HOST = "127.0.0.1"
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
RESETS = struct.pack("ii", 1, 0)
"""A linger of no time at all: closing resets (SO_LINGER, socket(7))."""


class NetworkProxy:
    """Stands before one server."""

    def __init__(self, port: int, conditions: Conditions, listener: trio.SocketListener) -> None:
        self._server_port = port
        self.conditions = conditions
        self._listener = listener
        self._slots = trio.CapacityLimiter(PROXY_CONNECTIONS_MAX)
        self.port = int(listener.socket.getsockname()[1])
        """Where clients find the server."""

    async def serve(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            await trio.serve_listeners(self._pass_on, [self._listener], handler_nursery=nursery)

    async def _pass_on(self, client: trio.SocketStream) -> None:
        async with self._slots:
            with suppress(*GONE):
                address = str(client.socket.getpeername()[0])
                try:
                    server = await trio.open_tcp_stream(HOST, self._server_port, local_address=address)
                except OSError:
                    _reset(client)
                    return
                await _Relay(client, server, self.conditions, address, self._server_port).run()


class _Relay:
    """One connection: what the client says, and what it is answered."""

    def __init__(
        self, client: trio.SocketStream, server: trio.SocketStream, conditions: Conditions, address: str, port: int
    ) -> None:
        self._client = client
        self._server = server
        self._conditions = conditions
        self._address = address
        self._port = port
        self._asked = b""
        """What the client said last."""
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Pass on all both ways, the end of each apart, until both have ended or one was reset."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    asks = DelayedStream(self._server, nursery, self._break_off)
                    answers = DelayedStream(self._client, nursery, self._break_off)
                    nursery.start_soon(self._ask, asks)
                    nursery.start_soon(self._answer, answers)
        finally:
            self._client.socket.close()
            self._server.socket.close()

    async def _ask(self, asks: DelayedStream) -> None:
        """Pass on what the client says."""
        conditions = self._conditions
        try:
            while part := await self._client.receive_some(READ_BYTES):
                if conditions.loses():
                    self._break_off()
                    return
                self._asked = part
                await asks.send(part, conditions.delay_seconds(request=True), droppable=conditions.holds)
            asks.drop()
            await asks.send(b"", conditions.delay_seconds(request=True))
        except GONE:
            self._break_off()

    async def _answer(self, answers: DelayedStream) -> None:
        """Pass on what the server says."""
        try:
            while part := await self._server.receive_some(READ_BYTES):
                if not self._conditions.calm:
                    await self._trouble(part, answers)
                    continue
                await answers.send(part, 0.0)
            await answers.send(b"", self._conditions.delay_seconds(request=False))
        except GONE:
            self._break_off()

    async def _trouble(self, part: bytes, answers: DelayedStream) -> None:
        """Pass on a part of an answer as the network is now."""
        conditions = self._conditions
        copied = conditions.doubles(self._asked, part, self._address)
        if copied is not None:
            copied.ended(await self._ask_again())
        delay_seconds = conditions.delay_seconds(request=False)
        if conditions.cuts():
            await answers.send(part[: len(part) // 2], delay_seconds)
            await answers.sent()
            _reset(self._server)
            self._client.socket.close()
            self._scope.cancel()
            return
        await answers.send(part, delay_seconds)

    async def _ask_again(self) -> HttpAnswer | None:
        """Send the last request once more, on a connection of its own, and return what it is answered."""
        reader = AnswerReader()
        with suppress(*GONE, GarbageError), trio.move_on_after(COPY_SECONDS):
            async with await trio.open_tcp_stream(HOST, self._port, local_address=self._address) as again:
                await again.send_all(self._asked)
                while part := await again.receive_some(READ_BYTES):
                    answer = reader.feed(part)
                    if answer is not None:
                        return answer
        return None

    def _break_off(self) -> None:
        """Reset both connections: what was on the way is lost."""
        for stream in (self._client, self._server):
            _reset(stream)
        self._scope.cancel()


def _reset(stream: trio.SocketStream) -> None:
    with suppress(OSError):
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
    stream.socket.close()


@asynccontextmanager
async def network_before(port: int, conditions: Conditions) -> AsyncIterator[NetworkProxy]:
    """Stand before the server at a port of this machine until the end."""
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    async with trio.open_nursery() as nursery:
        proxy = NetworkProxy(port, conditions, listener)
        nursery.start_soon(proxy.serve)
        try:
            yield proxy
        finally:
            nursery.cancel_scope.cancel()
