"""A connection that has ended leaves nothing that waits for the garbage collector: that one is told to rest."""

from __future__ import annotations

import gc
import ssl
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import product
from typing import TYPE_CHECKING

import h11
import pytest
import trio
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.trio.tcp_server import TCPServer
from quart.wrappers import Request as QuartRequest
from quart.wrappers import Response as QuartResponse
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.conversation import Conversation
from reference_server.http.framing import FramingGuard
from reference_server.http.guarded_stream import GuardedStream
from reference_server.http.http2_connection import Http2Connection
from reference_server.http.http2_front import Http2Session
from reference_server.http.http2_protocol import BoundedH2
from reference_server.http.lane_clients import Connection
from reference_server.http.tls_socket import TlsSocket
from reference_server.http.tls_stream import TlsStream
from tests.http.corpus import get
from tests.http.http2_client import Http2Client
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.test_http_slow_readers import hang_up
from tests.http.test_http_tls import GET, POST, connected
from tests.http.twins import API_TOKEN, as_owner, make_api, written
from tests.support.circles import circles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.certificates import Pair

NEVER = 3600.0
WAYS = ("lane", "hypercorn", "tls")
HEALTH = get("/health")
OF_A_CONNECTION = (
    TCPServer, H11Protocol, HTTPStream, h11.Connection, QuartRequest, QuartResponse, FramingGuard, GuardedStream,
    Http2Connection, Http2Session, BoundedH2, Conversation, Connection, TlsSocket, TlsStream,
)  # fmt: skip
HALF_A_BODY = (
    b"POST /api/v1/policies HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: 1048576\r\n\r\n"
    % API_TOKEN.encode()
) + b"x" * 100_000
BEGINNINGS = {
    "asked": written(HEALTH),
    "nothing there": written(get("/nothing")),
    "closing": written(HEALTH, "Connection: close"),
    "half a head": b"GET /health",
    "half a body": HALF_A_BODY,
    "refused by its body": written(as_owner("/policies", {})),
    "refused by its framing": b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
    "pipelined": 5 * written(HEALTH) + HALF_A_BODY,
}


def alive() -> list[str]:
    """Name what of connections there is. Asked while the collector is off, so whatever has gone, went by itself."""
    found = [one for one in gc.get_objects() if isinstance(one, OF_A_CONNECTION) or is_the_servers(one)]
    return sorted(type(one).__name__ for one in found)


def is_the_servers(one: object) -> bool:
    """Tell the server's TLS from those of the test's own clients."""
    return isinstance(one, (ssl.SSLSocket, ssl.SSLObject)) and one.server_side is True


@asynccontextmanager
async def uncollected(left: list[str]) -> AsyncIterator[None]:
    """Note what is left of the connections made within once their tasks have ended."""
    await wait_all_tasks_blocked()
    gc.collect()
    tasks = trio.lowlevel.current_statistics().tasks_living
    before = alive()
    gc.disable()
    try:
        yield
        with trio.fail_after(PATIENCE_SECONDS):
            while trio.lowlevel.current_statistics().tasks_living > tasks:
                await wait_all_tasks_blocked(0.01)
        left += (Counter(alive()) - Counter(before)).elements()
        left += circles()
    finally:
        gc.enable()


async def visit(server: Server, pair: Pair | None, beginning: bytes, *, abruptly: bool, waits: bool = True) -> None:
    """Say something and leave, before or after an answer can come."""
    if pair is None:
        async with server.client() as client:
            await client.send(beginning)
            if waits:
                await wait_all_tasks_blocked()
            await hang_up(client, abruptly=abruptly)
    else:
        async with connected(server, pair) as stream:
            await Client(stream).send(beginning)
            if waits:
                await wait_all_tasks_blocked()
            await hang_up(Client(stream), abruptly=abruptly)


async def outstay(server: Server, pair: Pair | None, beginning: bytes) -> None:
    """Stay until the server has had enough: on a busy machine it may have before anything was sent."""
    with suppress(trio.BrokenResourceError):
        if pair is None:
            async with server.client() as client:
                await client.send(beginning)
                await client.rest()
        else:
            async with connected(server, pair) as stream:
                await Client(stream).send(beginning)
                await Client(stream).rest()


@pytest.mark.parametrize("way", WAYS)
async def test_http_1_connections_leave_nothing(way: str, pair: Pair) -> None:
    """Wherever the client was, and however it left; `closing` and refusals end before the client does."""
    timeouts = {f"{name}_timeout_seconds": NEVER for name in ("header", "body", "idle")}
    api, trusted = make_api(**timeouts, **pair.settings_of(way)), pair if way == "tls" else None
    left: list[str] = []
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        await visit(server, trusted, written(HEALTH), abruptly=False)
        async with uncollected(left):
            for beginning, abruptly, waits in product(BEGINNINGS.values(), (False, True), (False, True)):
                await visit(server, trusted, beginning, abruptly=abruptly, waits=waits)
    assert left == []


async def test_http_2_connections_leave_nothing(pair: Pair) -> None:
    api = make_api(**pair.settings)
    health = [*GET, (b":path", b"/health")]
    bearer = (b"authorization", f"Bearer {API_TOKEN}".encode())

    async def visit_2(kind: str, *, waits: bool = True) -> None:
        async with connected(server, pair, "h2", "http/1.1") as stream:
            client = Http2Client(stream)
            if kind == "asked":
                for _ in range(3):
                    assert (await client.ask(HEALTH)).status == 200
            elif kind == "half a body":
                stream_id = await client.begin([*POST, bearer], ended=False)
                await client.send_body(stream_id, b"x" * 16_000, ended=False)
            elif kind == "unread":
                for _ in range(20):
                    await client.begin(health, ended=True)
            elif kind == "wrong":
                await client.flush()
                await client.stream.send_all(b"\xff" * 9)
                await client.closed()
            if waits:
                await wait_all_tasks_blocked()
            vars(client.connection).clear()  # it refers to itself, and is the test's own

    left: list[str] = []
    async with serving(api, LoopClock(), express_lane=True) as server:
        await visit_2("asked")
        async with uncollected(left):
            for kind, waits in product(("nothing", "asked", "half a body", "unread", "wrong"), (False, True)):
                await visit_2(kind, waits=waits)
    assert left == []


@pytest.mark.parametrize("way", WAYS)
async def test_connections_that_are_late_leave_nothing(way: str, pair: Pair) -> None:
    """The server ends them while the client stays: by its deadlines, in plain text and inside TLS."""
    soon = {f"{name}_timeout_seconds": 0.1 for name in ("header", "body", "idle")}
    left: list[str] = []
    api, trusted = make_api(**soon, **pair.settings_of(way)), pair if way == "tls" else None
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        # Whoever accepts connections still has the last one at hand.
        await visit(server, trusted, b"", abruptly=False)
        async with uncollected(left):
            for beginning in (b"GET /health HTTP/1.1\r\nA: " + b"b" * 5_000, HALF_A_BODY, written(HEALTH)):
                await outstay(server, trusted, beginning)
    assert left == []
