"""Threads for what blocks. Nothing else of the server starts one, so an API with memory twins by itself has none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


async def offload(call: Callable[[], Result], *, abandon_on_cancel: bool = False) -> Result:
    """Return what a call returns that blocks, from a thread; with `abandon_on_cancel` nobody waits once cancelled."""
    return await trio.to_thread.run_sync(call, abandon_on_cancel=abandon_on_cancel)
