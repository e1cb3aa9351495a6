"""What instances that share a state must be set to alike: money is made of it, and each of them decides by its own.

It stands in Redis for as long as any of them lives, who say it again and again; a little later nobody holds the next
one to it. So instances that are set otherwise find each other, and all of them may come back with other prices.
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.redis.link import RedisDown
from reference_server.limits import SHARED_SETTINGS_AGAIN_SECONDS, SHARED_SETTINGS_POLL_SECONDS, SHARED_SETTINGS_SECONDS
from reference_server.market_settings import MARKET_SETTINGS
from reference_server.ports import SharedDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.adapters.redis.link import RedisLink
    from reference_server.settings import Settings

KEY = "hf:state:settings"
_TTL_MS = int(SHARED_SETTINGS_SECONDS * 1000)
_ALIKE = {
    **{row.variable: row.field for row in MARKET_SETTINGS},
    "WORKER_STATUS_STALE_SECONDS": "stale_seconds",
}
"""By variable: prices, fees and limits of money, and until when what a worker does is billed."""


_log = logging.getLogger("hatchfarm")


class SharedMismatch(SharedDown):
    """Instances that share a journal are not set up alike. The message says what to do."""


class SettingsDiffer(SharedMismatch):
    """They are set otherwise than this one. `left_ms` is how long that stands unless one of them says it again."""

    def __init__(self, message: str, left_ms: int) -> None:
        super().__init__(message)
        self.left_ms = left_ms


class AlikeSettings:
    """What one instance must be set to as all others are. `run` is its background task."""

    def __init__(self, link: RedisLink, settings: Settings) -> None:
        self._link = link
        self._own = {variable: _text(getattr(settings, field)) for variable, field in _ALIKE.items()}
        self._stated = msgspec.json.encode(self._own, order="sorted")
        self._logged_trouble = ""

    async def look(self) -> None:
        """State it where nobody has. Raises SettingsDiffer where others have it otherwise, else SharedDown."""
        state = (b"SET", (KEY, self._stated, "NX", "PX", _TTL_MS))
        try:
            _, others, left_ms = await self._link.ask([state, (b"GET", (KEY,)), (b"PTTL", (KEY,))])
        except RedisDown as error:
            raise SharedDown(str(error)) from None
        if others is not None and (difference := self._difference(others)):
            raise SettingsDiffer(difference, left_ms)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """State it again and again, so that it stands while this instance lives."""
        task_status.started()
        while True:
            try:
                await self.look()
                await self._link.ask([(b"SET", (KEY, self._stated, "PX", _TTL_MS))])
                self._logged_trouble = ""
            except SettingsDiffer as error:
                if self._logged_trouble != str(error):
                    _log.error("%s", error)
                self._logged_trouble = str(error)
            except (SharedDown, RedisDown):
                pass  # whoever needs it now says so
            await trio.sleep(SHARED_SETTINGS_AGAIN_SECONDS)

    def _difference(self, stated: bytes) -> str:
        """Return in words what the others are set to otherwise; empty for nothing.

        What only one of them knows is of another version, and none of the other's business.
        """
        others = msgspec.json.decode(stated, type=dict[str, str])
        differing = [name for name, value in self._own.items() if others.get(name, value) != value]
        if not differing:
            return ""
        shown = ", ".join(f"{name} ({self._own[name]} here, {others[name]} there)" for name in differing)
        return (
            f"the instances that share this Redis have another {shown}: give all of them the same; to change it, stop "
            "all of them before any is started again"
        )


async def until_alike(look: Callable[[], Awaitable[object]]) -> None:
    """Look until nobody is set otherwise any more. Raises SettingsDiffer once one of those shows that it lives."""
    least_ms = _TTL_MS
    while True:
        try:
            await look()
        except SettingsDiffer as error:
            if error.left_ms > least_ms:
                raise
            least_ms = error.left_ms
            await trio.sleep(SHARED_SETTINGS_POLL_SECONDS)
        else:
            return


def _text(value: Any) -> str:
    """Return a value as it is compared: 0.01 and 0.010 are the same."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
