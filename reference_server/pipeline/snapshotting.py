"""Waiting for what a child writes, which is given up when nobody waits for it any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.ports import Journal, SharedJournal

Written = TypeVar("Written")


async def until_written(journal: Journal | SharedJournal, wait: Callable[[], Written]) -> Written:
    """Return what `wait` does, which this journal began. Where this is cancelled, it ends soon, and nobody waits."""
    try:
        return await journal.offload(wait, abandon_on_cancel=True)
    except trio.Cancelled:
        journal.end_snapshot()
        raise
