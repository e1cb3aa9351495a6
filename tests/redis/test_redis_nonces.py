"""What must hold of nonces that instances share, while Redis does what it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.redis.nonces import CANARY, nonce_name
from reference_server.ports import Reservation
from tests.redis.instances import instance, make_older
from tests.support.redis_servers import redis_server
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from tests.redis.instances import Instance

RESERVED, REPLAYED = Reservation.RESERVED, Reservation.REPLAYED
UNAVAILABLE, FORGOTTEN = Reservation.UNAVAILABLE, Reservation.FORGOTTEN
TWICE_SKEW_SECONDS = 181
"""And the second in which it began: Redis is asked for whole ones."""
LEEWAY_SECONDS = 60
"""So long a test may take, whose epoch is made that much older at the end."""


async def test_keys_are_named_as_the_contract_says_and_expire_after_the_time_to_live() -> None:
    """With a quarter of it to spare, in which the newest stamp among them is put into the horizon."""
    async with redis_server() as redis, instance(redis.port) as a:
        await a.reserve_one("n")
        assert nonce_name("wrk_1", "n") == "hf:nonce:{wrk_1}:n"
        assert 300 < int(await redis.says("TTL", "hf:nonce:{wrk_1}:n")) <= 375
        assert await redis.says("TTL", CANARY) == "-1"


async def test_an_instance_that_starts_without_machines_serves_an_empty_redis_at_once() -> None:
    """It can be asked to accept nothing that was accepted before."""
    async with redis_server() as redis, instance(redis.port, fresh=True) as a:
        assert await a.reserve_one("n") is RESERVED
        assert a.nonces.sharing


async def test_an_instance_with_machines_waits_twice_the_skew_before_it_trusts_an_empty_redis() -> None:
    async with redis_server() as redis, instance(redis.port, fresh=False) as a:
        assert await a.reserve_one("n") is UNAVAILABLE
        assert not a.nonces.sharing
        await make_older(redis, TWICE_SKEW_SECONDS - LEEWAY_SECONDS)
        assert await a.reserve_one("n") is UNAVAILABLE
        await make_older(redis, LEEWAY_SECONDS)
        a.clock.advance(TWICE_SKEW_SECONDS)
        assert await a.reserve_one("n") is RESERVED
        assert a.nonces.sharing


async def test_an_instance_that_restarts_beside_a_redis_that_did_not_serves_at_once() -> None:
    async with redis_server() as redis:
        async with instance(redis.port, "a") as a:
            assert await a.reserve_one("n") is RESERVED
        await make_older(redis, TWICE_SKEW_SECONDS)
        async with instance(redis.port, "a again", fresh=False) as again:
            again.clock.advance(TWICE_SKEW_SECONDS)
            assert await again.reserve_one("n") is REPLAYED
            assert await again.reserve_one("m") is RESERVED


@pytest.mark.parametrize("asked_of", ["the same instance", "another instance", "one that has restarted since"])
async def test_what_may_have_been_forgotten_is_refused_by_its_stamp_though_clocks_step_back(asked_of: str) -> None:
    """The nonce has expired, and the wall clock says that its heartbeat is in time: only the horizon can refuse it."""
    async with redis_server() as redis, instance(redis.port, "a") as a:
        stamp_ns = a.clock.now().wall_ns
        assert await a.reserve_one("n", stamp_ns=stamp_ns) is RESERVED
        fields = (await redis.says("HKEYS", CANARY)).split()
        (span,) = [int(field[1:]) for field in fields if field.startswith("@")]
        newest = await redis.says("HGET", CANARY, f"@{span}")
        # As it is once all of that span has expired.
        await redis.says("HSET", CANARY, f"@{span - 5}", newest)
        await redis.says("HDEL", CANARY, f"@{span}")
        await redis.says("DEL", nonce_name("wrk_1", "n"))
        async with instance(redis.port, "b") as b:
            asked = b if asked_of == "another instance" else a
            if asked_of == "one that has restarted since":
                await asked.reserve_one("something else", stamp_ns=stamp_ns + 1_000_000)
                asked = b
            assert await asked.reserve_one("n", stamp_ns=stamp_ns) is FORGOTTEN
            assert await asked.reserve_one("m", stamp_ns=stamp_ns) is FORGOTTEN
            assert await asked.reserve_one("m", stamp_ns=stamp_ns + 1_000_000) is RESERVED


async def test_a_span_whose_nonces_have_not_all_expired_is_not_in_the_horizon() -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while not await _keeps_a_span_of_four_before():
            pass


async def _keeps_a_span_of_four_before() -> bool:
    """See that such a span is not in the horizon. Return whether no other one began meanwhile, to which it is five."""
    async with redis_server() as redis, instance(redis.port, "a") as a:
        assert await a.reserve_one("n") is RESERVED
        fields = (await redis.says("HKEYS", CANARY)).split()
        (span,) = [int(field[1:]) for field in fields if field.startswith("@")]
        await redis.says("HSET", CANARY, f"@{span - 4}", await redis.says("HGET", CANARY, f"@{span}"))
        await redis.says("HDEL", CANARY, f"@{span}")
        reservation = await a.reserve_one("m")
        fields = (await redis.says("HKEYS", CANARY)).split()
        if f"@{span}" not in fields:
            return False
        assert reservation is RESERVED
        assert f"@{span - 4}" in fields
        return True


async def test_nonces_that_expire_in_real_time_are_never_accepted_again() -> None:
    """With a life of one second: a nonce is asked for again and again, until Redis has dropped it and longer."""
    async with redis_server() as redis, instance(redis.port, nonce_ttl_seconds=1) as a:
        assert await a.reserve_one("n") is RESERVED
        answers = []
        with trio.fail_after(PATIENCE_SECONDS):
            while FORGOTTEN not in answers:
                answers.append(await a.reserve_one("n"))
        assert RESERVED not in answers


async def test_eight_copies_of_each_nonce_at_once_over_three_instances_are_accepted_once() -> None:
    names = [f"n{number}" for number in range(1000)]
    async with (
        redis_server() as redis,
        instance(redis.port, "a") as a,
        instance(redis.port, "b") as b,
        instance(redis.port, "c") as c,
        trio.open_nursery() as nursery,
    ):
        accepted = dict.fromkeys(names, 0)

        async def ask(one: Instance, shift: int) -> None:
            turned = names[shift:] + names[:shift]
            for start in range(0, len(turned), 40):
                chunk = turned[start : start + 40]
                for name, reservation in zip(chunk, await one.reserve(*chunk), strict=True):
                    accepted[name] += reservation is RESERVED

        for copy in range(8):
            nursery.start_soon(ask, (a, b, c)[copy % 3], copy * 7)
    assert set(accepted.values()) == {1}
