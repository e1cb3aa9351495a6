"""What must hold of shared nonces while Redis dies, hangs or forgets (contract §4 and §6)."""

from __future__ import annotations

import pytest
import trio

from reference_server.adapters.redis.nonces import CANARY, nonce_name
from reference_server.ports import Reservation
from tests.redis.instances import fails_closed, instance, make_older
from tests.support.patience import IN_TIME
from tests.support.ports import free_port
from tests.support.redis_servers import EVERY_SECOND, EVERY_WRITE, MEMORY_ONLY, redis_server
from tests.support.waiting import PATIENCE_SECONDS, TURNS_MAX, TURNS_MIN, until

RESERVED, REPLAYED, UNAVAILABLE = Reservation.RESERVED, Reservation.REPLAYED, Reservation.UNAVAILABLE
TWICE_SKEW_SECONDS = 181
"""And the second in which it began: Redis is asked for whole ones."""
LEEWAY_SECONDS = 60
"""So long a test may take, whose epoch is made that much older at the end."""
FAIL_CLOSED_SECONDS = 0.25


async def test_a_redis_that_hangs_is_unavailable_in_time_and_heals_by_itself() -> None:
    async with redis_server() as redis, instance(redis.port, bounds=IN_TIME) as a:
        assert await a.heard("n") == [RESERVED]
        took_seconds = []
        for turn in range(TURNS_MAX):
            redis.pause()
            took_seconds += [await fails_closed(a, f"m{turn}"), await fails_closed(a, f"o{turn}")]
            redis.resume()
            await until(lambda: a.nonces.sharing)
            assert await a.heard("n") == [REPLAYED]
            in_time = min(took_seconds[::2]) <= FAIL_CLOSED_SECONDS
            at_once = min(took_seconds[1::2]) <= FAIL_CLOSED_SECONDS / 10
            if turn + 1 >= TURNS_MIN and in_time and at_once:
                break
        assert min(took_seconds[::2]) <= FAIL_CLOSED_SECONDS
        assert min(took_seconds[1::2]) <= FAIL_CLOSED_SECONDS / 10


async def test_a_redis_that_dies_is_unavailable_in_time() -> None:
    async with redis_server() as redis, instance(redis.port) as a:
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        took_seconds = [await fails_closed(a, f"m{turn}") for turn in range(TURNS_MAX)]
        assert min(took_seconds) <= FAIL_CLOSED_SECONDS / 10
        assert not a.nonces.sharing


async def test_a_redis_that_is_down_at_the_start_is_waited_for() -> None:
    async with redis_server() as redis:
        await redis.kill()
        async with instance(redis.port, connects=False) as a:
            await fails_closed(a, "n")
            await redis.start()
            await until(lambda: a.nonces.sharing)
            assert await a.reserve_one("n") is RESERVED


async def test_a_redis_that_kept_every_write_is_trusted_as_soon_as_it_is_back() -> None:
    async with redis_server(*EVERY_WRITE) as redis, instance(redis.port) as a:
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start()
        await until(lambda: a.nonces.sharing)
        assert await a.reserve("n", "m") == [REPLAYED, RESERVED]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (MEMORY_ONLY, MEMORY_ONLY),
        (EVERY_SECOND, EVERY_SECOND),
        (EVERY_SECOND, EVERY_WRITE),
        (EVERY_WRITE, MEMORY_ONLY),
    ],
    ids=["kept a copy", "kept all but the last second", "says only now that it keeps all", "kept all, reads a copy"],
)
async def test_a_redis_that_may_have_lost_nonces_is_not_trusted_for_twice_the_skew(
    first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """Even a killed process loses writes that it was to put into its file within the second."""
    async with redis_server(*first) as redis, instance(redis.port, "a") as a:
        assert await redis.says("SAVE") == "OK"  # what a Redis without a file of writes starts from
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start(*then)
        await until(lambda: a.link.up)
        assert RESERVED not in await a.reserve("n", "m")
        assert not a.nonces.sharing
        async with instance(redis.port, "b", fresh=False) as b:
            assert await b.reserve_one("m") is UNAVAILABLE
        await make_older(redis, TWICE_SKEW_SECONDS)
        a.clock.advance(TWICE_SKEW_SECONDS)
        assert await a.reserve_one("m") is RESERVED
        assert await a.reserve_one("m") is REPLAYED


async def test_a_copy_of_a_redis_that_kept_every_write_is_not_trusted_by_who_never_saw_it_either() -> None:
    """The canary in it says that every write was kept; but this Redis did not read them."""
    async with redis_server(*EVERY_WRITE) as redis:
        async with instance(redis.port, "a") as a:
            await make_older(redis, TWICE_SKEW_SECONDS)
            assert await redis.says("SAVE") == "OK"
            assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        await redis.start(*MEMORY_ONLY)
        assert await redis.says("HGET", CANARY, "durable") == "1"
        async with instance(redis.port, "b", fresh=False) as b:
            b.clock.advance(TWICE_SKEW_SECONDS)
            assert await b.reserve_one("n") is UNAVAILABLE


async def test_a_redis_that_had_a_replica_is_not_trusted_after_a_restart() -> None:
    """What comes back in its place may be the replica, which need not have had every write."""
    async with redis_server(*EVERY_WRITE) as redis, redis_server() as replica, instance(redis.port) as a:
        assert await replica.says("REPLICAOF", "127.0.0.1", str(redis.port)) == "OK"
        with trio.fail_after(PATIENCE_SECONDS):
            while await redis.says("HGET", CANARY, "durable") != "0":
                pass
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start()
        await until(lambda: a.link.up)
        assert await a.reserve_one("m") is UNAVAILABLE


async def test_a_flushed_redis_is_not_trusted_by_any_instance_for_twice_the_skew() -> None:
    async with (
        redis_server() as redis,
        instance(redis.port, "a") as a,
        instance(redis.port, "b") as b,
        instance(redis.port, "c") as c,
    ):
        assert await a.reserve_one("n") is RESERVED
        assert await redis.says("FLUSHALL") == "OK"
        for one in (a, b, c):
            assert await one.reserve("n", "m") == [UNAVAILABLE, UNAVAILABLE]
        await make_older(redis, TWICE_SKEW_SECONDS - LEEWAY_SECONDS)
        assert await b.reserve_one("n") is UNAVAILABLE
        await make_older(redis, LEEWAY_SECONDS)
        for one in (a, b, c):
            one.clock.advance(TWICE_SKEW_SECONDS)
        assert await c.reserve_one("n") is RESERVED
        assert await a.reserve_one("n") is REPLAYED


async def test_what_was_accepted_before_a_flush_stays_refused_though_clocks_step_back_after_it() -> None:
    async with redis_server() as redis, instance(redis.port) as a:
        stamp_ns = a.clock.now().wall_ns
        assert await a.reserve_one("n", stamp_ns=stamp_ns) is RESERVED
        assert await redis.says("FLUSHALL") == "OK"
        assert await a.reserve_one("n") is UNAVAILABLE
        await make_older(redis, TWICE_SKEW_SECONDS)
        assert await a.reserve_one("n", stamp_ns=stamp_ns) is Reservation.FORGOTTEN
        assert await a.reserve_one("m", stamp_ns=stamp_ns + 91 * 10**9) is RESERVED


async def test_a_flush_shows_while_nobody_asks() -> None:
    async with redis_server() as redis, instance(redis.port) as a:
        assert await redis.says("FLUSHALL") == "OK"
        await until(lambda: not a.nonces.sharing)


async def test_an_empty_redis_that_a_new_instance_serves_is_not_trusted_by_those_that_knew_it_full() -> None:
    async with redis_server() as redis, instance(redis.port, "a") as a:
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start()
        async with instance(redis.port, "new", fresh=True) as new:
            await until(lambda: a.link.up)
            assert await new.reserve_one("k", worker="wrk_new") is RESERVED
            assert await a.reserve_one("n") is UNAVAILABLE
            assert await new.reserve_one("l", worker="wrk_new") is RESERVED


async def test_a_redis_that_was_put_back_to_an_earlier_state_is_not_trusted() -> None:
    """As when a copy of it takes its place, canary and all."""
    async with redis_server() as redis, instance(redis.port) as a:
        assert await a.reserve_one("n") is RESERVED
        earlier = await redis.says("HGET", CANARY, "steps")
        assert await a.reserve_one("m") is RESERVED
        await redis.says("HSET", CANARY, "steps", earlier)
        assert await redis.says("DEL", nonce_name("wrk_1", "m")) == "1"
        assert await a.reserve("n", "m") == [REPLAYED, UNAVAILABLE]


async def test_a_redis_that_evicts_nonces_is_not_used() -> None:
    evicting = (*MEMORY_ONLY, "--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru")
    async with redis_server(*evicting) as redis, instance(redis.port, connects=False) as a:
        assert await a.reserve_one("n") is UNAVAILABLE
        assert await redis.says("CONFIG", "SET", "maxmemory-policy", "noeviction") == "OK"
        await until(lambda: a.nonces.sharing)
        assert await redis.says("CONFIG", "SET", "maxmemory-policy", "allkeys-random") == "OK"
        await until(lambda: not a.nonces.sharing)


async def test_a_node_of_a_redis_cluster_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    """A batch may span its slots, and what one node lost would not show on another."""
    bus = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    async with redis_server(*MEMORY_ONLY, *bus) as redis, instance(redis.port, connects=False) as a:
        assert await a.reserve_one("n") is UNAVAILABLE
    assert "node of a Redis Cluster" in caplog.text


async def test_a_redis_that_is_full_is_unavailable_and_heals() -> None:
    async with redis_server() as redis, instance(redis.port) as a:
        assert await redis.says("CONFIG", "SET", "maxmemory", "1") == "OK"
        assert await a.reserve_one("n") is UNAVAILABLE
        assert await redis.says("CONFIG", "SET", "maxmemory", "0") == "OK"
        await until(lambda: a.nonces.sharing)
        assert await a.reserve_one("n") is RESERVED


async def test_scripts_that_redis_has_dropped_are_loaded_again() -> None:
    async with redis_server() as redis, instance(redis.port) as a:
        assert await redis.says("SCRIPT", "FLUSH") == "OK"
        assert await a.reserve_one("n") is RESERVED


async def test_a_redis_that_shows_no_settings_serves_and_is_not_trusted_after_a_restart() -> None:
    """Whatever it still holds is known to be a replay; of all else nobody can tell."""
    hidden = (*EVERY_WRITE, "--rename-command", "CONFIG", "")
    async with redis_server(*hidden) as redis, instance(redis.port) as a:
        assert await a.reserve_one("n") is RESERVED
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start()
        await until(lambda: a.link.up)
        assert await a.reserve("n", "m") == [REPLAYED, UNAVAILABLE]


@pytest.mark.parametrize("given", ["the right one", "a wrong one", "none"])
async def test_the_password_opens_redis_and_is_never_logged(given: str, caplog: pytest.LogCaptureFixture) -> None:
    password = {"the right one": "open-sesame-42", "a wrong one": "open-sesame-43", "none": ""}[given]
    async with redis_server(*MEMORY_ONLY) as redis:
        await redis.says("CONFIG", "SET", "requirepass", "open-sesame-42")
        async with instance(redis.port, password=password, connects=given == "the right one") as a:
            expected = RESERVED if given == "the right one" else UNAVAILABLE
            assert await a.reserve_one("n") is expected
    assert "open-sesame" not in caplog.text
    assert ("down" in caplog.text) == (expected is UNAVAILABLE)
