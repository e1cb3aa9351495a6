"""Instances whose wall clocks are wrong, against a real Redis: no nonce twice, and nobody locked out for them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.redis.nonces import CANARY, nonce_name
from reference_server.limits import REDIS_CLOCK_OFF_SECONDS_MAX
from reference_server.ports import Reservation
from reference_server.wire.units import SECOND_NS
from tests.redis.instances import instance, make_older
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

DAY_SECONDS = 86_400
CLOSED_SECONDS = 181
SPAN_SECONDS = 75
LEEWAY_SECONDS = 60
"""So long a test may take from setting an instance's clock, which then stands still, to what is asked by it."""
RESERVED, REPLAYED, UNAVAILABLE = Reservation.RESERVED, Reservation.REPLAYED, Reservation.UNAVAILABLE


async def span_of(redis: RedisServer) -> int:
    """Return which span of time the clock of Redis is in."""
    return int((await redis.says("TIME")).split()[0]) // SPAN_SECONDS


@pytest.mark.parametrize("off_seconds", [-DAY_SECONDS, -601, 600 + LEEWAY_SECONDS, DAY_SECONDS])
async def test_an_instance_whose_clock_is_far_off_refuses_and_says_so_and_heals(
    off_seconds: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What Redis knows is a replay all the same; nothing of it is left behind, and others are not disturbed."""
    async with redis_server() as redis, instance(redis.port, "a") as a, instance(redis.port, "b") as b:
        assert await a.reserve_one("n") is RESERVED
        b.clock.advance(off_seconds)
        assert await b.reserve("n", "m") == [REPLAYED, UNAVAILABLE]
        assert not b.nonces.sharing
        assert [record for record in caplog.records if record.levelno == logging.WARNING]
        assert await a.reserve("m", "o") == [RESERVED, RESERVED]
        b.clock.advance(-off_seconds)
        assert await b.reserve("m", "p") == [REPLAYED, RESERVED]
        assert b.nonces.sharing


async def test_a_clock_ahead_within_what_is_allowed_has_its_nonces_kept_until_every_clock_is_past_them() -> None:
    """They are no part of the horizon before, so that nobody whose clock is right is refused for them."""
    async with redis_server() as redis, instance(redis.port, "a") as a, instance(redis.port, "b") as b:
        a.clock.advance(REDIS_CLOCK_OFF_SECONDS_MAX - 5)
        assert await a.reserve_one("ahead") is RESERVED
        lasts = int(await redis.says("TTL", nonce_name("wrk_1", "ahead")))
        assert lasts > 375 + REDIS_CLOCK_OFF_SECONDS_MAX - 180 - LEEWAY_SECONDS
        now = await span_of(redis)
        fields = (await redis.says("HKEYS", CANARY)).split()
        spans = [int(field[1:]) for field in fields if field.startswith("@")]
        assert min(spans) - now >= (REDIS_CLOCK_OFF_SECONDS_MAX - 180) // SPAN_SECONDS
        assert await b.reserve_one("right") is RESERVED


async def test_what_is_kept_for_a_later_span_does_not_keep_an_earlier_one_from_the_horizon() -> None:
    """A span that something was put into ahead of time is tidied as it begins, like any other."""
    async with redis_server() as redis, instance(redis.port, "a") as a:
        stamp_ns = a.clock.now().wall_ns
        assert await a.reserve_one("n", stamp_ns=stamp_ns) is RESERVED
        (span,) = [int(field[1:]) for field in (await redis.says("HKEYS", CANARY)).split() if field.startswith("@")]
        newest = await redis.says("HGET", CANARY, f"@{span}")
        # As it is when that span is over, and this one had a nonce put into it before it began.
        await redis.says("HSET", CANARY, f"@{span - 5}", newest)
        await redis.says("HSET", CANARY, "tidied", str(span - 1))
        await redis.says("DEL", nonce_name("wrk_1", "n"))
        assert await a.reserve_one("n", stamp_ns=stamp_ns) is Reservation.FORGOTTEN


async def test_an_epoch_that_a_wrong_clock_began_locks_nobody_out() -> None:
    async with (
        redis_server() as redis,
        instance(redis.port, "a", fresh=False) as a,
        instance(redis.port, "b", fresh=False) as b,
    ):
        a.clock.advance(DAY_SECONDS)
        await redis.says("FLUSHALL")
        assert await a.reserve_one("n") is UNAVAILABLE
        assert await b.reserve_one("n") is UNAVAILABLE
        await make_older(redis, CLOSED_SECONDS)
        b.clock.advance(CLOSED_SECONDS)
        assert await b.reserve_one("m") is RESERVED


async def test_after_a_flush_the_farthest_clock_says_from_when_on_it_is_safe() -> None:
    """The one that is ahead accepted a stamp that the one behind would take for new once its own window reaches it."""
    async with (
        redis_server() as redis,
        instance(redis.port, "a", fresh=False) as behind,
        instance(redis.port, "b", fresh=False) as ahead,
    ):
        ahead.clock.advance(300)
        stamp_ns = ahead.clock.now().wall_ns
        await redis.says("FLUSHALL")
        assert await behind.reserve_one("n") is UNAVAILABLE
        assert await ahead.reserve_one("n", stamp_ns=stamp_ns) is UNAVAILABLE
        await make_older(redis, CLOSED_SECONDS)
        behind.clock.advance(300)
        assert await behind.reserve_one("n", stamp_ns=stamp_ns) is Reservation.FORGOTTEN
        assert await behind.reserve_one("n", stamp_ns=stamp_ns + 91 * SECOND_NS) is RESERVED


async def test_a_clock_of_redis_that_was_set_back_closes_it_for_no_longer_than_twice_the_skew() -> None:
    async with redis_server() as redis, instance(redis.port, "a", fresh=False) as a:
        assert await a.reserve_one("n") is UNAVAILABLE
        await make_older(redis, -DAY_SECONDS)
        assert await a.reserve_one("n") is UNAVAILABLE
        await make_older(redis, CLOSED_SECONDS)
        a.clock.advance(CLOSED_SECONDS)
        assert await a.reserve_one("m") is RESERVED
