"""What a suite of a port needs to make its instances: in memory, and over a real Redis."""

from __future__ import annotations

import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.limiter import MemoryLimiter, SharedWindows
from reference_server.adapters.memory.nonces import MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.adapters.redis import journal as redis_journal
from reference_server.adapters.redis import limiter as redis_limiter
from reference_server.adapters.redis import nonces as redis_nonces
from reference_server.adapters.redis.journal import RedisJournal
from reference_server.adapters.redis.limiter import RedisLimiter
from reference_server.adapters.redis.link import RedisLink
from reference_server.adapters.redis.nonces import RedisNonces
from reference_server.settings import Settings
from tests.support.patience import PATIENT, PATIENT_LINK
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.ports import NonceStore, RateLimiter, SharedJournal

SETTINGS = Settings(redis_rate_limit_max_requests=3, redis_rate_limit_window_seconds=60)
INSTANCES = ("a", "b")
ELECTION_SECONDS = 0.05
OUTSIDES = ("memory", "redis")
SCRIPTS = (*redis_nonces.SCRIPTS, *redis_journal.SCRIPTS, *redis_limiter.SCRIPTS)


@asynccontextmanager
async def links() -> AsyncIterator[list[RedisLink]]:
    """Start a Redis, and connect each instance to it."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        nursery = await stack.enter_async_context(trio.open_nursery())
        connected = []
        for _ in INSTANCES:
            link = RedisLink("127.0.0.1", redis.port, "", SCRIPTS, PATIENT_LINK)
            await nursery.start(link.run)
            await until(lambda link=link: link.up)  # type: ignore[misc]
            connected.append(link)
        yield connected
        nursery.cancel_scope.cancel()


def skip_without_redis(outside: str) -> None:
    """Skip what needs a program that is not there."""
    if outside == "redis" and shutil.which("redis-server") is None:
        pytest.skip("needs redis-server (Debian: redis-server)")


@pytest.fixture(params=OUTSIDES)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[list[NonceStore]]:
    """Two instances' stores of the same nonces."""
    skip_without_redis(request.param)
    if request.param == "memory":
        shared = SharedNonces(SETTINGS)
        yield [MemoryNonces(shared) for _ in INSTANCES]
        return
    async with links() as connected:
        clock = SystemClock()
        yield [
            RedisNonces(link, SETTINGS, SeededEntropy(name), clock, fresh=True)
            for name, link in zip(INSTANCES, connected, strict=True)
        ]


@pytest.fixture(params=OUTSIDES)
async def limiters(request: pytest.FixtureRequest) -> AsyncIterator[list[RateLimiter]]:
    """Two instances' limiters of the same clients, who may ask three times a minute."""
    skip_without_redis(request.param)
    if request.param == "memory":
        shared = SharedWindows(SETTINGS)
        yield [MemoryLimiter(shared) for _ in INSTANCES]
        return
    async with links() as connected:
        yield [RedisLimiter(link, SETTINGS) for link in connected]


@pytest.fixture(params=OUTSIDES)
async def journals(request: pytest.FixtureRequest) -> AsyncIterator[list[SharedJournal]]:
    """Two instances' views of the same journal, of which there is nothing yet. Elections are short."""
    skip_without_redis(request.param)
    if request.param == "memory":
        storage = SharedStorage(SETTINGS, ELECTION_SECONDS)
        yield [MemorySharedJournal(storage, name, bounds=PATIENT) for name in INSTANCES]
        return
    async with links() as connected:
        clock = SystemClock()
        made = [
            RedisJournal(
                link,
                SETTINGS,
                SeededEntropy(name),
                clock,
                "alike",
                election_seconds=ELECTION_SECONDS,
                bounds=PATIENT,
            )
            for name, link in zip(INSTANCES, connected, strict=True)
        ]
        for journal, link in zip(made, connected, strict=True):
            await journal.nonces._look(link.ask)  # as its background task does once a second
        yield [*made]
