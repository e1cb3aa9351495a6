"""A client of the express lane: its connection, and the plain heartbeats it may send there."""

from __future__ import annotations

from ssl import SSLSocket
from typing import TYPE_CHECKING, NamedTuple

from reference_server.http.conversation import Conversation
from reference_server.http.heads import parse_head
from reference_server.limits import LANE_BODY_MAX_BYTES

if TYPE_CHECKING:
    import socket as stdlib_socket
    from collections.abc import Callable

    from reference_server.http.conversation import Answer
    from reference_server.http.express_lane import ExpressLane
    from reference_server.operations.outcomes import Deferred
    from reference_server.pipeline.answering import Answerer

_PLAIN_HEADERS = frozenset(
    {
        b"host",
        b"user-agent",
        b"accept",
        b"accept-encoding",
        b"content-type",
        b"content-length",
        b"x-machine-token",
        b"x-machine-certificate-id",
    },
)
"""What a plain heartbeat may carry. Any other header might ask for something, which takes a `Conversation`."""
_PATH_PARTS = ((b"/api/v1/workers/", 16), (b"/v1/workers/", 12))


class PlainHead:
    """The head of a plain heartbeat. A machine repeats its head, so each connection keeps its last."""

    __slots__ = ("body_bytes", "certificate_id", "token", "worker_id")

    def __init__(self, worker_id: str, token: str, certificate_id: str, body_bytes: int) -> None:
        self.worker_id = worker_id
        self.token = token
        self.certificate_id = certificate_id
        self.body_bytes = body_bytes


def plain_head(data: bytes) -> PlainHead | None:
    """Read a whole head; None unless it is a plain heartbeat's."""
    if not data.startswith(b"POST /"):
        return None
    head = parse_head(data)
    if head is None or head.method != b"POST" or head.version != "1.1" or not head.target.endswith(b"/heartbeat"):
        return None
    for prefix, length in _PATH_PARTS:
        if head.target.startswith(prefix):
            worker_id = head.target[length:-10]
            break
    else:
        return None
    fields = dict(head.headers)
    if len(fields) != len(head.headers) or not fields.keys() <= _PLAIN_HEADERS or b"content-length" not in fields:
        return None
    body_bytes = head.content_length
    if not worker_id or b"/" in worker_id or b"?" in worker_id or body_bytes > LANE_BODY_MAX_BYTES:
        return None
    return PlainHead(
        worker_id.decode(),
        fields.get(b"x-machine-token", b"").decode("latin-1"),
        fields.get(b"x-machine-certificate-id", b"").decode("latin-1"),
        body_bytes,
    )


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
        "head",
        "head_bytes",
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
        self.head_bytes = b""
        self.head: PlainHead | None = None
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

    def read_head(self, head_bytes: bytes) -> PlainHead | None:
        """Read a head other than the last one, and keep it."""
        self.head, self.head_bytes = plain_head(head_bytes), head_bytes
        return self.head

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
