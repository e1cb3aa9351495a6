"""Clients behind proxies that the server trusts, over every front: whose a request is, and whom bounds are for."""

from __future__ import annotations

import logging
import socket as stdlib_socket
from contextlib import asynccontextmanager, suppress
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock, SetClock
from reference_server.core.rate_limit import TokenBuckets
from reference_server.http.opening import Opening
from tests.http.corpus import get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.test_http_tls import http2
from tests.http.test_proxy_header import IPV4, fields
from tests.http.twins import enrol, make_api, written
from tests.support.trying import tried_again_alone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.http.admission import Admission
    from reference_server.operations.api import Api
    from tests.http.twins import Machine
    from tests.support.certificates import Pair

WAYS = pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
HERE = ("127.0.0.1/32",)
ELSEWHERE = ("192.0.2.1/32",)
HEALTH = get("/health")
BURST = 3
SOON, NEVER = 0.1, 3600.0
TEXT = b"PROXY TCP4 203.0.113.9 192.0.2.1 4660 80\r\n"
FIELDS = fields(b"\x21\x11", IPV4)
HEADERS = {"version 1": TEXT, "version 2": FIELDS}
KNOWN = {"trusted_proxies": HERE, "proxy_protocol": True}


def named(address: str, *, path: str = "/health") -> Any:
    """Ask as a proxy does for an address."""
    return get(path, (("x-forwarded-for", address),))


def limited(burst: int, **given: Any) -> tuple[Api, Machine]:
    """Make an API that allows few requests at once, and a machine whose enrolment was not counted."""
    api = make_api(rate_limit_burst=burst, **given)
    buckets, api.state.buckets = api.state.buckets, TokenBuckets(1.0, 1_000, 1_000)
    machine = enrol(api)
    api.state.buckets = buckets
    return api, machine


async def ends(stream: trio.SocketStream) -> bool:
    """Wait for the next byte; return whether the server has hung up instead."""
    with trio.fail_after(PATIENCE_SECONDS), suppress(trio.BrokenResourceError):
        return await stream.receive_some(1) == b""
    return True


@asynccontextmanager
async def introduced(server: Server, header: bytes) -> AsyncIterator[Client]:
    """Connect as a proxy does for the client that the header names, and speak HTTP/1.1."""
    stream = await trio.open_tcp_stream(*server.address)
    await stream.send_all(header)
    client = await server.converse(stream)
    async with client.stream:
        yield client


@WAYS
async def test_limits_count_for_whom_a_trusted_proxy_names(way: str, pair: Pair) -> None:
    """On one connection: each address has its own bucket, of IPv6 each /64; heartbeats and reads pay alike."""
    api, machine = limited(BURST, trusted_proxies=HERE, **pair.settings_of(way))
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        for address, other in (("203.0.113.9", "203.0.113.8"), ("2001:db8::9", "2001:db8:0:1::")):
            asked = [await client.ask(named(address)) for _ in range(BURST - 1)]
            beat = written(machine.heartbeat(address), f"X-Forwarded-For: 1.2.3.4, {address}")
            await client.send(beat)
            asked.append(await client.answer("POST"))
            assert [answer.status for answer in asked] == [200] * BURST
            assert (await client.ask(named(address))).status == 429
            await client.send(beat)
            assert (await client.answer("POST")).status == 429
            assert (await client.ask(named(other))).status == 200
        assert (await client.ask(named("2001:db8::8"))).status == 429
        assert (await client.ask(HEALTH)).status == 200, "the proxy itself has asked nothing yet"


async def test_limits_count_for_whom_a_trusted_proxy_names_over_http_2(pair: Pair) -> None:
    api = make_api(rate_limit_burst=1, trusted_proxies=HERE, **pair.settings)
    async with serving(api, SetClock(), express_lane=True) as server, http2(server, pair) as client:
        asked = [await client.ask(named(address)) for address in ("203.0.113.9", "203.0.113.9", "203.0.113.8")]
        assert [answer.status for answer in asked] == [200, 429, 200]


@WAYS
async def test_what_anybody_else_names_changes_nothing(way: str, pair: Pair) -> None:
    api, machine = limited(BURST, trusted_proxies=ELSEWHERE, **pair.settings_of(way))
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        asked = [await client.ask(named(f"203.0.113.{number}")) for number in range(BURST - 1)]
        await client.send(written(machine.heartbeat("n"), "X-Forwarded-For: 203.0.113.77"))
        asked.append(await client.answer("POST"))
        assert [answer.status for answer in asked] == [200] * BURST
        assert (await client.ask(named("203.0.113.99"))).status == 429


@pytest.mark.parametrize("express_lane", [True, False])
async def test_where_proxies_are_named_only_they_say_that_it_was_https(*, express_lane: bool) -> None:
    for proxies, status in ((HERE, 200), (ELSEWHERE, 426), ((), 200)):
        api = make_api(require_https=True, trust_proxy_headers=True, trusted_proxies=proxies)
        machine = enrol(api)
        async with serving(api, SetClock(), express_lane=express_lane) as server, server.client() as client:
            secure = (("x-forwarded-proto", "https"),)
            assert (await client.ask(get("/api/v1/status", secure))).status == status
            await client.send(written(machine.heartbeat("n"), "X-Forwarded-Proto: https"))
            assert (await client.answer("POST")).status == status
            assert (await client.ask(machine.heartbeat("m"))).status == 426


@WAYS
@pytest.mark.parametrize("header", HEADERS)
async def test_a_proxy_says_whose_a_connection_is(way: str, header: str, pair: Pair) -> None:
    """Limits of an address are for the client that it names, and no longer for the proxy."""
    api, machine = limited(BURST, **KNOWN, **pair.settings_of(way))
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server:
        for nonces in ("abc", "d"):
            async with introduced(server, HEADERS[header]) as client:
                asked = [(await client.ask(machine.heartbeat(nonce))).status for nonce in nonces]
        assert asked == [429]
        async with introduced(server, HEADERS[header].replace(b".9", b".8").replace(b"\x71\x09", b"\x71\x08")) as other:
            assert (await other.ask(machine.heartbeat("e"))).status == 200


@WAYS
@pytest.mark.parametrize("header", HEADERS)
async def test_a_proxys_header_may_come_byte_by_byte(way: str, header: str, pair: Pair) -> None:
    """And takes no byte of what follows, which here comes with its last."""
    api = make_api(rate_limit_burst=1, **KNOWN, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        stream = await trio.open_tcp_stream(*server.address)
        behind = b"" if way == "tls" else written(HEALTH)
        for byte in HEADERS[header][:-1]:
            await stream.send_all(bytes([byte]))
            await wait_all_tasks_blocked()
        await stream.send_all(HEADERS[header][-1:] + behind)
        client = await server.converse(stream)
        async with client.stream:
            if not behind:
                await client.send(written(HEALTH))
            assert (await client.answer()).status == 200
            assert (await client.ask(HEALTH)).status == 429


async def test_a_proxys_header_is_read_before_http_2(pair: Pair) -> None:
    api = make_api(rate_limit_burst=1, **KNOWN, **pair.settings)
    async with serving(api, SetClock(), express_lane=True) as server, http2(server, pair, TEXT) as client:
        assert [(await client.ask(HEALTH)).status for _ in range(2)] == [200, 429]
        async with http2(server, pair, TEXT.replace(b".9", b".8")) as other:
            assert (await other.ask(HEALTH)).status == 200


@WAYS
async def test_a_proxy_that_speaks_for_itself_is_known_by_its_address(way: str, pair: Pair) -> None:
    """And may name clients request by request then."""
    api = make_api(rate_limit_burst=1, **KNOWN, **pair.settings_of(way))
    async with (
        serving(api, SetClock(), express_lane=way != "hypercorn") as server,
        introduced(server, fields(b"\x20\x00", b"")) as client,
    ):
        asked = [await client.ask(one) for one in (HEALTH, HEALTH, named("203.0.113.9"), named("203.0.113.8"))]
        assert [answer.status for answer in asked] == [200, 429, 200, 200]


@WAYS
@pytest.mark.parametrize("wrong", [written(HEALTH), b"PROXY TCP4 a b 1 2\r\n", FIELDS[:12] + b"\x31" + FIELDS[13:]])
async def test_a_trusted_proxy_without_a_right_header_is_refused(
    way: str, wrong: bytes, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever looks after both is told: nothing else would say why no client gets through."""
    api = make_api(**KNOWN, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        stream = await trio.open_tcp_stream(*server.address)
        with caplog.at_level(logging.WARNING):
            await stream.send_all(wrong)
            assert await ends(stream)
        assert "127.0.0.1 opened a connection without a right PROXY header" in caplog.text
        await stream.aclose()


@WAYS
@pytest.mark.parametrize("begun", [b"", TEXT[:-1], FIELDS[:20]])
@tried_again_alone
async def test_a_header_that_does_not_end_is_not_awaited_for_ever(way: str, begun: bytes, pair: Pair) -> None:
    api = make_api(header_timeout_seconds=SOON, **KNOWN, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(begun)
        assert await ends(stream)
        await stream.aclose()


@WAYS
async def test_a_server_stops_though_a_header_is_awaited(way: str, pair: Pair) -> None:
    api = make_api(shutdown_grace_seconds=NEVER, **KNOWN, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(TEXT[:9])
        await wait_all_tasks_blocked()
    await stream.aclose()


async def test_a_header_that_ends_as_the_server_stops_costs_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of the two Trio lets come first, by chance: neither the stop fails, nor is anything logged."""
    finish = Opening.finish
    for _ in range(12):
        async with serving(make_api(**KNOWN), LoopClock(), express_lane=True) as server:
            with stdlib_socket.create_connection(server.address) as client:
                await wait_all_tasks_blocked()

                async def send_at_the_last_moment(
                    opening: Opening, deadline: float, *, client: stdlib_socket.socket = client
                ) -> None:
                    client.send(TEXT)
                    await finish(opening, deadline)

                monkeypatch.setattr(Opening, "finish", send_at_the_last_moment)
                server.stop.set()
                await wait_all_tasks_blocked()
    assert caplog.text == ""


async def test_a_client_that_had_to_go_before_it_was_named_is_not_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, admissions: list[Admission]
) -> None:
    """Its header was read at the moment when it was sent away."""

    async def read_too_late(_socket: stdlib_socket.socket) -> str:
        await trio.lowlevel.checkpoint()
        next(iter(admissions[0]._unproven)).evict()
        return "203.0.113.9"

    monkeypatch.setattr("reference_server.http.guests.read_proxy_header", read_too_late)
    async with serving(make_api(**KNOWN), LoopClock(), express_lane=True) as server:
        async with await trio.open_tcp_stream(*server.address) as stream:
            assert await ends(stream)
        assert admissions[0].connections == 0
    assert caplog.text == ""


@WAYS
async def test_nobody_else_names_a_client_by_a_header(way: str, pair: Pair) -> None:
    """What comes is read as if there were no such header: as HTTP, or as TLS, and it is neither."""
    api = make_api(trusted_proxies=ELSEWHERE, proxy_protocol=True, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        async with server.client() as client:
            assert (await client.ask(HEALTH)).status == 200
        stream = await trio.open_tcp_stream(*server.address)
        await stream.send_all(TEXT + written(HEALTH))
        if way == "tls":
            assert not (await Client(stream).rest()).startswith(b"HTTP")
        else:
            assert (await Client(stream).answer()).status == 400
        await stream.aclose()


@WAYS
async def test_the_bound_of_an_address_is_for_clients_and_not_for_their_proxy(way: str, pair: Pair) -> None:
    """Pools of a proxy may rest in any number; of connections that it brings each client's have the bound."""
    api = make_api(unproven_connections_per_address=1, **KNOWN, **pair.settings_of(way))
    own, first, second = fields(b"\x20\x00", b""), TEXT, TEXT.replace(b".9", b".8")
    async with (
        serving(api, LoopClock(), express_lane=way != "hypercorn") as server,
        introduced(server, own) as pooled,
        introduced(server, own) as also_pooled,
        introduced(server, first) as client,
        introduced(server, second) as other,
    ):
        for one, _ in product((pooled, also_pooled, client, other), range(2)):
            assert (await one.ask(HEALTH)).status == 200
        async with introduced(server, first) as newer:
            assert await client.rest() == b""
            for one in (pooled, also_pooled, other, newer):
                assert (await one.ask(HEALTH)).status == 200
