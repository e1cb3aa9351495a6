"""A TLS connection for tasks of Trio: they wait for its socket."""

from __future__ import annotations

import socket as stdlib_socket
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.http.tls_socket import TlsSocket

Result = TypeVar("Result")


class TlsStream:
    """A connection whose socket does not block. Whatever fails raises trio.BrokenResourceError, a cut-off end too."""

    def __init__(self, socket: stdlib_socket.socket, tls: TlsSocket) -> None:
        self._socket = socket
        self._tls = tls
        self._receive: Callable[[int], bytes] = tls.receive

    async def _when_ready(
        self, act: Callable[[], Result], wait: Callable[[stdlib_socket.socket], Awaitable[None]]
    ) -> Result:
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                return act()
            except BlockingIOError:
                await wait(self._socket)
            except OSError as error:
                raise trio.BrokenResourceError("TLS is broken") from error

    async def shake_hands(self) -> str | None:
        """Agree on keys. Return the protocol that was agreed on, if any was."""
        done = False
        while not done:
            await trio.lowlevel.wait_readable(self._socket)  # others are served between any two records
            done = await self._when_ready(self._tls.shake_hands, trio.lowlevel.wait_readable)
            await self._when_ready(self._tls.flush, trio.lowlevel.wait_writable)
        return self._tls.protocol

    async def receive_some(self, max_bytes: int) -> bytes:
        """Return what has come; nothing at the end."""
        return await self._when_ready(partial(self._receive, max_bytes), trio.lowlevel.wait_readable)

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self._when_ready(partial(self._tls.send, rest), trio.lowlevel.wait_writable) :]

    async def send_eof(self) -> None:
        """End what is sent, and TLS with it: what is read from here on can only be thrown away."""
        try:
            self._socket.shutdown(stdlib_socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError("the client is gone") from error
        self._receive = self._socket.recv

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()
