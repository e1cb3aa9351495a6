"""Instances of a server as far as Redis knows them: a store, its link, and a clock that the test sets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.redis.link import RedisLink
from reference_server.adapters.redis.nonces import CANARY, SCRIPTS, RedisNonces
from reference_server.limits import REDIS_UNWRITTEN_MAX
from reference_server.ports import NonceRequest, Reservation
from reference_server.settings import Settings
from tests.support.patience import PATIENT_LINK
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.ports import LinkBounds
    from tests.support.redis_servers import RedisServer


class Instance(NamedTuple):
    """One instance's nonces."""

    nonces: RedisNonces
    link: RedisLink
    clock: SetClock

    async def reserve(self, *names: str, worker: str = "wrk_1", stamp_ns: int | None = None) -> list[Reservation]:
        """Ask for nonces of one worker in one batch, stamped now unless said otherwise."""
        now = self.clock.now()
        stamp = now.wall_ns if stamp_ns is None else stamp_ns
        return list(await self.nonces.reserve([NonceRequest(worker, name, stamp, now) for name in names]))

    async def heard(self, *names: str) -> list[Reservation]:
        """Ask until Redis is heard in time, where an instance waits for it no longer than it is shipped to."""
        with trio.fail_after(PATIENCE_SECONDS):
            while Reservation.UNAVAILABLE in (reservations := await self.reserve(*names)):
                await trio.lowlevel.checkpoint()
        return reservations

    async def reserve_one(self, name: str, **how: Any) -> Reservation:
        """Ask for one nonce."""
        (reservation,) = await self.reserve(name, **how)
        return reservation


@asynccontextmanager
async def instance(
    port: int,
    name: str = "a",
    *,
    fresh: bool = True,
    password: str = "",
    bounds: LinkBounds = PATIENT_LINK,
    connects: bool = True,
    unwritten_max: int = REDIS_UNWRITTEN_MAX,
    **settings: Any,
) -> AsyncIterator[Instance]:
    """Run one instance against the Redis at a port; it is connected when this begins, or has tried once."""
    link = RedisLink("127.0.0.1", port, password, SCRIPTS, bounds)
    clock = SetClock(SystemClock().now())  # Redis has the time of this machine
    nonces = RedisNonces(
        link, Settings(**settings), SeededEntropy(name), clock, fresh=fresh, unwritten_max=unwritten_max
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        nursery.start_soon(nonces.run)
        if connects:
            await until(lambda: link.up)
        yield Instance(nonces, link, clock)
        nursery.cancel_scope.cancel()


async def fails_closed(one: Instance, name: str) -> float:
    """Ask for a nonce that nobody can tell anything about, and give how long it took, in seconds."""
    began = trio.current_time()
    assert await one.reserve_one(name) is Reservation.UNAVAILABLE
    return trio.current_time() - began


async def make_older(server: RedisServer, seconds: int) -> None:
    """Have the canary believe that its epoch began that much earlier."""
    made = int(await server.says("HGET", CANARY, "made"))
    assert await server.says("HSET", CANARY, "made", str(made - seconds)) == "0"
