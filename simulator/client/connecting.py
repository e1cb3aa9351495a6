"""Connections to a target over sockets under Trio: to whichever of its addresses takes one first (RFC 8305 §5)."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import trio

from simulator.client.resolving import ATTEMPT_DELAY_SECONDS
from simulator.client.target import bound_socket
from simulator.client.witness import waiting_bytes

if TYPE_CHECKING:
    from simulator.client.network import Network
    from simulator.client.target import Target

RESET_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: closing sends RST instead of FIN."""


async def connected_socket(
    target: Target, source: str | None, port: int, receive_buffer_bytes: int = 0
) -> trio.socket.SocketType:
    """Return a socket that is connected from a source. Raises OSError, of the last address, where none takes it.

    `receive_buffer_bytes` bounds what the kernel keeps for who does not read; 0 leaves it as it is.
    """
    if not target.further:
        return await _connect(target, source, target.address, port, receive_buffer_bytes)
    errors: list[OSError] = []
    made: list[trio.socket.SocketType] = []

    async def attempt(address: str, failed: trio.Event, nursery: trio.Nursery) -> None:
        try:
            made.append(await _connect(target, source, address, port, receive_buffer_bytes))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in target.addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed, nursery)
                with trio.move_on_after(ATTEMPT_DELAY_SECONDS):
                    await failed.wait()
    except BaseException:
        for sock in made:
            sock.close()
        raise
    for late in made[1:]:
        late.close()
    if not made:
        raise errors[-1]
    return made[0]


async def _connect(
    target: Target, source: str | None, address: str, port: int, receive_buffer_bytes: int
) -> trio.socket.SocketType:
    plain = bound_socket(target, source, address)
    if receive_buffer_bytes:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    sock = trio.socket.from_stdlib_socket(plain)
    try:
        await sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    return sock


class Sockets:
    """The network that this machine is in (`Network`)."""

    async def connect(
        self, target: Target, source: str | None, port: int, receive_buffer_bytes: int = 0
    ) -> trio.abc.HalfCloseableStream:
        """Connect a socket. Raises OSError."""
        return trio.SocketStream(await connected_socket(target, source, port, receive_buffer_bytes))

    def waiting(self, stream: trio.abc.HalfCloseableStream) -> bytes | None:
        """Read what waits in a socket."""
        return waiting_bytes(_socket_of(stream).fileno())

    def close(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Close a socket."""
        _socket_of(stream).close()

    def break_off(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Have closing a socket send a reset."""
        _socket_of(stream).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)


def _socket_of(stream: trio.abc.HalfCloseableStream) -> trio.socket.SocketType:
    if not isinstance(stream, trio.SocketStream):
        raise TypeError(f"{type(stream).__name__} is no socket's")
    return stream.socket


SOCKETS = Sockets()


def network_of(target: Target) -> Network:
    """Return what a target is reached through."""
    return target.network or SOCKETS
