"""What a target is reached through: sockets, or a network that a world has to itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio

    from simulator.client.target import Target


class Network(Protocol):
    """Opens connections, and knows what a stream does not tell of them. All of it is plain: TLS comes on top."""

    async def connect(
        self, target: Target, source: str | None, port: int, receive_buffer_bytes: int = 0
    ) -> trio.abc.HalfCloseableStream:
        """Return a connection from a source to a port of a target. Raises OSError where none is taken.

        `receive_buffer_bytes` bounds what is kept for who does not read; 0 leaves it as it is.
        """

    def waiting(self, stream: trio.abc.HalfCloseableStream) -> bytes | None:
        """Return what waits on a connection at rest: None for nothing, no bytes when it was closed."""

    def close(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Close a connection, without waiting for anything."""

    def break_off(self, stream: trio.abc.HalfCloseableStream) -> None:
        """Have a connection reset when it is closed, whatever is still on its way."""
