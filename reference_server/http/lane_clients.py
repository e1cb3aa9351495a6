"""A client of the express lane: its connection, and what is to be sent on it."""

from __future__ import annotations

import socket as stdlib_socket
from typing import TYPE_CHECKING, NamedTuple

from reference_server.http.conversation import Conversation
from reference_server.http.framing import Waiting
from reference_server.limits import TLS_RECORD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.http.conversation import Answer
    from reference_server.http.express_lane import ExpressLane
    from reference_server.http.tls_socket import TlsSocket
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

    @classmethod
    def of_one(cls, reply: Deferred, answer: Answer, *, plain: bool) -> Answers:
        """Return those of a request that came alone, and whose answer is deferred."""
        answers = cls()
        answers.defer(Pending(0, reply, plain, answer))
        return answers

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
    `receive` and `transmit` read and write its socket, inside `tls` where it is `secure`; `address` is what it counts
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
        "tls",
        "transmit",
        "unsent",
        "waiting_bytes",
    )

    def __init__(
        self,
        lane: ExpressLane,
        socket: stdlib_socket.socket,
        client: str,
        address: str,
        since_ns: int,
        tls: TlsSocket | None = None,
    ) -> None:
        self.lane = lane
        self.socket = socket
        self.tls = tls
        self.secure = tls is not None
        self.receive: Callable[[int], bytes] = socket.recv if tls is None else tls.receive
        self.transmit: Callable[[bytes | memoryview], int] = socket.send if tls is None else tls.send
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

    def begin_lingering(self) -> None:
        """End the answers; whatever comes from here on is to be dropped, as it is. Raises OSError if it is closed."""
        self.socket.shutdown(stdlib_socket.SHUT_WR)
        self.conversation = None
        self.receive = self.socket.recv
        self.lingering = 1

    def end(self) -> None:
        """Close its socket, and hold nothing any more."""
        self.open = False
        self.conversation = self.unsent = None
        self.pending = []
        self.socket.close()

    def rest(self) -> Waiting:
        """Return what it waits for now. A conversation that is at rest is over."""
        if self.conversation is None:
            return Waiting.REQUEST
        waiting = self.conversation.waiting
        if self.conversation.at_rest:
            self.conversation = None
        return waiting

    @property
    def holds_bytes(self) -> bool:
        """Return whether there is anything of which bytes may wait here."""
        return self.conversation is not None or self.unsent is not None or bool(self.pending)

    @property
    def has_part_of_record(self) -> bool:
        """Return whether a part of a TLS record has come, and the rest has not."""
        return self.tls is not None and self.tls.has_part

    @property
    def held_bytes(self) -> int:
        """Return how many bytes wait here: of requests that are not whole or not answered, and of answers.

        A part of a TLS record counts as the longest: it may become that.
        """
        size = TLS_RECORD_BYTES if self.has_part_of_record else 0
        size += self.deferred_bytes + sum(map(len, self.pending))
        if self.conversation is not None:
            size += self.conversation.waiting_bytes
        if self.unsent is not None:
            size += memoryview(self.unsent.obj).nbytes  # all of it is kept until the last byte is out
        return size

    def evict(self) -> None:
        """Close at once."""
        self.lane.close_connection(self)
