"""Nonces that instances share, in memory: the twin of those in Redis."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.memory.pauses import Pause, at_once
from reference_server.core.nonces import NonceMemory, lasting_nonce_names
from reference_server.limits import NONCES_MAX, REDIS_WAIT_SECONDS
from reference_server.ports import NonceRequest, Reservation, SharedDown
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.settings import Settings


class SharedNonces:
    """What is outside: all nonces that were reserved by any instance. While it is `down` no call reaches it."""

    def __init__(self, settings: Settings) -> None:
        self.down = False
        ttl_ns, skew_ns = settings.nonce_ttl_seconds * SECOND_NS, settings.skew_seconds * SECOND_NS
        self._memory = NonceMemory(ttl_ns, skew_ns, NONCES_MAX)
        self._name = lasting_nonce_names(bytes(16))  # the same in every process
        self._workers: dict[str, int] = {}

    def reserve(self, request: NonceRequest) -> Reservation:
        """Reserve one nonce, now."""
        self._memory.expire(request.now)
        worker = self._workers.setdefault(request.worker_id, len(self._workers))
        return self._memory.reserve(self._name(worker, request.nonce), request.timestamp_ns, request.now)


class MemoryNonces:
    """`ports.NonceStore` of one instance."""

    def __init__(self, shared: SharedNonces, pause: Pause = at_once) -> None:
        self._shared = shared
        self._pause = pause

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Reserve each nonce in turn, all in one step."""
        with suppress(SharedDown), trio.move_on_after(REDIS_WAIT_SECONDS):
            await self._pause()
            if not self._shared.down:
                reservations = [self._shared.reserve(request) for request in asked]
                await self._pause()
                return reservations
        return [Reservation.UNAVAILABLE] * len(asked)
