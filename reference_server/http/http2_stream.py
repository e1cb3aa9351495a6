"""One request of an HTTP/2 connection, until its answer is out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_server.operations.outcomes import Admitted


class Stream:
    """One request, until its answer is out."""

    __slots__ = ("admitted", "bare", "body", "body_bytes", "ended", "id", "kept_bytes", "proves", "since", "unsent")

    def __init__(self, stream_id: int, now: float) -> None:
        self.id = stream_id
        self.since = now
        """When the body's deadline, and then the answer's, began to run."""
        self.admitted: Admitted | None = None
        """Set while its body is awaited, or it waits to be decided."""
        self.body = bytearray()
        self.body_bytes: int | None = None
        self.bare = False
        """Its answer goes without a body (HEAD)."""
        self.ended = False
        """The client has sent all of it."""
        self.proves = False
        """A success tells who the client is."""
        self.kept_bytes = 0
        """What its head, and a body whose answer is deferred, cost until it is answered."""
        self.unsent = memoryview(b"")
