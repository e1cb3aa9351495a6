"""The Redis of a virtual world: shared state by the in-memory twins, and its failures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from reference_server.adapters.memory.limiter import MemoryLimiter, SharedWindows
from reference_server.adapters.memory.nonces import FallbackNonces, MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.limits import REDIS_ATTEMPT_SECONDS
from reference_server.ports import SharedDown
from reference_server.wire.units import MICROSECOND_NS, MILLISECOND_NS
from simulator.limits import REDIS_UNSYNCED_SECONDS
from simulator.worlds.virtual.clocks import VirtualClock
from simulator.worlds.virtual.moments import BUSY_MOMENTS, BUSY_SECONDS, BUSY_SHARE, Moments

if TYPE_CHECKING:
    import numpy as np

    from reference_server.operations.api import Api
    from reference_server.ports import Clock, Entropy, SharedBounds
    from reference_server.settings import Settings
    from simulator.worlds.virtual.scheduling import JumpingClock

ADDRESS = "127.0.0.1:6379"
"""The address in the instances' settings; nothing connects there."""
LEAST_NS, MOST_NS = 50 * MICROSECOND_NS, (MILLISECOND_NS, 3 * MILLISECOND_NS, 6 * MILLISECOND_NS)
"""The delay of a request or an answer: the least, and the greatest in different worlds."""
SLOW_SHARE, SLOW_NS = 0.01, 20 * MILLISECOND_NS
"""The share of longer delays, and the greatest of those."""
OTHER_MOMENTS_SHARE = 0.1
"""The share of waits without a lease that count as moments for faults: there are far more of them than with one."""
DONE_SHARE = 0.5
"""The share of requests to a hanging Redis that were already executed."""


class VirtualRedis:
    """The store outside of all instances: a journal, nonces and rate limit windows. The first instance creates them.

    It can be down and keep all or most of its data, hang without answering until it resumes, or lose everything.
    """

    def __init__(self, clock: JumpingClock, rng: np.random.Generator) -> None:
        self._clock = VirtualClock(clock)
        self.wait = clock.wait
        self.moments = Moments()
        self.rng = rng
        self.most_ns = MOST_NS[int(rng.integers(len(MOST_NS)))]
        self._storage: SharedStorage | None = None
        self._nonces: SharedNonces | None = None
        self._windows: SharedWindows | None = None
        self.hangs: trio.Event | None = None
        """Set when it resumes; None while it does not hang."""

    def _made(self, settings: Settings) -> tuple[SharedStorage, SharedNonces, SharedWindows]:
        if self._storage is None or self._nonces is None or self._windows is None:
            self._storage, self._windows = SharedStorage(settings), SharedWindows(settings)
            self._nonces = self._storage.nonces = SharedNonces(settings, self._clock)
        return self._storage, self._nonces, self._windows

    def be_down(self, *, down: bool) -> None:
        """Stop answering, or answer again."""
        for one in (self._storage, self._nonces, self._windows):
            if one is not None:
                one.down = down

    async def _until_busy(self) -> None:
        """Wait, half of the time, until a process waits for an answer, while it holds the lease if there is one."""
        if self.rng.random() < BUSY_SHARE:
            await self.moments.wait(int(self.rng.integers(1, BUSY_MOMENTS + 1)), BUSY_SECONDS)

    async def hang(self) -> None:
        """Stop answering."""
        await self._until_busy()
        self.hangs = trio.Event()

    def go_on(self) -> None:
        """Resume answering."""
        if self.hangs is not None:
            self.hangs.set()
            self.hangs = None

    async def flush(self) -> None:
        """Lose all data."""
        await self._until_busy()
        if self._storage is not None and self._nonces is not None:
            self._storage.lose()
            self._nonces.forget(self._clock.now())

    async def fail(self) -> None:
        """Stop answering, and lose the writes of the last second."""
        await self._until_busy()
        self.be_down(down=True)
        if self._storage is not None and self._nonces is not None:
            self._storage.rewind(REDIS_UNSYNCED_SECONDS)
            self._nonces.forget(self._clock.now())

    @property
    def has_leases(self) -> bool:
        """Whether it holds a journal, which is changed under leases."""
        return self._storage is not None and bool(self._storage.term)

    def is_leased_to(self, name: str) -> bool:
        """Return whether a process holds the journal's lease now."""
        return self._storage is not None and self._storage.lease.startswith(f"{name}.")

    def connect(self, name: str, moments: Moments) -> RedisClient:
        """Return a process's connection."""
        return RedisClient(self, name, moments)

    def nonces_of(self, client: RedisClient, settings: Settings, *, fresh: bool) -> MemoryNonces:
        """Return a process's view of the nonces."""
        return MemoryNonces(self._made(settings)[1], client.pause, fresh=fresh)

    def fallback_of(self, client: RedisClient, settings: Settings, *, fresh: bool) -> FallbackNonces:
        """Return a process's view of the nonces with a fallback to its own memory."""
        return FallbackNonces(self._made(settings)[1], settings, self._clock.now(), client.pause, fresh=fresh)

    def limiter_of(self, client: RedisClient, settings: Settings) -> MemoryLimiter | None:
        """Return a process's view of the rate limit, or None if its settings do not share it."""
        return MemoryLimiter(self._made(settings)[2], client.pause) if settings.redis_rate_limit_enabled else None

    def journal_of(self, client: RedisClient, settings: Settings, bounds: SharedBounds) -> MemorySharedJournal:
        """Return a process's view of the journal."""
        return MemorySharedJournal(self._made(settings)[0], client.name, client.pause, bounds=bounds)


class RedisClient:
    """A process's connection to the virtual Redis, until the process is killed."""

    def __init__(self, redis: VirtualRedis, name: str, moments: Moments) -> None:
        self.name = name
        self._moments = moments
        self._redis = redis
        self._cut_off = False
        self._leased = False
        """Whether the process held the lease at its last request; only the answer tells it of the release."""
        self._broken_by: trio.Event | None = None
        self._asked: set[trio.lowlevel.Task] = set()
        """Tasks whose request was executed but not answered yet."""

    def cut_off(self) -> None:
        """Execute no more requests: the process is dead."""
        self._cut_off = True

    def share(self, api: Api, _entropy: Entropy, _clock: Clock, fresh: bool) -> None:  # noqa: FBT001 - as it is called
        """Share nonces, and the rate limit if the settings say so."""
        redis = self._redis
        limiter = redis.limiter_of(self, api.settings)
        nonces: MemoryNonces
        if api.settings.redis_nonce_fallback:
            nonces = fallback = redis.fallback_of(self, api.settings, fresh=fresh)
            api.share(fallback, limiter, (fallback.run,))
        else:
            nonces = redis.nonces_of(self, api.settings, fresh=fresh)
            api.share(nonces, limiter)
        api.state.extra_metrics.append(nonces.figures)

    def share_state(self, api: Api, _entropy: Entropy, _clock: Clock, bounds: SharedBounds) -> None:
        """Share all state, and the rate limit if the settings say so."""
        redis = self._redis
        api.share_state(redis.journal_of(self, api.settings, bounds), redis.limiter_of(self, api.settings))

    async def pause(self) -> None:
        """Wait for the delay of a request or an answer. Raises SharedDown in a dead process."""
        rng = self._redis.rng
        if not self._cut_off:
            leased = self._redis.is_leased_to(self.name)
            if leased or self._leased or not self._redis.has_leases:
                self._redis.moments.come()
            if leased or self._leased or rng.random() < OTHER_MOMENTS_SHARE:
                self._moments.come()
            self._leased = leased
            slow = rng.random() < SLOW_SHARE
            await self._redis.wait(int(rng.integers(LEAST_NS, SLOW_NS if slow else self._redis.most_ns)))
            await self._hang()
        if self._cut_off:
            raise SharedDown("this process has ended")

    async def _hang(self) -> None:
        """Wait while Redis hangs, with the request or with the answer to an executed one. Raises SharedDown.

        A process that waited in vain sends no more requests until Redis resumes: it has no connection.
        """
        hangs, task = self._redis.hangs, trio.lowlevel.current_task()
        done = task in self._asked
        self._asked.discard(task)
        if hangs is None:
            return
        if hangs is not self._broken_by:
            if not done and self._redis.rng.random() < DONE_SHARE:
                self._asked.add(task)
                return
            with trio.move_on_after(REDIS_ATTEMPT_SECONDS):
                await hangs.wait()
                return
            self._broken_by = hangs
        raise SharedDown("it does not answer")
