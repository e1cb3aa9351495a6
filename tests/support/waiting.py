"""Waiting for what nobody tells: other processes, and plain counters, set no event."""

from __future__ import annotations

import time
from threading import Event
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 60.0
"""How long a test waits for what must happen before it calls it lost; nothing waits this long when all is well."""
POLL_SECONDS = 0.005
TURNS_MIN, TURNS_MAX = 3, 40
"""How often something is tried that must be quick: one turn that is shows how long is waited. A busy machine may hold
up any of them, and hardly all."""


async def until(
    held: Callable[[], object], *, seconds_max: float = PATIENCE_SECONDS, poll_seconds: float = POLL_SECONDS
) -> None:
    """Wait until something holds. Raises trio.TooSlowError after so long."""
    with trio.fail_after(seconds_max):
        while not held():  # noqa: ASYNC110 - nothing sets an event
            await trio.sleep(poll_seconds)


def until_blocking(held: Callable[[], object], seconds_max: float, *, poll_seconds: float = 0.1) -> None:
    """Wait until something holds, where there is no event loop. Raises TimeoutError after so long."""
    end = time.monotonic() + seconds_max
    while not held():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds_max:g} s")
        Event().wait(poll_seconds)
