"""A TLS connection for tasks of Trio: they wait while OpenSSL reads and writes the socket itself."""

from __future__ import annotations

import socket as stdlib_socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class TlsStream:
    """A connection whose socket does not block. Whatever fails raises trio.BrokenResourceError, a cut-off end too."""

    def __init__(self, socket: ssl.SSLSocket) -> None:
        self._socket = socket

    async def _when_ready(self, act: Callable[[], Result]) -> Result:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                return act()
            except (BlockingIOError, ssl.SSLWantReadError):
                await trio.lowlevel.wait_readable(self._socket)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError("TLS is broken") from error

    async def shake_hands(self) -> str | None:
        """Agree on keys. Return the protocol that was agreed on, if any was."""
        await self._when_ready(self._socket.do_handshake)
        return self._socket.selected_alpn_protocol()

    async def receive_some(self, max_bytes: int) -> bytes:
        """Return what has come; nothing at the end."""
        return await self._when_ready(partial(self._socket.recv, max_bytes))

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self._when_ready(partial(self._socket.send, rest)) :]

    async def send_eof(self) -> None:
        """End what is sent, and TLS with it: what is read from here on can only be thrown away."""
        try:
            self._socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()
