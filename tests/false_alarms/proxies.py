"""Proxies that are honest: what comes out of them went in, if later, and from another address."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer
from tests.false_alarms.drawing import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

READ_BYTES = 65_536
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
RESTED_MAX_SECONDS = 30.0
"""After which a connection of the pool is not used again: half of what the server lets one rest."""


class Gate:
    """Passes everything on at once, or holds it back for a while, again and again."""

    def __init__(self, pauses: Sequence[tuple[float, float]]) -> None:
        self._pauses = pauses
        self._closed_until = 0.0

    async def run(self) -> None:
        """Open and close, as long as there are pauses."""
        for works_seconds, stands_seconds in self._pauses:
            await trio.sleep(works_seconds)
            self._closed_until = trio.current_time() + stands_seconds
            await trio.sleep(stands_seconds)

    async def passed(self) -> None:
        """Wait until it is open."""
        await trio.sleep_until(self._closed_until)


async def serve_proxy(listener: trio.SocketListener, kind: Proxy, port: int, gate: Gate) -> None:
    """Serve until cancelled, in front of a server on 127.0.0.1."""
    pool = _Pool(port)

    async def connection(client: trio.SocketStream) -> None:
        with suppress(*GONE):
            async with client:
                if kind is Proxy.POOL:
                    await pool.serve(client)
                    return
                address = "127.0.0.1" if kind is Proxy.PORT else client.socket.getpeername()[0]
                async with await trio.open_tcp_stream("127.0.0.1", port, local_address=address) as server:
                    await _relay_both(client, server, gate)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gate.run)
            await trio.serve_listeners(connection, [listener], handler_nursery=nursery)
    finally:
        pool.close()


async def _relay_both(client: trio.SocketStream, server: trio.SocketStream, gate: Gate) -> None:
    """Pass everything on both ways, the end of each apart, until both have ended or one was reset."""

    async def relay(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while part := await source.receive_some(READ_BYTES):
                await gate.passed()
                await sink.send_all(part)
            await gate.passed()
            await sink.send_eof()
        except GONE:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay, client, server)
        nursery.start_soon(relay, server, client)


class _Pool:
    """Connections to the server that all clients share, each for one request at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[float, trio.SocketStream]] = []
        self._opened: list[trio.SocketStream] = []

    def close(self) -> None:
        """Close all that was opened, at the end."""
        for stream in self._opened:
            stream.socket.close()

    async def serve(self, client: trio.SocketStream) -> None:
        """Answer a client's requests, one after the other."""
        async for method, message in _requests(client):
            answer = await self._ask(message, to_head=method == b"HEAD")
            if answer is None:
                await client.send_all(BAD_GATEWAY)
                return
            await client.send_all(_written(answer, to_head=method == b"HEAD"))
            if b"connection: close" in answer.head.lower():
                return

    async def _ask(self, message: bytes, *, to_head: bool) -> HttpAnswer | None:
        while self._free:
            since, server = self._free.pop()
            if trio.current_time() - since < RESTED_MAX_SECONDS:
                answer = await self._ask_on(server, message, to_head=to_head)
                if answer is not None:
                    return answer
            await trio.aclose_forcefully(server)
        # Whatever came of those that had rested: no right server serves what it closes without an answer.
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        self._opened.append(server)
        return await self._ask_on(server, message, to_head=to_head)

    async def _ask_on(self, server: trio.SocketStream, message: bytes, *, to_head: bool) -> HttpAnswer | None:
        reader = AnswerReader(to_head=to_head)
        try:
            await server.send_all(message)
            while part := await server.receive_some(READ_BYTES):
                answer = reader.feed(part)
                if answer is not None:
                    if answer.keep:
                        self._free.append((trio.current_time(), server))
                    else:
                        await server.aclose()
                    return answer
        except (*GONE, GarbageError):
            pass
        await trio.aclose_forcefully(server)
        return None


async def _requests(client: trio.SocketStream) -> AsyncIterator[tuple[bytes, bytes]]:
    """Read requests that say their length, and tell whom they come through."""
    data = b""
    address = client.socket.getpeername()[0].encode()
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        lengths = [line.split(b":", 1)[1] for line in lines if line.lower().startswith(b"content-length:")]
        length = int(lengths[0]) if lengths else 0
        if end and len(rest) >= length:
            reported = b"\r\nVia: 1.1 edge\r\nX-Forwarded-For: " + address
            yield lines[0].split(b" ", 1)[0], head + reported + end + rest[:length]
            data = rest[length:]
            continue
        part = await client.receive_some(READ_BYTES)
        if not part:
            return
        data += part


def _written(answer: HttpAnswer, *, to_head: bool) -> bytes:
    """Write an answer as proxies do: in chunks, and through whom it came."""
    lines = [line for line in answer.head.split(b"\r\n") if not line.lower().startswith(b"connection: keep-alive")]
    if to_head or not answer.body:
        return b"\r\n".join([*lines, b"Via: 1.1 edge", b"", b""])
    lines = [line for line in lines if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer.body), answer.body)
    return b"\r\n".join([*lines, b"Via: 1.1 edge", b"Transfer-Encoding: chunked", b"", body])
