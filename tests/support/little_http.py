"""A little HTTP/1.1 server on loopback, for whoever this server asks outside: one request a connection, no more."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qs

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

PIECE_BYTES = 65_536


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


class Given(NamedTuple):
    """One answer. `raw` is sent in its place."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    raw: bytes = b""


async def _serve(stream: trio.SocketStream, answer: Callable[[Asked], Awaitable[Given]]) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some(PIECE_BYTES)
        if not piece:
            return
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive_some(PIECE_BYTES)
    path, _, query = target.partition("?")
    fields = {name: values[0] for name, values in parse_qs(query).items()}
    given = await answer(Asked(method, path, fields, headers, bytes(body)))
    text = "".join(f"{name}: {value}\r\n" for name, value in given.headers)
    rest = f"HTTP/1.1 {given.status} X\r\n{text}content-length: {len(given.body)}\r\nconnection: close\r\n\r\n"
    await stream.send_all(given.raw or rest.encode() + given.body)


@asynccontextmanager
async def little_http(answer: Callable[[Asked], Awaitable[Given]]) -> AsyncIterator[str]:
    """Serve on a free port; gives the origin."""

    async def handle(stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await _serve(stream, answer)
        except trio.BrokenResourceError:
            pass  # whoever asked has gone

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        yield f"http://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()
