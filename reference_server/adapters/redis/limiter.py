"""The rate limit of client addresses that several instances share through Redis (contract §6)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reference_server.adapters.redis.link import RedisDown, Script
from reference_server.limits import REDIS_BATCH_MAX
from reference_server.wire.exposition import Figure
from reference_server.wire.units import MICROSECOND_NS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.adapters.redis.link import RedisLink
    from reference_server.settings import Settings

_ADMIT = Script(Path(__file__).with_name("limiter.lua").read_text(encoding="utf-8"))
SCRIPTS = (_ADMIT,)


class RedisLimiter:
    """Admits a client's requests, never more than the settings allow in any window, over all instances.

    The window slides: fixed ones would let twice as many through around their border. A request whose answer was lost
    is asked about twice and may count twice, so that never too many are admitted.
    """

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._most = settings.redis_rate_limit_max_requests
        self._window_us = settings.redis_rate_limit_window_seconds * 1_000_000
        self.failures = 0

    async def take(self, clients: Sequence[str]) -> Sequence[int | None]:
        """Admit one request of each client in turn. Returns 0, or how many ns to wait, or None where Redis is down."""
        commands = [
            _ADMIT.call(
                [f"hf:limit:{client}" for client in clients[start : start + REDIS_BATCH_MAX]],
                [self._most, self._window_us],
            )
            for start in range(0, len(clients), REDIS_BATCH_MAX)
        ]
        try:
            answers = await self._link.ask(commands)
        except RedisDown:
            self.failures += len(clients)
            return [None] * len(clients)
        return [int(wait_us) * MICROSECOND_NS for answer in answers for wait_us in answer.split()]

    def figures(self) -> Sequence[Figure]:
        """Return what the metrics show of it."""
        return (
            Figure("hatchfarm_rate_limiter_up", "1 while the shared rate limit can be asked.", self._link.up),
            Figure(
                "hatchfarm_rate_limiter_failures",
                "Requests that the shared rate limit did not decide.",
                self.failures,
                counts=True,
            ),
        )
