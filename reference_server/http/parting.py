"""Ending a connection so that its client sees the last answer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from reference_server.limits import LINGER_MAX_BYTES, LINGER_SECONDS

if TYPE_CHECKING:
    from trio import SocketStream

READ_BYTES = 65_536


async def part(stream: SocketStream) -> None:
    """End the answers, and read on for a moment."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_eof()
        await linger(stream)


async def linger(stream: SocketStream) -> None:
    """Read on for a moment: closing on unread bytes would take the last answer from the client."""
    dropped = 0
    with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError):
        while dropped < LINGER_MAX_BYTES and (data := await stream.receive_some(READ_BYTES)):
            dropped += len(data)
