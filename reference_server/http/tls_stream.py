"""A TLS connection for tasks of Trio: they wait for its socket."""

from __future__ import annotations

import socket as stdlib_socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import trio

if TYPE_CHECKING:
    from reference_server.http.tls_socket import TlsSocket

Result = TypeVar("Result")
Wait = Callable[[stdlib_socket.socket], Awaitable[None]]


class Waits(NamedTuple):
    """How a task waits until a socket can be read, or written: as Trio has it, or a world without sockets."""

    readable: Wait = trio.lowlevel.wait_readable
    writable: Wait = trio.lowlevel.wait_writable


OF_SOCKETS = Waits()


class TlsStream:
    """A connection whose socket does not block. Whatever fails raises trio.BrokenResourceError, a cut-off end too."""

    def __init__(self, socket: stdlib_socket.socket, tls: TlsSocket, waits: Waits = OF_SOCKETS) -> None:
        self._socket = socket
        self._waits = waits
        self._tls = tls
        self._receive: Callable[[int], bytes] = tls.receive

    async def _when_ready(self, act: Callable[[], Result], wait: Wait) -> Result:
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
            await self._waits.readable(self._socket)  # others are served between any two records
            done = await self._when_ready(self._tls.shake_hands, self._waits.readable)
            await self._when_ready(self._tls.flush, self._waits.writable)
        return self._tls.protocol

    async def receive_some(self, max_bytes: int) -> bytes:
        """Return what has come; nothing at the end."""
        return await self._when_ready(partial(self._receive, max_bytes), self._waits.readable)

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self._when_ready(partial(self._tls.send, rest), self._waits.writable) :]

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
