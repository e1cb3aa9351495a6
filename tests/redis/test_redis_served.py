"""Servers as processes of their own that share a Redis: what their clients and their metrics are told."""

from __future__ import annotations

import re
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.wire.values import Request
from tests.http.processes import environment, running
from tests.http.twins import API_TOKEN, written
from tests.redis.twin_server import twin
from tests.support.redis_servers import EVERY_WRITE, redis_server
from tests.support.tiers import SOAK
from tests.support.waiting import PATIENCE_SECONDS, TURNS_MAX, TURNS_MIN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.processes import Running
    from tests.http.serving import Client, Server
    from tests.http.twins import Machine

TWIN = (sys.executable, "-m", "tests.redis.twin_server")
NONCES = 100_000 if SOAK else 400
COPIES = 8
AT_ONCE = 50
SIGNED_AT_ONCE = 2_000
HEALTH = Request("GET", "/health")
METRICS = Request("GET", "/metrics", headers=(("authorization", f"Bearer {API_TOKEN}"),))
REFUSED_SECONDS = 0.25
NONCES_DOWN = '{"success":false,"error":"nonce backend unavailable"}'


@asynccontextmanager
async def instances(
    redis_port: int, count: int, *, in_time: bool = False, **settings: str
) -> AsyncIterator[list[tuple[Running, Server]]]:
    """Start instances that know the same machines and share that Redis; they wait for it with patience, or in time."""
    given = {"REDIS_ADDR": f"127.0.0.1:{redis_port}", **settings}
    async with AsyncExitStack() as stack:
        started = [
            await stack.enter_async_context(running((*TWIN, "in-time") if in_time else TWIN, given))
            for _ in range(count)
        ]
        yield [(one, await one.server()) for one in started]


def machines() -> list[Machine]:
    """Return the machines that every instance knows."""
    return twin(environment({}))[1]


def beat(machine: Machine, nonce: str) -> Request:
    """Make a heartbeat stamped now."""
    return machine.heartbeat(nonce, SystemClock().now().wall_ns)


async def figure(client: Client, name: str) -> float:
    """Read one number of the metrics."""
    answer = await client.ask(METRICS)
    match = re.search(rf"^{name} (\S+)$", answer.body.decode(), re.MULTILINE)
    assert match is not None, name
    return float(match[1])


async def heard(client: Client, request: Request) -> int:
    """Ask until Redis has been heard: on a busy machine its answer may come too late, which is a 503."""
    with trio.fail_after(PATIENCE_SECONDS):
        while (status := (await client.ask(request)).status) == 503:
            pass
    return status


async def _statuses(client: Client, requests: list[bytes]) -> list[int]:
    """Send heartbeats, some at a time without waiting for answers, and give what each was answered."""
    statuses = []
    for start in range(0, len(requests), AT_ONCE):
        chunk = requests[start : start + AT_ONCE]
        await client.send(b"".join(chunk))
        answered = [(await client.answer("POST")).status for _ in chunk]
        while 503 in answered:  # on a busy machine an answer of Redis may come too late
            at = answered.index(503)
            await client.send(chunk[at])
            answered[at] = (await client.answer("POST")).status
        statuses += answered
    return statuses


async def test_eight_copies_at_once_over_three_servers_are_accepted_once_and_refused_seven_times() -> None:
    known = machines()
    async with redis_server() as redis, instances(redis.port, 3) as servers, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(servers[copy % 3][1].client()) for copy in range(COPIES)]
        for start in range(0, NONCES, SIGNED_AT_ONCE):
            numbers = range(start, min(start + SIGNED_AT_ONCE, NONCES))
            requests = [written(beat(known[number % len(known)], f"nonce-{number}")) for number in numbers]
            answered: list[list[int]] = []

            async def ask(client: Client, requests: list[bytes], answered: list[list[int]]) -> None:
                answered.append(await _statuses(client, requests))

            async with trio.open_nursery() as nursery:
                for client in clients:
                    nursery.start_soon(ask, client, requests, answered)
            for statuses in zip(*answered, strict=True):
                assert sorted(statuses) == [200] + [401] * (COPIES - 1)
        replays = 'hatchfarm_worker_auth_failures_by_reason_total{reason="nonce_replayed"}'
        counted = [await figure(client, re.escape(replays)) for client in clients[:3]]
        assert sum(counted) == NONCES * (COPIES - 1)


async def _until_answered(client: Client, machine: Machine, status: int, name: str) -> None:
    """Send a fresh heartbeat after the other until one is answered so."""
    with trio.fail_after(PATIENCE_SECONDS):
        for turn in range(1_000_000):
            if (await client.ask(beat(machine, f"{name}-{turn}"))).status == status:
                return


async def test_a_hanging_redis_gets_heartbeats_503_in_time_and_nothing_else() -> None:
    machine = machines()[0]
    async with (
        redis_server() as redis,
        instances(redis.port, 1, in_time=True) as servers,
        servers[0][1].client() as client,
    ):
        assert await heard(client, beat(machine, "a")) == 200
        took_seconds = []
        for turn in range(TURNS_MAX):
            redis.pause()
            request = beat(machine, f"late-{turn}")
            began = trio.current_time()
            refused = await client.ask(request)
            took_seconds.append(trio.current_time() - began)
            assert (refused.status, refused.body.decode()) == (503, NONCES_DOWN)
            assert (await client.ask(HEALTH)).status == 200
            assert await figure(client, "hatchfarm_nonce_store_up") == 0
            redis.resume()
            await _until_answered(client, machine, 200, f"healed-{turn}")
            with trio.fail_after(PATIENCE_SECONDS):
                while await figure(client, "hatchfarm_nonce_store_up") != 1:
                    pass
            # The very heartbeat that was refused may come again: it was never accepted.
            assert await heard(client, request) == 200
            assert await heard(client, request) == 401
            if turn + 1 >= TURNS_MIN and min(took_seconds) <= REFUSED_SECONDS:
                break
        assert min(took_seconds) <= REFUSED_SECONDS


async def test_a_redis_that_is_down_at_boot_is_still_shared_once_it_is_there() -> None:
    machine = machines()[0]
    async with redis_server(*EVERY_WRITE) as redis:
        await redis.kill()
        async with instances(redis.port, 2) as servers, servers[0][1].client() as a, servers[1][1].client() as b:
            assert (await a.ask(beat(machine, "a"))).status == 503
            await redis.start()
            await _until_answered(a, machine, 200, "up")
            await _until_answered(b, machine, 200, "up too")
            request = beat(machine, "b")
            assert await heard(a, request) == 200
            assert await heard(b, request) == 401


async def test_a_flushed_redis_gets_every_heartbeat_503_replayed_or_not() -> None:
    machine = machines()[0]
    async with (
        redis_server() as redis,
        instances(redis.port, 2) as servers,
        servers[0][1].client() as a,
        servers[1][1].client() as b,
    ):
        request = beat(machine, "a")
        assert await heard(a, request) == 200
        assert await heard(b, beat(machine, "b")) == 200
        assert await redis.says("FLUSHALL") == "OK"
        for client in (a, b):
            assert (await client.ask(request)).status == 503
            assert (await client.ask(beat(machine, "c"))).status == 503


async def test_in_fallback_each_server_accepts_once_and_a_replay_is_refused_once_redis_is_back() -> None:
    machine = machines()[0]
    async with (
        redis_server(*EVERY_WRITE) as redis,
        instances(redis.port, 2, REDIS_NONCE_FALLBACK="true") as servers,
        servers[0][1].client() as a,
        servers[1][1].client() as b,
    ):
        assert await heard(a, beat(machine, "a")) == 200
        await redis.kill()
        request = beat(machine, "b")
        assert [(await a.ask(request)).status for _ in range(3)] == [200, 401, 401]
        assert await figure(a, "hatchfarm_nonce_fallbacks_total") == 3
        await redis.start()
        with trio.fail_after(PATIENCE_SECONDS):
            while await figure(a, "hatchfarm_nonce_store_up") + await figure(b, "hatchfarm_nonce_store_up") < 2:
                pass
        assert await heard(a, request) == 401
        assert await heard(b, request) == 401
        assert await figure(a, "hatchfarm_nonce_conflicts_total") == 0


LIMITED: dict[str, Any] = {
    "REDIS_RATE_LIMIT_ENABLED": "true",
    "REDIS_RATE_LIMIT_MAX_REQUESTS": "5",
    "REDIS_RATE_LIMIT_WINDOW_SECONDS": "3600",
}


async def test_one_rate_limit_holds_over_all_servers_and_says_when_to_come_again() -> None:
    machine = machines()[0]
    async with redis_server() as redis, instances(redis.port, 3, **LIMITED) as servers, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.client()) for _, server in servers]
        statuses = [(await clients[turn % 3].ask(HEALTH)).status for turn in range(3)]
        statuses += [(await clients[turn].ask(beat(machine, f"n{turn}"))).status for turn in range(3)]
        assert statuses == [200, 200, 200, 200, 200, 429]
        refused = await clients[0].ask(HEALTH)
        assert (refused.status, refused.body) == (429, b'{"success":false,"error":"rate limit exceeded"}')
        retry_after = refused.header("retry-after")
        assert retry_after is not None
        assert 3600 - PATIENCE_SECONDS <= int(retry_after) <= 3600
        options = await clients[1].ask(Request("OPTIONS", "/health"))
        assert options.status == 200


@pytest.mark.parametrize("fallback", ["true", "false"])
async def test_without_redis_the_rate_limit_is_the_servers_own_or_nobody_passes(fallback: str) -> None:
    settings = {**LIMITED, "REDIS_RATE_LIMIT_FALLBACK": fallback, "RATE_LIMIT_BURST": "8"}
    async with (
        redis_server() as redis,
        instances(redis.port, 1, **settings, RATE_LIMIT_REFILL_PER_SECOND="0.001") as servers,
        servers[0][1].client() as client,
    ):
        assert (await client.ask(HEALTH)).status == 200
        await redis.kill()
        answers = [await client.ask(HEALTH) for _ in range(9)]
        statuses = [answer.status for answer in answers]
        if fallback == "true":
            assert statuses == [200] * 8 + [429]
        else:
            assert statuses == [503] * 9
            assert answers[0].body == b'{"success":false,"error":"rate limiter unavailable"}'


async def test_pipelined_requests_are_answered_in_order_while_the_limit_is_shared() -> None:
    machine = machines()[0]
    settings = {**LIMITED, "REDIS_RATE_LIMIT_MAX_REQUESTS": "100"}
    async with (
        redis_server() as redis,
        instances(redis.port, 1, **settings) as servers,
        servers[0][1].client() as client,
    ):
        requests = [beat(machine, "a"), beat(machine, "a"), beat(machine, "b"), HEALTH, beat(machine, "c")]
        await client.send(b"".join(written(request) for request in requests))
        assert [(await client.answer()).status for _ in requests] == [200, 401, 200, 200, 200]


async def test_the_password_of_redis_is_in_no_output() -> None:
    async with redis_server() as redis:
        await redis.says("CONFIG", "SET", "requirepass", "open-sesame-42")
        async with instances(redis.port, 1, REDIS_PASSWORD="open-sesame-43") as servers:
            one, server = servers[0]
            async with server.client() as client:
                assert (await client.ask(beat(machines()[0], "a"))).status == 503
            assert await one.stop() == 0
            assert "down" in one.stderr.text
            assert "open-sesame" not in one.stderr.text + one.stdout.text
