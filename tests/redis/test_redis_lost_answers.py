"""What must hold of shared nonces where answers of Redis are lost, late or not read in time (contract §4)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from reference_server.adapters.redis.nonces import nonce_name
from reference_server.limits import REDIS_WAIT_SECONDS
from reference_server.ports import Reservation
from tests.redis.instances import fails_closed, instance
from tests.support.patience import ASKS_AGAIN, IN_TIME, SOON_ANEW
from tests.support.redis_servers import EVERY_WRITE, Proxy, proxy_to, redis_server
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from tests.redis.instances import Instance

RESERVED, REPLAYED, UNAVAILABLE = Reservation.RESERVED, Reservation.REPLAYED, Reservation.UNAVAILABLE
RACING = msgspec.structs.replace(SOON_ANEW, wait_seconds=PATIENCE_SECONDS)
"""A lost answer may be one to the greeting of a connection, which is then soon made anew."""


async def test_an_answer_that_is_lost_does_not_make_a_genuine_heartbeat_a_replay() -> None:
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, bounds=ASKS_AGAIN) as a,
    ):
        proxy.lose = nonce_name("wrk_1", "n").encode()
        assert await a.reserve("n", "m", "n") == [RESERVED, RESERVED, REPLAYED]
        assert proxy.swallowed == 1
        assert await a.reserve("n", "m") == [REPLAYED, REPLAYED]


async def test_a_connection_that_breaks_before_the_answer_does_not_make_it_one_either() -> None:
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port) as a,
    ):
        proxy.cut = 1
        assert await a.reserve_one("n") is RESERVED
        assert proxy.cut == 0
        assert await a.reserve_one("n") is REPLAYED


@pytest.mark.parametrize("comes_back_to", ["a", "b"])
async def test_a_heartbeat_refused_because_every_answer_was_lost_may_come_again(comes_back_to: str) -> None:
    """Its nonce was reserved, but nothing came of it: it is given back as soon as there is a connection."""
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, "a", bounds=SOON_ANEW) as a,
        instance(redis.port, "b") as b,
    ):
        proxy.swallow = 1000
        assert await a.reserve("n", "n") == [UNAVAILABLE, UNAVAILABLE]
        with trio.fail_after(PATIENCE_SECONDS):  # on a busy machine Redis comes to it after it was given up
            while await redis.says("EXISTS", nonce_name("wrk_1", "n")) != "1":
                pass
        proxy.swallow = 0
        await until(lambda: a.nonces.sharing)
        assert await {"a": a, "b": b}[comes_back_to].heard("n") == [RESERVED]
        assert await a.heard("n") == [REPLAYED]


async def test_giving_back_never_frees_a_nonce_that_another_heartbeat_was_accepted_with() -> None:
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, "a", bounds=SOON_ANEW) as a,
        instance(redis.port, "b") as b,
    ):
        assert await b.reserve_one("n") is RESERVED
        proxy.swallow = 1000
        assert await a.reserve_one("n") is UNAVAILABLE
        proxy.swallow = 0
        await until(lambda: a.nonces.sharing)
        assert await a.heard("n") == [REPLAYED]
        assert await b.reserve_one("n") is REPLAYED


async def test_an_answer_that_this_process_was_too_busy_to_read_is_not_lost() -> None:
    async with redis_server() as redis, instance(redis.port, bounds=IN_TIME) as a:
        connection = a.link._connection

        async def be_busy() -> None:
            """Have the question go out, then let nobody run for longer than it may wait."""
            for _ in range(20):
                end = trio.current_time() + REDIS_WAIT_SECONDS + 0.05
                while trio.current_time() < end:
                    pass
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_busy)
            assert await a.reserve_one("n") is RESERVED
            nursery.cancel_scope.cancel()
        assert a.link._connection is connection
        assert await a.heard("n") == [REPLAYED]


async def test_what_a_hanging_redis_had_yet_to_read_does_not_take_effect_later() -> None:
    """The reservation lies in the socket that was given up; read after it was given back, it would burn the nonce."""
    async with redis_server() as redis, instance(redis.port, bounds=IN_TIME) as a:
        for turn in range(5):
            redis.pause()
            await fails_closed(a, f"n{turn}")
            redis.resume()
            await until(lambda: a.nonces.sharing)
            assert await a.heard(f"n{turn}") == [RESERVED]


async def test_what_was_still_on_its_way_to_redis_does_not_take_effect_later_either() -> None:
    """However late it arrives: the connection it was sent on is closed there, before its nonce is given back."""
    async with (
        redis_server() as redis,
        proxy_to(redis) as proxy,
        instance(proxy.port, bounds=SOON_ANEW) as a,
    ):
        assert await a.heard("n") == [RESERVED]
        proxy.hold = True
        assert await a.reserve_one("m") is UNAVAILABLE
        proxy.hold = False
        await until(lambda: a.nonces.sharing)
        await proxy.let_go()
        assert await redis.says("EXISTS", nonce_name("wrk_1", "m")) == "0"
        assert await a.heard("n", "m") == [REPLAYED, RESERVED]


async def test_reconnecting_after_a_restart_ends_nobody_elses_connection() -> None:
    """A new process numbers its connections from the start: what had a number in the old one is somebody else's."""
    async with redis_server(*EVERY_WRITE) as redis, instance(redis.port, "a") as a:
        assert await a.reserve_one("n") is RESERVED
        old_process = a.link._process
        await redis.kill()
        await fails_closed(a, "m")
        await redis.start()
        async with instance(redis.port, "b") as b:
            await until(lambda: a.link.up and b.link.up)
            assert a.link._process != old_process
            connection = b.link._connection
            a.link._given_up = [(old_process, number) for number in range(1000)]
            a.link.renew()
            await until(lambda: a.link.up)
            assert await b.reserve_one("m") is RESERVED
            assert b.link._connection is connection


async def test_copies_that_race_with_every_fault_are_accepted_once() -> None:
    """Eight copies a nonce, from three instances, through answers that are lost and connections that are cut."""
    accepted: dict[str, int] = {}
    faults = 0

    async def ask(one: Instance, names: list[str]) -> None:
        for name, reservation in zip(names, await one.heard(*names), strict=True):
            accepted[name] = accepted.get(name, 0) + (reservation is RESERVED)

    async def disturb(proxies: list[Proxy]) -> None:
        nonlocal faults
        while True:
            enough = len(accepted) + 25

            def more_were_asked(enough: int = enough) -> bool:
                return len(accepted) > enough

            await until(more_were_asked)
            proxy = proxies[faults % len(proxies)]
            if faults % 2:
                proxy.swallow = 1
            else:
                proxy.cut = 1
            faults += 1

    async with redis_server() as redis, AsyncExitStack() as stack:
        proxies = [await stack.enter_async_context(proxy_to(redis)) for _ in range(3)]
        instances = [
            await stack.enter_async_context(instance(proxy.port, name, bounds=RACING))
            for name, proxy in zip("abc", proxies, strict=True)
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(disturb, proxies)
            batch = 0
            while faults < 20:
                batch += 1
                async with trio.open_nursery() as copies:
                    for one in (instances * 3)[:8]:
                        copies.start_soon(ask, one, [f"n{batch}.{number}" for number in range(5)])
            nursery.cancel_scope.cancel()
    assert set(accepted.values()) == {1}
