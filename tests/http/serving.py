"""A server in the test's own loop, and a client that reads strictly."""

from __future__ import annotations

import re
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.http.serve import serve_until
from reference_server.limits import CONNECTIONS_MAX
from tests.http.twins import written
from tests.support.certificates import AUTHORITY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.adapters.memory.clocks import LoopClock, SetClock
    from reference_server.operations.api import Api
    from reference_server.wire.values import Headers, Reply, Request

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen before it calls it lost; nothing waits this long when all is well."""


class Answer(NamedTuple):
    """One response as the client saw it, without what may differ: its request id and its date."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's value."""
        return dict(self.headers).get(name)


def direct_answer(reply: Reply, method: str, *, closes: bool) -> Answer:
    """Return how a reply of the operation table must look on the wire."""
    headers = [header for header in reply.headers if header[0] != "x-request-id"]
    if closes:
        options = sorted(["close", *(value for name, value in headers if name == "connection")])
        headers = [header for header in headers if header[0] != "connection"]
        headers.append(("connection", ", ".join(options)))
    headers.append(("content-length", str(len(reply.body))))
    return Answer(reply.status, tuple(sorted(headers)), b"" if method == "HEAD" else reply.body)


_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [A-Za-z]*")
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")


class Client:
    """One connection. Reads answers strictly: whatever is not a whole, well-formed response fails the test."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.unread = b""

    @property
    def socket_stream(self) -> trio.SocketStream:
        """Return what is below TLS, if there is TLS."""
        stream = self.stream.transport_stream if isinstance(self.stream, trio.SSLStream) else self.stream
        assert isinstance(stream, trio.SocketStream)
        return stream

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self.stream.send_all(data)

    async def send_what_it_takes(self, data: bytes) -> None:
        """Send bytes to a server that may close before it has them all."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(data)

    async def ask(self, request: Request, *more: str) -> Answer:
        """Send a request, and read its answer."""
        await self.send(written(request, *more))
        return await self.answer(request.method)

    async def _more(self) -> bool:
        part = await self.stream.receive_some(65_536)
        self.unread += part
        return bool(part)

    async def answer(self, method: str = "GET") -> Answer:
        """Read the next final response to a request of that method."""
        while True:
            found = await self.next_response(method)
            if found.status >= 200:
                return found

    async def next_response(self, method: str = "GET") -> Answer:
        """Read the next response, interim ones too."""
        with trio.fail_after(PATIENCE_SECONDS):
            while b"\r\n\r\n" not in self.unread:
                assert await self._more(), f"the connection ended within a head: {self.unread!r}"
            head, _, self.unread = self.unread.partition(b"\r\n\r\n")
            status_line, *lines = head.split(b"\r\n")
            match = _STATUS_LINE.fullmatch(status_line)
            assert match is not None, status_line
            status = int(match[1])
            pairs = [line.decode("latin-1").partition(": ") for line in lines]
            headers = [(name.lower(), value) for name, _, value in pairs]
            if status < 200:
                return Answer(status, tuple(headers), b"")
            named = dict(headers)
            assert len(named) == len(headers), f"a header is there twice: {headers}"
            assert re.fullmatch("[0-9a-f]{16}", named.pop("x-request-id"))
            assert _DATE.fullmatch(named.pop("date"))
            length = 0 if method == "HEAD" else int(named["content-length"])
            while len(self.unread) < length:
                assert await self._more(), f"the connection ended within a body: {self.unread!r} of {length}"
            body, self.unread = self.unread[:length], self.unread[length:]
            return Answer(status, tuple(sorted(named.items())), body)

    async def has_begun_an_answer(self) -> bool:
        """Wait for the first byte of an answer, or for the end of the connection."""
        with trio.fail_after(PATIENCE_SECONDS), suppress(trio.BrokenResourceError):
            return bool(self.unread) or await self._more()
        return False

    async def rest(self) -> bytes:
        """Read until the server closes."""
        with trio.fail_after(PATIENCE_SECONDS):
            with suppress(trio.BrokenResourceError):
                while await self._more():
                    pass
        return self.unread

    async def closed(self) -> None:
        """Wait until the server has hung up without a word; one that is said fails the test for good."""
        if rest := await self.rest():
            pytest.fail(f"the server said what nobody asked for: {rest!r}")

    async def end(self) -> bytes:
        """Stop sending, and give whatever still comes until the server closes."""
        await self.socket_stream.send_eof()
        return await self.rest()


class Server:
    """Where a server is, whom its clients trust where it speaks TLS, and how one in the test's own loop is stopped."""

    def __init__(self, url: str, stop: trio.Event | None = None, authority: str = "") -> None:
        self.url = url
        host, _, port = url.rpartition("/")[2].rpartition(":")
        self.address = (host, int(port))
        self.stop = trio.Event() if stop is None else stop
        self._tls = ssl.create_default_context(cafile=authority) if authority else None

    async def connect(self, *, room_bytes: int = 0) -> Client:
        """Open a connection, and speak HTTP/1.1 on it; the caller closes it.

        With `room_bytes` its kernel holds about so many bytes of answers: one that reads none is stuck soon, where by
        default it takes megabytes.
        """
        if not room_bytes:
            return await self.converse(await trio.open_tcp_stream(*self.address))
        socket = trio.socket.socket()
        socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, room_bytes)
        await socket.connect(self.address)
        return await self.converse(trio.SocketStream(socket))

    async def converse(self, stream: trio.SocketStream) -> Client:
        """Speak HTTP/1.1 on a connection, inside TLS where the server does."""
        if self._tls is None:
            return Client(stream)
        secure = trio.SSLStream(stream, self._tls, server_hostname=AUTHORITY, https_compatible=True)
        with trio.fail_after(PATIENCE_SECONDS):
            await secure.do_handshake()
        return Client(secure)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Open a connection, and close it in the end."""
        client = await self.connect()
        async with client.stream:
            yield client


@asynccontextmanager
async def serving(
    api: Api, clock: SetClock | LoopClock, *, express_lane: bool, connections_max: int = CONNECTIONS_MAX
) -> AsyncIterator[Server]:
    """Serve an API on a free loopback port until the block ends; it must then stop by itself."""
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        serve = partial(serve_until, api, clock, SeededEntropy("mark"), stop.wait, express_lane=express_lane)
        (url,) = await nursery.start(partial(serve, connections_max=connections_max))
        try:
            yield Server(url, stop, api.settings.tls_cert_file)
        finally:
            stop.set()
            nursery.cancel_scope.deadline = trio.current_time() + PATIENCE_SECONDS
    assert not nursery.cancel_scope.cancelled_caught, "the server did not stop by itself"
