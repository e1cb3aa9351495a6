"""Moments at which a server waits for an answer from disk or Redis, when a fault is most likely to show bugs."""

from __future__ import annotations

import trio

BUSY_SHARE, BUSY_MOMENTS, BUSY_SECONDS = 0.7, 6, 0.5
"""The share of faults that wait for such a moment, up to which one they wait, and for how long at most."""


class Moments:
    """Notifies waiting faults of such moments."""

    def __init__(self) -> None:
        self._came = trio.Event()

    def come(self) -> None:
        """Record that such a moment has come."""
        self._came.set()
        self._came = trio.Event()

    async def wait(self, count: int, seconds: float) -> None:
        """Wait until `count` moments have come, or for `seconds`."""
        with trio.move_on_after(seconds):
            for _ in range(count):
                await self._came.wait()
