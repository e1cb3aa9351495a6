"""`REDIS_NONCE_FALLBACK`: an instance goes on alone while Redis is down, and tells it afterwards (contract §6)."""

from __future__ import annotations

import msgspec
import pytest

from reference_server.adapters.redis.nonces import nonce_name
from reference_server.limits import REDIS_BATCH_MAX
from reference_server.ports import Reservation
from tests.redis.instances import instance
from tests.support.patience import IN_TIME, SOON_ANEW
from tests.support.redis_servers import EVERY_WRITE, proxy_to, redis_server
from tests.support.waiting import until

RESERVED, REPLAYED, UNAVAILABLE = Reservation.RESERVED, Reservation.REPLAYED, Reservation.UNAVAILABLE
AT_ONCE = msgspec.structs.replace(IN_TIME, wait_seconds=0.001)


async def test_alone_an_instance_accepts_a_nonce_once_and_counts_what_it_decided_alone() -> None:
    async with redis_server() as redis, instance(redis.port, redis_nonce_fallback=True) as a:
        await redis.kill()
        assert await a.reserve("n", "m", "n") == [RESERVED, RESERVED, REPLAYED]
        assert await a.reserve_one("m") is REPLAYED
        assert a.nonces.fallbacks == 4
        assert a.nonces.unwritten == 2
        assert not a.nonces.sharing


async def test_what_it_accepted_while_sharing_is_a_replay_when_it_is_alone() -> None:
    async with (
        redis_server() as redis,
        instance(redis.port, redis_nonce_fallback=True, bounds=IN_TIME) as a,
    ):
        assert await a.reserve_one("n") is RESERVED
        redis.pause()
        assert await a.reserve("n", "m") == [REPLAYED, RESERVED]
        redis.resume()


@pytest.mark.parametrize("fault", ["killed", "hanging"])
async def test_what_it_accepted_alone_is_written_back_before_it_shares_again(fault: str) -> None:
    async with (
        redis_server(*EVERY_WRITE) as redis,
        instance(redis.port, "a", redis_nonce_fallback=True, bounds=IN_TIME) as a,
        instance(redis.port, "b") as b,
    ):
        assert await a.reserve_one("before") is RESERVED
        if fault == "killed":
            await redis.kill()
        else:
            redis.pause()
        names = [f"n{number}" for number in range(2 * REDIS_BATCH_MAX + 1)]
        assert set(await a.reserve(*names)) == {RESERVED}
        if fault == "killed":
            await redis.start()
        else:
            redis.resume()
        await until(lambda: a.nonces.sharing and b.nonces.sharing)
        assert a.nonces.unwritten == 0
        assert set(await b.reserve(*names, "before")) == {REPLAYED}
        assert set(await a.reserve(*names, "before")) == {REPLAYED}
        assert await a.reserve_one("after") is RESERVED
        assert a.nonces.conflicts == 0


async def test_writing_back_that_breaks_off_is_begun_again() -> None:
    async with (
        redis_server(*EVERY_WRITE) as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, "a", redis_nonce_fallback=True) as a,
        instance(redis.port, "b") as b,
    ):
        await redis.kill()
        names = [f"n{number}" for number in range(REDIS_BATCH_MAX + 10)]
        assert set(await a.reserve(*names)) == {RESERVED}
        proxy.refuse = f"{nonce_name('wrk_1', names[-1])}\r\n".encode()
        await redis.start()
        await until(lambda: a.nonces.sharing and b.nonces.sharing)
        assert proxy.refuse == b""
        assert set(await b.reserve(*names)) == {REPLAYED}
        assert a.nonces.conflicts == 0


async def test_what_two_instances_accepted_alone_is_counted_as_a_conflict_by_one() -> None:
    async with (
        redis_server(*EVERY_WRITE) as redis,
        instance(redis.port, "a", redis_nonce_fallback=True) as a,
        instance(redis.port, "b", redis_nonce_fallback=True) as b,
    ):
        await redis.kill()
        assert await a.reserve("n", "m") == [RESERVED, RESERVED]
        assert await b.reserve("n") == [RESERVED]
        await redis.start()
        await until(lambda: a.nonces.sharing and b.nonces.sharing)
        assert a.nonces.conflicts + b.nonces.conflicts == 1


async def test_what_it_accepted_alone_is_written_into_a_redis_that_forgot_everything_too() -> None:
    """Which is then not trusted, fallback or not: only a Redis that is down is done without."""
    async with redis_server() as redis, instance(redis.port, redis_nonce_fallback=True) as a:
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        assert await a.reserve_one("m") is RESERVED
        await redis.start()
        await until(lambda: a.link.up)
        assert await redis.says("EXISTS", nonce_name("wrk_1", "m")) == "1"
        assert await a.reserve("m", "n", "o") == [REPLAYED, UNAVAILABLE, UNAVAILABLE]


async def test_a_nonce_whose_answer_was_lost_is_accepted_alone_and_stays_reserved() -> None:
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, "a", redis_nonce_fallback=True, bounds=SOON_ANEW) as a,
        instance(redis.port, "b") as b,
    ):
        proxy.swallow = 1000
        assert await a.reserve_one("n") is RESERVED
        proxy.swallow = 0
        await until(lambda: a.nonces.sharing)
        assert await b.reserve_one("n") is REPLAYED
        assert a.nonces.conflicts == 0


async def test_an_instance_with_machines_accepts_nothing_alone_that_may_have_been_accepted_before_it_started() -> None:
    async with redis_server() as redis:
        await redis.kill()
        async with instance(redis.port, fresh=False, connects=False, redis_nonce_fallback=True) as a:
            skew_ns = 90 * 10**9
            began_ns = a.clock.now().wall_ns
            assert await a.reserve_one("n", stamp_ns=began_ns + skew_ns) is UNAVAILABLE
            a.clock.advance(1)
            assert await a.reserve_one("n", stamp_ns=began_ns + skew_ns + 1) is RESERVED


async def test_what_may_be_accepted_alone_is_bounded() -> None:
    async with redis_server() as redis, instance(redis.port, redis_nonce_fallback=True, unwritten_max=2) as a:
        await redis.kill()
        assert await a.reserve("n", "m", "o", "p") == [RESERVED, RESERVED, UNAVAILABLE, UNAVAILABLE]
        a.clock.advance(301)
        assert await a.reserve_one("q") is RESERVED
        assert a.nonces.unwritten == 1


async def test_one_that_was_left_alone_just_as_redis_came_back_shares_again() -> None:
    """As when the last answer before a connection was lost, and the next connection was greeted in between."""
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, redis_nonce_fallback=True, bounds=AT_ONCE) as a,
    ):
        proxy.swallow = 1
        assert await a.reserve_one("n") is RESERVED
        await until(lambda: a.nonces.sharing)
        assert await redis.says("EXISTS", nonce_name("wrk_1", "n")) == "1"
