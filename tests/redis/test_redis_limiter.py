"""The rate limit that instances share: never more than it allows in any window, whoever is asked (contract §6)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.redis.limiter import SCRIPTS, RedisLimiter
from reference_server.adapters.redis.link import RedisLink
from reference_server.limits import REDIS_BATCH_MAX
from reference_server.settings import Settings
from reference_server.wire.units import SECOND_NS
from tests.support.patience import ASKS_AGAIN, IN_TIME, PATIENT_LINK
from tests.support.redis_servers import proxy_to, redis_server
from tests.support.tiers import SOAK
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.ports import LinkBounds
    from tests.support.redis_servers import RedisServer

REQUESTS = 1_000_000 if SOAK else 20_000
HOUR_SECONDS = 3600
SHORT_US = 600_000_000
SAME_CLOCK = 0.999
"""This process's monotonic clock and the time of Redis may run apart by half of the rest."""


@asynccontextmanager
async def limiter(
    port: int, most: int = 20, window_seconds: int = 1, bounds: LinkBounds = PATIENT_LINK
) -> AsyncIterator[RedisLimiter]:
    """Run one instance's limiter."""
    link = RedisLink("127.0.0.1", port, "", SCRIPTS, bounds)
    settings = Settings(redis_rate_limit_max_requests=most, redis_rate_limit_window_seconds=window_seconds)
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        await until(lambda: link.up)
        yield RedisLimiter(link, settings)
        nursery.cancel_scope.cancel()


async def move_back(redis: RedisServer, by_us: int) -> None:
    """Have all that client `c` was admitted be so much longer ago: that is waiting as long."""
    moments = (await redis.says("LRANGE", "hf:limit:c", "0", "-1")).split()
    await redis.says("DEL", "hf:limit:c")
    await redis.says("RPUSH", "hf:limit:c", *(str(int(moment) - by_us) for moment in moments))


async def test_what_is_refused_does_not_count() -> None:
    """A client that keeps asking gets its next request as soon as one that does not."""
    async with redis_server() as redis, limiter(redis.port, 1, HOUR_SECONDS) as a:
        assert await a.take(["c"]) == [0]
        (first_ns,) = await a.take(["c"])
        assert first_ns
        assert 0 not in await a.take(["c"] * 20)
        await move_back(redis, first_ns // 1000)
        assert await a.take(["c"]) == [0]


async def test_who_asks_all_the_time_is_let_through_once_the_window_is_over() -> None:
    async with redis_server() as redis, limiter(redis.port, 1, 1) as a:
        began = trio.current_time()
        assert await a.take(["c"]) == [0]
        with trio.fail_after(PATIENCE_SECONDS):
            while await a.take(["c"]) != [0]:
                pass
        assert trio.current_time() - began > SAME_CLOCK


async def test_the_wait_it_tells_is_when_the_next_request_passes() -> None:
    async with redis_server() as redis, limiter(redis.port, 2, HOUR_SECONDS) as a:
        assert await a.take(["c", "c"]) == [0, 0]
        (wait_ns,) = await a.take(["c"])
        assert wait_ns
        await move_back(redis, wait_ns // 1000 - SHORT_US)
        assert await a.take(["c"]) != [0]
        await move_back(redis, SHORT_US)
        assert await a.take(["c"]) == [0]


async def test_a_key_lives_no_longer_than_it_is_needed_and_holds_no_more_than_that() -> None:
    async with redis_server() as redis, limiter(redis.port, 5, HOUR_SECONDS) as a:
        assert [wait == 0 for wait in await a.take(["c"] * 7)] == [True] * 5 + [False] * 2
        await move_back(redis, 2 * HOUR_SECONDS * 1_000_000)
        assert await a.take(["c"] * 3) == [0] * 3
        assert await redis.says("LLEN", "hf:limit:c") == "5"
        lasts_ms = int(await redis.says("PTTL", "hf:limit:c"))
        assert (HOUR_SECONDS - PATIENCE_SECONDS) * 1000 < lasts_ms <= HOUR_SECONDS * 1000 + 1


async def test_a_lower_limit_of_a_restarted_server_holds_at_once() -> None:
    async with redis_server() as redis:
        async with limiter(redis.port, 10, HOUR_SECONDS) as a:
            assert await a.take(["c"] * 10) == [0] * 10
        async with limiter(redis.port, 3, HOUR_SECONDS) as b:
            assert await b.take(["c"]) != [0]
            assert await b.take(["d"] * 3) == [0] * 3


async def test_a_clock_set_back_locks_a_client_out_for_one_window_at_most() -> None:
    async with redis_server() as redis, limiter(redis.port, 2, 1) as a:
        seconds, _ = (await redis.says("TIME")).split()
        future_us = (int(seconds) + 3600) * 1_000_000
        await redis.says("RPUSH", "hf:limit:c", str(future_us))
        await redis.says("EXPIRE", "hf:limit:c", "3601")
        (wait_ns,) = await a.take(["c"])
        assert wait_ns == SECOND_NS
        with trio.fail_after(PATIENCE_SECONDS):
            while await a.take(["c"]) != [0]:
                pass
        assert int(await redis.says("LINDEX", "hf:limit:c", "-1")) < future_us - 1_000_000_000


async def test_a_batch_of_many_clients_is_answered_in_order() -> None:
    clients = [f"c{number}" for number in range(2 * REDIS_BATCH_MAX + 1)]
    async with redis_server() as redis, limiter(redis.port, 1, HOUR_SECONDS) as a:
        await a.take([clients[0], clients[-1]])
        waits = await a.take(clients)
        assert [at for at, wait in enumerate(waits) if wait != 0] == [0, len(clients) - 1]


async def test_a_lost_answer_lets_no_request_too_many_through() -> None:
    async with redis_server() as redis, proxy_to(redis) as proxy, limiter(proxy.port, 3, HOUR_SECONDS, ASKS_AGAIN) as a:
        proxy.lose = b"hf:limit:c"
        assert await a.take(["c", "c"]) == [0, pytest.approx(HOUR_SECONDS * SECOND_NS, rel=0.02)]


async def test_while_redis_is_down_nobody_can_tell_and_it_heals() -> None:
    async with redis_server() as redis, limiter(redis.port, bounds=IN_TIME) as a:
        redis.pause()
        assert await a.take(["c", "d"]) == [None, None]
        assert a.failures == 2
        redis.resume()
        with trio.fail_after(PATIENCE_SECONDS):
            while await a.take(["c"]) == [None]:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("window_seconds", [1, 10 if SOAK else 3])
async def test_no_window_ever_holds_more_than_it_admits_over_three_instances(window_seconds: int) -> None:
    """A request was admitted between its sending and its answer: those that lie wholly within a window must be few.

    Every client asks every instance far more often than it may, for longer than two windows of a second or one of some,
    and until it was let through as often as that: a busy machine may have nobody ask for a while.
    """
    most, askers, batch = 20, 6, [f"c{number % 25}" for number in range(100)]
    length_seconds = max(3.0, 1.2 * window_seconds)
    turns = REQUESTS // askers // len(batch)
    turn_seconds = length_seconds / turns
    admitted: dict[str, list[tuple[float, float]]] = {client: [] for client in batch}
    expected = most * int(length_seconds // window_seconds)

    async with (
        redis_server() as redis,
        limiter(redis.port, most, window_seconds) as a,
        limiter(redis.port, most, window_seconds) as b,
        limiter(redis.port, most, window_seconds) as c,
        trio.open_nursery() as nursery,
    ):
        nursery.cancel_scope.deadline = trio.current_time() + 2 * PATIENCE_SECONDS
        began = trio.current_time()

        async def ask(one: RedisLimiter, first: int) -> None:
            turned = batch[first:] + batch[:first]
            turn = -1
            while (turn := turn + 1) < turns or min(map(len, admitted.values())) < expected:
                await trio.sleep_until(began + turn * turn_seconds)
                sent = trio.current_time()
                waits = await one.take(turned)
                answered = trio.current_time()
                for client, wait in zip(turned, waits, strict=True):
                    if wait == 0:
                        admitted[client].append((sent, answered))

        for number in range(askers):
            nursery.start_soon(ask, (a, b, c)[number % 3], 7 * number)
    for spans in admitted.values():
        assert len(spans) >= expected
        for _, end in spans:
            within = [span for span in spans if span[1] <= end and span[0] > end - window_seconds * SAME_CLOCK]
            assert len(within) <= most
