"""A client of the express lane: its connection, and what is to be sent on it."""

from __future__ import annotations

from ssl import SSLSocket
from typing import TYPE_CHECKING, NamedTuple

from reference_server.http.conversation import Conversation

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Callable

    from reference_server.http.conversation import Answer
    from reference_server.http.express_lane import ExpressLane
    from reference_server.operations.outcomes import Deferred
    from reference_server.pipeline.answering import Answerer


class Pending(NamedTuple):
    """An answer that is deferred, and its place among the others; `plain` ones answer plain heartbeats."""

    at: int
    reply: Deferred
    plain: bool
    answer: Answer


class Answers:
    """What a connection is answered in one round: `parts` in order, empty where one is deferred.

    `size` counts the bytes of conversations' answers; `closes` says that no other answer follows these.
    """

    __slots__ = ("closes", "deferred", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.deferred: list[Pending] = []
        self.size = 0
        self.closes = False

    def defer(self, pending: Pending) -> None:
        """Keep the place of an answer that is deferred."""
        self.deferred.append(pending)
        self.parts.append(b"")


class Connection:
    """One client of the lane. `since_ns` is its last progress: the last answer, or the first byte of what is awaited.

    It has a `conversation` while anything but plain heartbeats is under way. `pending` are answers of which some are
    deferred, in order; `deferred` counts those, and `deferred_bytes` what their requests keep. `unsent` is what the
    client has not taken yet. While there is either, nothing is read. `limited` says that it was over its rate limit the
    last time, `postponed` that it waits for another round, and `more` that there is more to be answered then.
    `receive` and `transmit` read and write its socket, inside TLS where it is `secure`; `address` is what it is counted
    for (`Admission`). `events` is what the lane waits for on its socket. `closing` says that nothing follows what is
    pending or unsent; `lingering` counts the bytes dropped since, from 1.
    """

    __slots__ = (
        "address",
        "client",
        "closing",
        "conversation",
        "deferred",
        "deferred_bytes",
        "events",
        "lane",
        "limited",
        "lingering",
        "more",
        "open",
        "pending",
        "postponed",
        "proven",
        "receive",
        "secure",
        "since_ns",
        "socket",
        "transmit",
        "unsent",
        "waiting_bytes",
    )

    def __init__(
        self, lane: ExpressLane, socket: stdlib_socket.socket, client: str, address: str, since_ns: int
    ) -> None:
        self.lane = lane
        self.socket = socket
        self.secure = isinstance(socket, SSLSocket)
        # OpenSSL gives a whole record at a time, and `READ_BYTES` is more: so it never keeps one that is read in part.
        self.receive: Callable[[int], bytes] = socket.read if isinstance(socket, SSLSocket) else socket.recv
        self.transmit: Callable[[bytes | memoryview], int] = socket.send
        self.client = client
        self.address = address
        self.since_ns = since_ns
        self.conversation: Conversation | None = None
        self.open = True
        self.limited = self.postponed = self.more = False
        self.proven = False
        self.waiting_bytes = 0
        self.pending: list[bytes] = []
        self.deferred = self.deferred_bytes = 0
        self.unsent: memoryview | None = None
        self.events = 0
        self.closing = False
        self.lingering = 0

    def begin_conversation(self, answerer: Answerer) -> Conversation:
        """Return its conversation; one is begun where there is none."""
        if self.conversation is None:
            self.conversation = Conversation(answerer, self.client, "https" if self.secure else "http")
        return self.conversation

    @property
    def held_bytes(self) -> int:
        """Return how many bytes wait here: of requests that are not whole or not answered, and of answers."""
        size = self.deferred_bytes + sum(map(len, self.pending))
        if self.conversation is not None:
            size += self.conversation.waiting_bytes
        if self.unsent is not None:
            size += memoryview(self.unsent.obj).nbytes  # all of it is kept until the last byte is out
        return size

    def evict(self) -> None:
        """Close at once."""
        self.lane.close_connection(self)
