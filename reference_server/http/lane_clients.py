"""A client of the express lane: its connection, and the plain heartbeats it may send there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.http.framing import HeadReader, parse_head
from reference_server.limits import LANE_BODY_MAX_BYTES, LANE_HEAD_MAX_BYTES

if TYPE_CHECKING:
    import socket as stdlib_socket

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
"""What a plain heartbeat may carry. Any other header might ask for something, so it is not the lane's to judge."""
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
    body_bytes = int(fields[b"content-length"])
    if not worker_id or b"/" in worker_id or b"?" in worker_id or body_bytes > LANE_BODY_MAX_BYTES:
        return None
    return PlainHead(
        worker_id.decode(),
        fields.get(b"x-machine-token", b"").decode("latin-1"),
        fields.get(b"x-machine-certificate-id", b"").decode("latin-1"),
        body_bytes,
    )


def may_become_plain(data: bytes) -> bool:
    """Say whether a head that has begun with these bytes may still be a plain heartbeat's."""
    posts = data.startswith(b"POST /") or b"POST /".startswith(data)
    return posts and len(data) < LANE_HEAD_MAX_BYTES and HeadReader().feed(data)


class Connection:
    """One client of the lane. `since_ns` is its last progress: the last answer, or the first byte of a request.

    `owed` are answers of which some are held back, in order, and `held` counts those; `paused` says that nothing is
    read until they are out.
    """

    __slots__ = ("client", "head", "head_bytes", "held", "open", "owed", "paused", "since_ns", "socket", "unread")

    def __init__(self, socket: stdlib_socket.socket, client: str, since_ns: int) -> None:
        self.socket = socket
        self.client = client
        self.since_ns = since_ns
        self.unread = b""
        self.head_bytes = b""
        self.head: PlainHead | None = None
        self.open = True
        self.owed: list[bytes] = []
        self.held = 0
        self.paused = False

    def read_head(self, head_bytes: bytes) -> PlainHead | None:
        """Read a head other than the last one, and keep it."""
        self.head, self.head_bytes = plain_head(head_bytes), head_bytes
        return self.head
