"""Waiting for what a child writes, which is given up when nobody waits for it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Written = TypeVar("Written")


async def until_written(wait: Callable[[], Written], give_up: Callable[[], None]) -> Written:
    """Return what `wait` does, in a thread. Where this is cancelled, `give_up` has it end soon, and nobody waits."""
    try:
        return await trio.to_thread.run_sync(wait, abandon_on_cancel=True)
    except trio.Cancelled:
        give_up()
        raise
