"""Waiting for what nobody tells: other processes, and plain counters, set no event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen before it calls it lost; nothing waits this long when all is well."""
POLL_SECONDS = 0.005


async def until(
    held: Callable[[], object], *, seconds_max: float = PATIENCE_SECONDS, poll_seconds: float = POLL_SECONDS
) -> None:
    """Wait until something holds. Raises trio.TooSlowError after so long."""
    with trio.fail_after(seconds_max):
        while not held():  # noqa: ASYNC110 - nothing sets an event
            await trio.sleep(poll_seconds)
