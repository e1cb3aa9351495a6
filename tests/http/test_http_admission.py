"""Who makes room for whom, over real connections (contract §6)."""

from __future__ import annotations

import gc
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http import express_lane
from reference_server.http.lane_clients import Connection
from reference_server.limits import BODY_MAX_BYTES
from reference_server.wire.values import Request
from tests.http.corpus import BEARER, body_but_a_byte, get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.test_http_tls import http2
from tests.http.twins import OWNER, enrol, make_api, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from reference_server.http.admission import Admission
    from tests.http.http2_client import Http2Client
    from tests.support.certificates import Pair

TRANSPORTS = pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
BY_HEAD = pytest.mark.parametrize("way", ["lane", "tls"])
HEALTH = get("/health")
MEBIBYTE = 1024 * 1024
LONG_BYTES = 1_500_000
"""The longest answer is a little more."""


@TRANSPORTS
async def test_bytes_that_wait_are_bounded_and_a_fleet_goes_on(way: str, pair: Pair) -> None:
    """Strangers who leave bodies half-sent drive each other out, the longest-waiting first; a machine stays."""
    api = make_api(waiting_bytes_max=4 * MEBIBYTE, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as honest:
        assert (await honest.ask(machine.heartbeat("first"))).status == 200
        strangers = [await server.connect() for _ in range(8)]
        for stranger in strangers:
            await stranger.send_what_it_takes(body_but_a_byte(machine.path))
            await wait_all_tasks_blocked()
        for stranger in strangers[:4]:
            await stranger.closed()
        await strangers[-1].send(b"x")
        assert (await strangers[-1].answer("POST")).status == 400
        assert (await honest.ask(machine.heartbeat("last"))).status == 200
        for stranger in strangers:
            await stranger.stream.aclose()


@BY_HEAD
async def test_a_body_whose_head_suffices_is_read_past_and_never_kept(
    admissions: list[Admission], way: str, pair: Pair
) -> None:
    """However many owners' requests without the token wait with their bodies half-sent, no byte of them stays."""
    api = make_api(**pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=True) as server:
        strangers = [await server.connect() for _ in range(4)]
        for stranger in strangers:
            await stranger.send(body_but_a_byte("/api/v1/policies"))
            assert (await stranger.answer("POST")).status == 401
        await wait_all_tasks_blocked()
        assert admissions[-1].waiting_bytes == 0
        for stranger in strangers:
            await stranger.send(b"x" + written(HEALTH))
            assert (await stranger.answer()).status == 200
        owner = await server.connect()
        await owner.send(body_but_a_byte("/api/v1/policies", *BEARER))
        await wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE_SECONDS):
            while admissions[-1].waiting_bytes < BODY_MAX_BYTES - 1:
                await wait_all_tasks_blocked()
        for client in [*strangers, owner]:
            await client.stream.aclose()


async def test_an_answer_counts_whole_until_its_last_byte_is_out(admissions: list[Admission]) -> None:
    """However much of a long one a client has taken: the rest keeps all of it in memory."""
    async with serving(make_api(), LoopClock(), express_lane=True) as server:
        client = await server.connect()
        client.socket_stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await client.send(written(get("/docs/swagger-ui-bundle.js")))
        with trio.fail_after(PATIENCE_SECONDS):
            while not admissions[-1].waiting_bytes:
                await wait_all_tasks_blocked()
        counted, taken = admissions[-1].waiting_bytes, 0
        assert counted > LONG_BYTES
        while taken < LONG_BYTES / 2:
            taken += len(await client.stream.receive_some(65_536))
        assert admissions[-1].waiting_bytes in {0, counted}
        await client.stream.aclose()


@BY_HEAD
async def test_a_body_that_is_not_wanted_is_not_asked_for(way: str, pair: Pair) -> None:
    """Whoever waits for consent to send gets the refusal instead, and the connection ends: nothing is ambiguous."""
    api = make_api(**pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as client:
        head = written(Request("POST", "/api/v1/policies", body=b"x"), "Expect: 100-continue")[:-1]
        await client.send(head)
        answer = await client.next_response("POST")
        assert (answer.status, answer.header("connection")) == (401, "close")
        await client.closed()


@TRANSPORTS
async def test_connections_of_one_address_that_prove_nothing_are_bounded(way: str, pair: Pair) -> None:
    """The oldest goes; those on which a machine or an owner was recognised do not count, and stay."""
    api = make_api(unproven_connections_per_address=3, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        fleet = [await server.connect() for _ in range(3)]
        for number, client in enumerate(fleet):
            asked = machine.heartbeat(f"n{number}") if number else get("/api/v1/workers/summary", OWNER)
            assert (await client.ask(asked)).status == 200
        strangers = [await server.connect() for _ in range(5)]
        for stranger in strangers[:2]:
            await stranger.closed()
        for stranger in strangers[2:]:
            assert (await stranger.ask(HEALTH)).status == 200
        for number, client in enumerate(fleet):
            assert (await client.ask(machine.heartbeat(f"m{number}"))).status == 200
        for client in fleet + strangers:
            await client.stream.aclose()


@pytest.mark.parametrize("way", ["lane", "hypercorn", "tls", "http 2"])
async def test_all_connections_are_bounded_whatever_serves_them(way: str, pair: Pair) -> None:
    """The stranger who has waited longest makes room. Those who are known stay, and once all are, nobody comes in."""
    api = make_api(**({} if way in {"lane", "hypercorn"} else pair.settings))
    machine = enrol(api)

    def connected_to(server: Server) -> AbstractAsyncContextManager[Client | Http2Client]:
        return http2(server, pair) if way == "http 2" else server.client()

    async with (
        serving(api, LoopClock(), express_lane=way != "hypercorn", connections_max=2) as server,
        connected_to(server) as known,
        connected_to(server) as stranger,
    ):
        assert (await known.ask(machine.heartbeat("n0"))).status == 200
        assert (await stranger.ask(HEALTH)).status == 200
        async with connected_to(server) as newcomer:
            await stranger.closed()
            assert (await known.ask(machine.heartbeat("n1"))).status == 200
            assert (await newcomer.ask(machine.heartbeat("n2"))).status == 200
            stream = await trio.open_tcp_stream(*server.address)
            async with stream:
                await wait_all_tasks_blocked()
                assert (await newcomer.ask(machine.heartbeat("n3"))).status == 200
                assert (await known.ask(machine.heartbeat("n4"))).status == 200


@TRANSPORTS
async def test_a_stranger_who_was_answered_outlasts_one_who_says_nothing(way: str, pair: Pair) -> None:
    api = make_api(unproven_connections_per_address=2, **pair.settings_of(way))
    async with (
        serving(api, LoopClock(), express_lane=way != "hypercorn") as server,
        server.client() as asking,
        server.client() as silent,
    ):
        assert (await asking.ask(HEALTH)).status == 200
        async with server.client() as third:
            await silent.closed()
            assert (await third.ask(HEALTH)).status == 200
            assert (await asking.ask(HEALTH)).status == 200


@pytest.fixture
async def seen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, list[weakref.ref[Connection]]]]:
    """Serve with a lane, and tell of each of its connections."""
    made: list[weakref.ref[Connection]] = []

    class Seen(Connection):
        """A connection that can be told of without being kept."""

        __slots__ = ("__weakref__",)

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(express_lane, "Connection", Seen)
    async with serving(make_api(), LoopClock(), express_lane=True) as server:
        yield server, made


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        written(HEALTH),
        body_but_a_byte("/api/v1/policies"),
        body_but_a_byte("/api/v1/workers/wrk_0/heartbeat"),
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        written(HEALTH, "Connection: close"),
    ],
    ids=[
        "nothing",
        "a byte",
        "a request",
        "a body to be read past",
        "a body to be kept",
        "a refusal",
        "a last request",
    ],
)
async def test_a_client_that_leaves_leaves_nothing_that_only_a_collector_finds(
    seen: tuple[Server, list[weakref.ref[Connection]]], sent: bytes
) -> None:
    server, made = seen
    gc.collect()
    gc.disable()
    try:
        client = await server.connect()
        await client.send_what_it_takes(sent)
        with trio.fail_after(PATIENCE_SECONDS):
            while not made:
                await wait_all_tasks_blocked()
            await client.stream.aclose()
            while made[0]() is not None:
                await wait_all_tasks_blocked(0.01)
    finally:
        gc.enable()
