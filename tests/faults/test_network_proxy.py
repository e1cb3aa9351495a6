"""The proxy before a live server: it delays parts from when each came, and passes on nothing for who has hung up.

The clock is Trio's own twin: it jumps where nothing moves on any socket.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.deployment.conditions import Conditions
from simulator.deployment.delayed_stream import DelayedStream
from simulator.deployment.network_proxy import HOST, network_before
from simulator.limits import NETWORK_LATENCY_MAX_SECONDS, PROXY_HELD_MAX_BYTES
from simulator.scenario.kinds import Duration
from simulator.scenario.values import FaultOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONG_BYTES = 2_000_000
ASKED = b"GET / HTTP/1.1\r\n\r\n"


def fault(kind: str, seconds: float, latency_ms: int = 0) -> FaultOptions:
    return FaultOptions(
        kind=kind,
        at_ns=Duration(0),
        duration_ns=Duration(int(seconds * SECOND_NS)),
        latency_ns=Duration(latency_ms * MILLISECOND_NS),
    )


class Server:
    """Answers whatever it is asked with the same bytes, and notes what that was."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.ended = trio.Event()

    async def serve(self, stream: trio.SocketStream) -> None:
        while part := await stream.receive_some(65_536):
            self.heard.append(part)
            await stream.send_all(self.answer)
        self.ended.set()


@asynccontextmanager
async def proxied(clock: trio.testing.MockClock, server: Server) -> AsyncIterator[tuple[trio.SocketStream, Conditions]]:
    """Connect to a server through a proxy."""
    clock.autojump_threshold = 0.02
    (listener,) = await trio.open_tcp_listeners(0, host=HOST)
    conditions = Conditions(np.random.default_rng(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        port = listener.socket.getsockname()[1]
        async with network_before(port, conditions) as proxy, await trio.open_tcp_stream(HOST, proxy.port) as client:
            yield client, conditions
        nursery.cancel_scope.cancel()


def broken() -> None:
    raise AssertionError("nothing broke the stream")


async def read(client: trio.SocketStream, size: int) -> bytes:
    came = bytearray()
    while len(came) < size:
        came += await client.receive_some(65_536)
    return bytes(came)


async def test_a_long_answer_is_late_by_the_latency_and_no_more(mock_clock: trio.testing.MockClock) -> None:
    answer = np.random.default_rng(2).bytes(LONG_BYTES)
    async with proxied(mock_clock, Server(answer)) as (client, conditions):
        conditions.begin(fault("network.latency", 60, int(NETWORK_LATENCY_MAX_SECONDS * 1000)))
        began = trio.current_time()
        await client.send_all(ASKED)
        assert await read(client, LONG_BYTES) == answer
        assert trio.current_time() - began == pytest.approx(2 * NETWORK_LATENCY_MAX_SECONDS, abs=0.5)


async def test_a_request_is_passed_on_once_a_partition_is_over(mock_clock: trio.testing.MockClock) -> None:
    server = Server(b"answer")
    async with proxied(mock_clock, server) as (client, conditions):
        conditions.begin(fault("network.partition", 20))
        await client.send_all(ASKED)
        assert await read(client, 6) == b"answer"
        assert trio.current_time() >= 20
    assert server.heard == [ASKED]


async def test_what_a_partition_holds_of_a_client_that_hung_up_never_arrives(
    mock_clock: trio.testing.MockClock,
) -> None:
    server = Server(b"answer")
    async with proxied(mock_clock, server) as (client, conditions):
        await client.send_all(b"before")
        await read(client, 6)
        conditions.begin(fault("network.partition", 20))
        await client.send_all(ASKED)
        with trio.move_on_after(10):
            await client.receive_some()
        await client.aclose()
        await server.ended.wait()
        assert trio.current_time() >= 20
    assert server.heard == [b"before"]


async def test_no_more_is_held_than_is_allowed(autojump_clock: trio.testing.MockClock) -> None:  # noqa: ARG001
    ours, theirs = trio.testing.memory_stream_pair()
    size = PROXY_HELD_MAX_BYTES // 4
    async with trio.open_nursery() as nursery:
        way = DelayedStream(ours, nursery, broken)
        for _ in range(4):
            await way.send(bytes(size), 2)
        assert trio.current_time() == pytest.approx(0)
        await way.send(bytes(size), 2)
        assert trio.current_time() == pytest.approx(2)
        await way.send(b"", 0)
        await way.sent()
        came = 0
        while part := await theirs.receive_some(PROXY_HELD_MAX_BYTES):
            came += len(part)
    assert came == 5 * size


async def test_parts_keep_their_order_whatever_each_is_delayed_by(
    autojump_clock: trio.testing.MockClock,  # noqa: ARG001
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        way = DelayedStream(ours, nursery, broken)
        for number, seconds in enumerate((0.0, 2.0, 0.5, 0.0)):
            await way.send(bytes([number]), seconds)
        await way.send(b"", 1)
        await way.sent()
    assert await theirs.receive_some() == bytes(range(4))
    assert trio.current_time() == pytest.approx(2)
