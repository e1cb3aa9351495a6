"""Ending a connection so that its client sees the last answer."""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

import trio

from reference_server.limits import LINGER_MAX_BYTES, LINGER_SECONDS

READ_BYTES = 65_536


class Parted(Protocol):
    """A stream that is to end. It raises trio.BrokenResourceError once it cannot be used."""

    async def send_eof(self) -> None:
        """End what is sent."""

    async def receive_some(self, max_bytes: int, /) -> bytes | bytearray:
        """Return what has come; nothing at the end."""


async def part(stream: Parted) -> None:
    """End the answers, and read on for a moment."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await stream.send_eof()
        await linger(stream)


async def linger(stream: Parted) -> None:
    """Read on for a moment: closing on unread bytes would take the last answer from the client."""
    dropped = 0
    with trio.move_on_after(LINGER_SECONDS), suppress(trio.BrokenResourceError):
        while dropped < LINGER_MAX_BYTES and (data := await stream.receive_some(READ_BYTES)):
            dropped += len(data)
