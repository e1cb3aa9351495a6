"""Nonces that instances share, in memory: the twin of those in Redis."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.memory.pauses import Pause, at_once
from reference_server.adapters.nonce_figures import nonce_figures
from reference_server.core.nonces import NonceMemory, lasting_nonce_names
from reference_server.limits import (
    NONCES_MAX,
    REDIS_RECONNECT_PAUSE_SECONDS,
    REDIS_UNWRITTEN_MAX,
    REDIS_WAIT_SECONDS,
)
from reference_server.ports import NonceRequest, Reservation, SharedDown
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.ports import Clock
    from reference_server.settings import Settings
    from reference_server.wire.exposition import Figure
    from reference_server.wire.values import Instant


class SharedNonces:
    """What is outside: all nonces that were reserved by any instance. While it is `down` no call reaches it.

    It goes by a `clock` of its own, or else by those of who asks. Once it has forgotten anything nobody can tell what
    was accepted, until no replay of that can be in time any more. Nor can anybody tell of what was accepted before it
    was there, but who is `fresh` knows that it was nothing.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.down = False
        self._clock = clock
        self._ttl_ns, self._skew_ns = settings.nonce_ttl_seconds * SECOND_NS, settings.skew_seconds * SECOND_NS
        self._name = lasting_nonce_names(bytes(16))  # the same in every process
        self._workers: dict[str, int] = {}
        self._memory = NonceMemory(self._ttl_ns, self._skew_ns, NONCES_MAX)
        self._blind_until_ns = -1
        self._young_until_ns = -1 if clock is None else clock.now().monotonic_ns + 2 * self._skew_ns

    def forget(self, now: Instant) -> None:
        """Forget all, and who asks from now on finds that out, as by the canary in Redis."""
        self._memory = NonceMemory(self._ttl_ns, self._skew_ns, NONCES_MAX)
        self._blind_until_ns = now.monotonic_ns + 2 * self._skew_ns

    def is_whole(self, now: Instant, *, fresh: bool = True) -> bool:
        """Return whether all that may still be replayed is known here."""
        return now.monotonic_ns >= (self._blind_until_ns if fresh else max(self._blind_until_ns, self._young_until_ns))

    def is_whole_now(self, *, fresh: bool) -> bool:
        """Return whether it is up and whole; whether it is whole only a clock of its own can tell."""
        return not self.down and (self._clock is None or self.is_whole(self._clock.now(), fresh=fresh))

    def remember(self, request: NonceRequest) -> Reservation:
        """Reserve one nonce, whether or not others were forgotten."""
        now = self.now(request)
        self._memory.expire(now)
        worker = self._workers.setdefault(request.worker_id, len(self._workers))
        return self._memory.reserve(self._name(worker, request.nonce), request.timestamp_ns, now)

    def reserve(self, request: NonceRequest, *, fresh: bool = True) -> Reservation:
        """Reserve one nonce, now, and see in the same step that none was forgotten. Where one was none is kept."""
        if self.is_whole(self.now(request), fresh=fresh):
            return self.remember(request)
        name = self._name(self._workers.get(request.worker_id, -1), request.nonce)
        known = any(name in generation.nonces for generation in self._memory.dump())
        return Reservation.REPLAYED if known else Reservation.UNAVAILABLE

    def now(self, request: NonceRequest) -> Instant:
        """Return the moment of a request."""
        return request.now if self._clock is None else self._clock.now()


class MemoryNonces:
    """`ports.NonceStore` of one instance. One that is `fresh` has accepted nothing before."""

    def __init__(self, shared: SharedNonces, pause: Pause = at_once, *, fresh: bool = True) -> None:
        self._shared = shared
        self._fresh = fresh
        self._pause = pause
        self._answered = True
        """Whether the last that was asked was answered."""
        self._unheard: set[tuple[str, str]] = set()
        """Nonces that were reserved for this instance, which was not told."""
        self._unwritten: list[NonceRequest] = []
        self._fallbacks = self._conflicts = 0

    @property
    def sharing(self) -> bool:
        """Return whether nonces are now reserved outside: it answers, and knows all that it has to."""
        return self._answered and self._shared.is_whole_now(fresh=self._fresh)

    def figures(self) -> Sequence[Figure]:
        """Return what the metrics show of it."""
        return nonce_figures(
            sharing=self.sharing,
            owed=len(self._unwritten),
            fallbacks=self._fallbacks,
            conflicts=self._conflicts,
        )

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, all in one step."""
        reservations = await self._ask(asked)
        self._unheard.clear()  # it accepts nothing that it was not told
        return [Reservation.UNAVAILABLE] * len(asked) if reservations is None else reservations

    async def _ask(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation] | None:
        """Return what came of it; None where there was no answer in time."""
        with suppress(SharedDown), trio.move_on_after(REDIS_WAIT_SECONDS):
            await self._pause()
            if not self._shared.down:
                reservations = [self._shared.reserve(request, fresh=self._fresh) for request in asked]
                reserved = {(one.worker_id, one.nonce) for one in _reserved(asked, reservations)}
                self._unheard |= reserved
                await self._pause()
                self._unheard -= reserved
                self._answered = True
                return reservations
        self._answered = False
        return None


class FallbackNonces(MemoryNonces):
    """The same of an instance that goes on by its own memory while nothing answers (`REDIS_NONCE_FALLBACK`).

    What it accepts alone is written back before it asks again; `run` does that. One that is not `fresh` begins without
    what it had accepted before, and refuses by itself what might be of it.
    """

    def __init__(
        self,
        shared: SharedNonces,
        settings: Settings,
        now: Instant,
        pause: Pause = at_once,
        *,
        fresh: bool,
        unwritten_max: int = REDIS_UNWRITTEN_MAX,
    ) -> None:
        super().__init__(shared, pause, fresh=fresh)
        self._unwritten_max = unwritten_max
        self._own = SharedNonces(settings)
        if not fresh:
            self._own.forget(now)
        self._alone = False

    @property
    def sharing(self) -> bool:
        """Return whether nonces are now reserved outside, and not here."""
        return super().sharing and not self._alone

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn: in one step outside, or here."""
        reservations = None if self._alone else await self._ask(asked)
        if reservations is None:
            self._alone = True
            reservations = [self._reserve_alone(request) for request in asked]
        else:
            for request in _reserved(asked, reservations):
                self._own.remember(request)
        return reservations

    def _reserve_alone(self, request: NonceRequest) -> Reservation:
        self._fallbacks += 1
        if len(self._unwritten) >= self._unwritten_max:
            return Reservation.UNAVAILABLE
        reservation = self._own.reserve(request)
        if reservation is Reservation.RESERVED:
            self._unwritten.append(request)
        return reservation

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look while it is alone whether it need not be any more."""
        task_status.started()
        while True:
            await trio.sleep(REDIS_RECONNECT_PAUSE_SECONDS)
            while self._alone and await self._write_back():
                self._alone = bool(self._unwritten)  # more may have been accepted meanwhile

    async def _write_back(self) -> bool:
        """Tell what was accepted alone; return whether there was an answer."""
        with suppress(SharedDown), trio.move_on_after(REDIS_WAIT_SECONDS):
            await self._pause()
            if not self._shared.down:
                for one in self._unwritten:
                    own = (one.worker_id, one.nonce) in self._unheard
                    self._conflicts += self._shared.remember(one) is Reservation.REPLAYED and not own
                self._unwritten = []
                self._unheard.clear()
                await self._pause()
                self._answered = True
                return True
        return False


def _reserved(asked: Sequence[NonceRequest], reservations: Sequence[Reservation]) -> list[NonceRequest]:
    return [one for one, got in zip(asked, reservations, strict=True) if got is Reservation.RESERVED]
