"""The moments at which a server has asked what is outside, and waits for the answer: where being cut off hurts most."""

from __future__ import annotations

import trio

BUSY_SHARE, BUSY_MOMENTS, BUSY_SECONDS = 0.7, 6, 0.5
"""How often a fault waits for one of the next such moments, and how long at most."""


class Moments:
    """Tells who waits for it that one has come."""

    def __init__(self) -> None:
        self._came = trio.Event()

    def come(self) -> None:
        """Note that one is here."""
        self._came.set()
        self._came = trio.Event()

    async def wait(self, count: int, seconds: float) -> None:
        """Wait until so many have come, or for so long."""
        with trio.move_on_after(seconds):
            for _ in range(count):
                await self._came.wait()
