"""The rate limit that instances share, in memory: the twin of the one in Redis."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.memory.pauses import Pause, at_once
from reference_server.limits import REDIS_WAIT_SECONDS
from reference_server.ports import SharedDown
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.settings import Settings


class SharedWindows:
    """What is outside: when each client's last requests were admitted, by Trio's clock, which is everybody's here.

    While it is `down` no call reaches it.
    """

    def __init__(self, settings: Settings) -> None:
        self.down = False
        self._window_ns = settings.redis_rate_limit_window_seconds * SECOND_NS
        self._most = settings.redis_rate_limit_max_requests
        self._admitted: dict[str, deque[int]] = {}

    def take(self, client: str) -> int:
        """Admit one request of a client. Returns 0, or how many nanoseconds it has to wait."""
        now_ns = int(trio.current_time() * SECOND_NS)
        admitted = self._admitted.setdefault(client, deque(maxlen=self._most))
        if len(admitted) == self._most and (wait_ns := admitted[0] + self._window_ns - now_ns) > 0:
            return wait_ns
        admitted.append(now_ns)
        return 0


class MemoryLimiter:
    """`ports.RateLimiter` of one instance."""

    def __init__(self, shared: SharedWindows, pause: Pause = at_once) -> None:
        self._shared = shared
        self._pause = pause

    async def take(self, clients: Sequence[str]) -> Sequence[int | None]:
        """Admit one request of each client in turn, all in one step."""
        with suppress(SharedDown), trio.move_on_after(REDIS_WAIT_SECONDS):
            await self._pause()
            if not self._shared.down:
                waits = [self._shared.take(client) for client in clients]
                await self._pause()
                return waits
        return [None] * len(clients)
