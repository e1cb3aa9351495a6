"""What a target tells addresses by, and which of the addresses of its own name is used."""

from __future__ import annotations

import socket
from functools import partial

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.client.addresses import Probe, compare_addresses, find_out, with_known_addresses
from simulator.client.connecting import connected_socket
from simulator.client.connection import ControlConnection
from simulator.client.resolving import in_order, resolve
from simulator.client.target import Target, parse_target
from simulator.limits import ADDRESS_PROBE_BURST_MAX
from tests.simulator.conftest import (
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    answer,
    serving,
    sockets_closed_after,
)
from tests.support.waiting import until

QUICK = {"rate_limit_burst": 10, "rate_limit_refill_per_second": 0.5}
SETTINGS = {"RATE_LIMIT_BURST": "10", "RATE_LIMIT_REFILL_PER_SECOND": "0.5"}
DEAD = "127.0.0.2"
"""An address of this machine at which nothing listens, where a server has bound another."""


def got(*statuses: int, every_seconds: float = 0.01, start_seconds: float = 0.0) -> list[Probe]:
    moments = [round((start_seconds + number * every_seconds) * SECOND_NS) for number in range(len(statuses) + 1)]
    return [Probe(status, *moments[number : number + 2]) for number, status in enumerate(statuses)]


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        (got(*[200] * 20, 429), got(*[200] * 8, start_seconds=0.2), True),
        (got(*[200] * 20, 429), got(*[429] * 8, start_seconds=0.2), False),
        (got(*[200] * 20, 429), got(200, *[429] * 7, start_seconds=0.2), False),
        (got(*[200] * 40), got(*[200] * 8), None),  # no limit, or one out of reach
        (got(*[200] * 20, 429), got(*[200] * 8, every_seconds=1, start_seconds=0.2), None),  # a bucket refills as fast
        (got(*[200] * 20, 429), [], None),
        (got(*[404] * 20, 429), got(*[404] * 8), None),
    ],
)
def test_two_addresses_have_one_bucket_two_or_it_is_not_known(
    first: list[Probe], second: list[Probe], *, apart: bool | None
) -> None:
    found = compare_addresses(first, second, 5.0)
    assert found.apart is apart
    assert bool(found.why) is (apart is None)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.floats(0.001, 3), st.floats(0.1, 50))
def test_what_one_bucket_may_have_gained_never_proves_two(served: list[bool], every: float, refill: float) -> None:
    """A shared bucket gives each request a token while it has gained one."""
    second: list[Probe] = []
    tokens = 0.0
    for number, wanted in enumerate(served):
        tokens = min(tokens + every * refill, 20)
        ok = wanted and tokens >= 1
        tokens -= ok
        second += got(200 if ok else 429, every_seconds=every, start_seconds=(number + 1) * every)
    assert compare_addresses(got(200, 429, every_seconds=0.001), second, refill).apart is not True


async def test_a_server_that_sees_addresses_tells_them_apart() -> None:
    async with serving(**QUICK) as (api, target):
        known, problem = await with_known_addresses(target, "", SETTINGS)
        assert (known, problem) == (target, "")
        assert len(api.heard) <= 2 * 10 + 20 + 8
        assert len({heard.client for heard in api.heard}) == 2


async def through(target: Target, listener: trio.SocketListener) -> None:
    """Pass connections on as a published port does: all from one address."""

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def pass_on(stream: trio.SocketStream) -> None:
        async with stream, await trio.open_tcp_stream(target.address, target.port) as up, trio.open_nursery() as both:
            both.start_soon(pump, stream, up)
            both.start_soon(pump, up, stream)

    await trio.serve_listeners(pass_on, [listener])


async def test_a_server_behind_a_published_port_sees_one_address() -> None:
    async with serving(**QUICK) as (_, target), trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(through, target, listener)
        behind = msgspec.structs.replace(target, port=listener.socket.getsockname()[1])
        found = await find_out(behind, 10, 0.5, partial(int, 7_000_000))
        assert found.apart is False
        nursery.cancel_scope.cancel()


async def test_a_burst_that_is_too_large_is_not_used_up(scripted: ScriptedServer) -> None:
    found = await find_out(scripted.target, ADDRESS_PROBE_BURST_MAX + 1, 5, lambda: 0)
    assert found.apart is None
    assert not scripted.arrivals
    known, problem = await with_known_addresses(scripted.target, "", {"RATE_LIMIT_BURST": "100000"})
    assert (known.own_addresses, known.addresses_known) == (True, False)
    assert problem.endswith("--shared-address or --own-addresses says it")


async def test_what_is_said_is_not_looked_for(scripted: ScriptedServer) -> None:
    for stated in ("own", "shared"):
        assert await with_known_addresses(scripted.target, stated, {}) == (scripted.target, "")
    assert not scripted.arrivals
    assert not parse_target(scripted.url, "t", addresses="shared").own_addresses


async def test_a_target_elsewhere_shows_nothing_of_what_is_in_front_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    target, problem = await with_known_addresses(parse_target("http://hatchfarm.example", "t"), "", {})
    assert (target.own_addresses, target.addresses_known, problem) == (False, False, "")


# --- several addresses of one name


def test_addresses_take_turns_by_kind_and_this_machines_own_come_first() -> None:
    assert in_order(["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]) == [
        "2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3",
    ]  # fmt: skip
    assert in_order(["::1", "127.0.0.1"]) == ["127.0.0.1", "::1"]


def named(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have every name have these addresses."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)


def test_the_address_that_answers_is_in_front(monkeypatch: pytest.MonkeyPatch) -> None:
    named(monkeypatch, DEAD, "127.0.0.1", DEAD)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert resolve("farm.example", port) == ("127.0.0.1", DEAD)
    assert resolve("farm.example", port, 1.0) == (DEAD, "127.0.0.1")


@pytest.fixture
def half_dead(scripted: ScriptedServer) -> Target:
    """The server that answers as told, by a name whose first address has died since it was looked up."""
    scripted.script = [Reaction((answer(200, b'{"success":true,"data":{"worker_id":"wrk_1","accepted":true}}'),))]
    return msgspec.structs.replace(scripted.target, address=DEAD, further=("127.0.0.1",))


async def test_a_connection_is_made_to_whichever_address_takes_it(half_dead: Target, closed_port: int) -> None:
    async with sockets_closed_after():
        async with ControlConnection(half_dead, None) as connection:
            assert (await connection.request("GET", "/health", {}, rooted=True)).status == 200
        with pytest.raises(OSError, match="refused"):
            await connected_socket(half_dead, None, closed_port)


async def test_a_shard_tries_the_next_address_and_stays_with_it(half_dead: Target) -> None:
    shard = ShardUnderTest(half_dead)
    machine = shard.machine()
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        shard.shard.resume(machine)
        await until(lambda: shard.progress.accepted > 2)
    assert (shard.progress.connect_failures, shard.progress.lost) == (0, 0)
    assert shard.history.troubles == []


async def test_a_shard_counts_a_failure_only_where_no_address_takes_it(half_dead: Target, closed_port: int) -> None:
    shard = ShardUnderTest(msgspec.structs.replace(half_dead, port=closed_port))
    machine = shard.machine()
    async with sockets_closed_after(), shard.running():
        shard.shard.resume(machine)
        await until(lambda: shard.progress.connect_failures == 1)
    assert shard.history.troubles[0].what == "connecting"
