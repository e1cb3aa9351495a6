"""Watching the harness's own health under Trio, in real time."""

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
    """Record the harness's health once a second and when cancelled; `ending` says that the run is over.

    `apart` marks a process that the run's own watch does not measure.
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
            # A process that stood still until the end of a run is woken by that end.
            health.woke(trio.current_time() - before)
            health.note()
