"""Watching how the harness itself does under Trio, in real time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from simulator.worlds.own_health import LAG_PROBE_SECONDS, OwnHealth

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.worlds.progress import Progress


async def watch_generator(
    history: History, progress: Progress, now: Callable[[], int], *, ending: bool = False, apart: bool = False
) -> None:
    """Once a second, and when cancelled, record how the harness itself is doing; `ending` says that its run is over.

    `apart` is a process that the run's own watch does not measure.
    """
    health = OwnHealth(history, now, lambda: (progress.dropped_starts, progress.held_up), ending=ending, apart=apart)
    while True:
        health.begin()
        before = trio.current_time()
        try:
            while health.seconds < 1:
                before = trio.current_time()
                await trio.sleep(LAG_PROBE_SECONDS)
                health.woke(trio.current_time() - before)
        finally:
            # What stood still until the end of a run is woken by its end.
            health.woke(trio.current_time() - before)
            health.note()
