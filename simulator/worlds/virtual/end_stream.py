"""An end of a connection as one of Trio's streams: for what waits under Trio."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from simulator.worlds.virtual.network import End

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RECEIVE_BUFFER_BYTES = 128 * 1024
"""What is kept for who does not read, besides what the sender keeps (`SEND_BUFFER_BYTES`)."""


class EndStream(trio.abc.HalfCloseableStream):
    """An end as one of Trio's streams."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._woken = trio.Event()
        self._sending = trio.StrictFIFOLock()
        end.look = self._wake

    def _wake(self, _events: int) -> None:
        self._woken.set()

    async def wait(self, events: int) -> None:
        """Wait until it is ready for one of these events."""
        self.end.events |= events
        while not self.end.ready & events and not (self.end.reset or self.end.closed):
            if self._woken.is_set():  # else another task waits for it as well
                self._woken = trio.Event()
            await self._woken.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Raises a resource error of Trio's."""
        async with self._sending:  # where others may go first, as everywhere that a task waits
            left = memoryview(data)
            while left:
                try:
                    left = left[self.end.send(left) :]
                except BlockingIOError:
                    await self.wait(WRITE)
                except OSError as error:
                    self._fail(error)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something may be sent."""
        await self.wait(WRITE)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what came; no bytes at the end. Raises a resource error of Trio's."""
        if self.end.ready & READ:
            await trio.lowlevel.checkpoint()
        while True:
            try:
                return self.end.recv(max_bytes or RECEIVE_BUFFER_BYTES)
            except BlockingIOError:
                await self.wait(READ)
            except OSError as error:
                self._fail(error)

    async def send_eof(self) -> None:
        """Send no more."""
        self.end.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close it now. Whoever waits for it goes on."""
        self.end.close()
        self._woken.set()

    async def aclose(self) -> None:
        """Close it."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _fail(self, error: OSError) -> None:
        if self.end.closed:
            raise trio.ClosedResourceError("this end was closed") from None
        raise trio.BrokenResourceError(f"the connection was broken: {error}") from error
