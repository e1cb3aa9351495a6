"""An end of a connection as a Trio stream, for code that waits under Trio."""

from __future__ import annotations

import selectors
import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from simulator.worlds.virtual.network import End

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
RECEIVE_BUFFER_BYTES = 128 * 1024
"""The receive buffer of a stream, besides the sender's buffer (`SEND_BUFFER_BYTES`)."""


class EndStream(trio.abc.HalfCloseableStream):
    """An `End` as a Trio stream."""

    def __init__(self, end: End) -> None:
        self.end = end
        self._woken = trio.Event()
        self._sending = trio.StrictFIFOLock()
        end.look = self._wake

    def _wake(self, _events: int) -> None:
        self._woken.set()

    async def wait(self, events: int) -> None:
        """Wait until the end is ready for one of these events."""
        self.end.events |= events
        while not self.end.ready & events and not (self.end.reset or self.end.closed):
            if self._woken.is_set():  # otherwise another task waits as well
                self._woken = trio.Event()
            await self._woken.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of `data`. Raises Trio's resource errors."""
        async with self._sending:  # other tasks may run first, as at every wait
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
        """Return received bytes, or no bytes at the end. Raises Trio's resource errors."""
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
        """Send the end of the stream."""
        self.end.shutdown(socket.SHUT_WR)
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close the stream at once, and wake tasks that wait for it."""
        self.end.close()
        self._woken.set()

    async def aclose(self) -> None:
        """Close the stream."""
        self.close()
        await trio.lowlevel.checkpoint()

    def _fail(self, error: OSError) -> None:
        if self.end.closed:
            raise trio.ClosedResourceError("this end was closed") from None
        raise trio.BrokenResourceError(f"the connection was broken: {error}") from error
