"""One way of a connection through a network that delays: each part leaves so long after it came, in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from simulator.limits import PROXY_HELD_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable


class DelayedStream:
    """Passes parts on to a stream, in a task of its own while something is delayed.

    `broken` is called where that task finds that the stream is.
    """

    def __init__(
        self, stream: trio.abc.HalfCloseableStream, nursery: trio.Nursery, broken: Callable[[], object]
    ) -> None:
        self._stream = stream
        self._nursery = nursery
        self._broken = broken
        self._parts: deque[tuple[float, bytes, bool]] = deque()
        """When each is due, no bytes for the end; and whether it is dropped if its sender hangs up before."""
        self._held_bytes = 0
        self._sent = trio.Event()
        self._sending = False

    async def send(self, part: bytes, delay_seconds: float, *, droppable: bool = False) -> None:
        """Pass on a part, or the end, after its delay; returns at once, but where too much is held already.

        Raises a resource error of Trio's.
        """
        if not self._parts and delay_seconds <= 0:
            await self._pass_on(part)
            return
        due = trio.current_time() + delay_seconds
        if self._parts:
            due = max(due, self._parts[-1][0])
        while self._held_bytes >= PROXY_HELD_MAX_BYTES:
            await self._wait()
        self._parts.append((due, part, droppable))
        self._held_bytes += len(part)
        if not self._sending:
            self._sending = True
            self._nursery.start_soon(self._send_held)

    def drop(self) -> None:
        """Forget what was held for a sender that has hung up."""
        self._parts = deque(one for one in self._parts if not one[2])
        self._held_bytes = sum(len(part) for _, part, _ in self._parts)

    async def sent(self) -> None:
        """Wait until nothing is held."""
        while self._parts:
            await self._wait()

    async def _wait(self) -> None:
        self._sent = trio.Event()
        await self._sent.wait()

    async def _send_held(self) -> None:
        try:
            while self._parts:
                first = self._parts[0]
                await trio.sleep_until(first[0])
                if not self._is_next(first):
                    continue
                await self._pass_on(first[1])
                if self._is_next(first):
                    self._parts.popleft()
                    self._held_bytes -= len(first[1])
                self._sent.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            self._broken()
        finally:
            self._sending = False

    def _is_next(self, part: tuple[float, bytes, bool]) -> bool:
        """Return whether a part is still held: it may have been dropped meanwhile."""
        return bool(self._parts) and self._parts[0] is part

    async def _pass_on(self, part: bytes) -> None:
        if part:
            await self._stream.send_all(part)
        else:
            await self._stream.send_eof()
