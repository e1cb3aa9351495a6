"""How long what is outside takes, in twins that have no outside: each call pauses before its one step, and after it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

Result = TypeVar("Result")
Pause = Callable[[], Awaitable[object]]
"""Waits for as long as a request, or its answer, is under way. A checkpoint is the shortest; a world draws its own."""


async def at_once() -> None:
    """Take no time, but let others run."""
    await trio.lowlevel.checkpoint()


async def offloaded(pause: Pause, call: Callable[[], Result], *, abandon_on_cancel: bool) -> Result:
    """Make a call between two pauses; once begun it is waited for, as a thread is, unless it may be abandoned."""
    with trio.CancelScope(shield=not abandon_on_cancel):
        await pause()
        result = call()
        await pause()
        return result
    raise AssertionError("a shielded call was cancelled")
