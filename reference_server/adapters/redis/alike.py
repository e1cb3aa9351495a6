"""What instances that share a state must be set to alike: money is made of it, and each of them decides by its own.

It stands in Redis for as long as any of them lives, who say it again and again; a little later nobody holds the next
one to it. So instances that are set otherwise find each other, and all of them may come back with other prices. One
that could not say it for so long, and finds others with other prices when it goes on, decides nothing beside them.
"""

from __future__ import annotations

import math
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from reference_server.adapters.redis.link import RedisDown, Script
from reference_server.limits import (
    SHARED_LEASE_SECONDS,
    SHARED_SETTINGS_AGAIN_SECONDS,
    SHARED_SETTINGS_POLL_SECONDS,
    SHARED_SETTINGS_SECONDS,
)
from reference_server.market_settings import MARKET_SETTINGS
from reference_server.ports import SharedDown, SharedLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.adapters.redis.link import RedisLink
    from reference_server.settings import Settings

KEY = "hf:state:settings"
SAY = Script((Path(__file__).parent / "alike_say.lua").read_text(encoding="utf-8"))
_TTL_MS = int(SHARED_SETTINGS_SECONDS * 1000)
_NO_MONEY = frozenset({"AGENT_REGISTRATION", "FORUM_POSTS_PER_HOUR"})
"""Of the market's settings those that no money depends on: instances may be given others one after the other."""
_ALIKE = {
    **{row.variable: row.field for row in MARKET_SETTINGS if row.variable not in _NO_MONEY},
    "WORKER_STATUS_STALE_SECONDS": "stale_seconds",
}
"""By variable: prices, fees and limits of money, what jobs and withdrawals wait for, and until when work is billed."""


class SharedMismatch(SharedDown):
    """Instances that share a journal are not set up alike. The message says what to do."""


class SettingsDiffer(SharedMismatch):
    """They are set otherwise than this one. `stated` is what they said: each time that they say it, it is another."""

    def __init__(self, message: str, stated: bytes) -> None:
        super().__init__(message)
        self.stated = stated


class _Stated(msgspec.Struct):
    """What stands in Redis: what the one that said it last is set to, and how often it has said so."""

    settings: dict[str, str]
    times: int


class AlikeSettings:
    """What one instance must be set to as all others are. `run` is its background task."""

    def __init__(
        self, link: RedisLink, settings: Settings, again_seconds: float = SHARED_SETTINGS_AGAIN_SECONDS
    ) -> None:
        self._link = link
        self._again_seconds = again_seconds
        self._own = {variable: _text(getattr(settings, field)) for variable, field in _ALIKE.items()}
        self._times = 0
        self._stands_until = -math.inf
        self._differs = False

    def require(self) -> None:
        """Raise SharedLost where others had it otherwise when it was looked last."""
        if self._differs:
            raise SharedLost("other instances are set otherwise")

    async def confirm(self) -> None:
        """Say it before anything is decided, if what was said last may have gone before that would be appended.

        Raises SharedLost where others have it otherwise, else SharedDown.
        """
        if trio.current_time() >= self._stands_until:
            try:
                await self._say()
            except SettingsDiffer as error:
                raise SharedLost(str(error)) from None

    async def look(self) -> bytes:
        """State it where nobody has. Return what stands there then.

        Raises SettingsDiffer where others have it otherwise, else SharedDown.
        """
        state = (b"SET", (KEY, self._encoded(), "NX", "PX", _TTL_MS))
        try:
            _, stated = await self._link.ask([state, (b"GET", (KEY,))])
        except RedisDown as error:
            raise SharedDown(str(error)) from None
        difference = "" if stated is None else self._difference(stated)
        self._differs = difference != ""
        if difference:
            raise SettingsDiffer(difference, stated)
        return b"" if stated is None else stated

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """State it again and again, so that it stands while this instance lives."""
        task_status.started()
        while True:
            with suppress(SharedDown):  # whoever needs it now says so
                await self._say()
            await trio.sleep(self._again_seconds)

    async def _say(self) -> None:
        """Say it once more, unless others have it otherwise. Raises as `look` does."""
        stands = False
        while not stands:  # each time that it does not, another has just said the same
            stated = await self.look()
            asked = trio.current_time()
            try:
                (answer,) = await self._link.ask([SAY.call([KEY], [stated, self._encoded(), _TTL_MS])])
            except RedisDown as error:
                raise SharedDown(str(error)) from None
            stands = answer == 1
        self._stands_until = asked + SHARED_SETTINGS_SECONDS - SHARED_LEASE_SECONDS

    def _encoded(self) -> bytes:
        self._times += 1
        return msgspec.json.encode(_Stated(self._own, self._times))

    def _difference(self, stated: bytes) -> str:
        """Return in words what the others are set to otherwise; empty for nothing.

        What only one of them knows is of another version, and none of the other's business.
        """
        try:
            others = msgspec.json.decode(stated, type=_Stated).settings
        except (ValueError, RecursionError):
            return f"what stands in this Redis under {KEY} cannot be read: a version that is not known here wrote it"
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
    first = b""
    while True:
        try:
            await look()
        except SettingsDiffer as error:
            if first and error.stated != first:
                raise
            first = error.stated
            await trio.sleep(SHARED_SETTINGS_POLL_SECONDS)
        else:
            return


def _text(value: Any) -> str:
    """Return a value as it is compared: 0.01 and 0.010 are the same."""
    return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
