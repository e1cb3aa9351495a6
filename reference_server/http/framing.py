"""Strict HTTP/1.1 framing (contract §6): bytes in; whole, well-formed requests out, or a refusal. No socket, no clock.

`RequestReader` gives each head before its body, so that whoever serves it may refuse by the head, and keep no body.
`FramingGuard` stands in front of Hypercorn: what it lets through is complete and in one plain form (`Content-Length`,
no `Expect`, no `Upgrade`), so nothing behind it ever sees ambiguous framing. What it refuses becomes a well-formed
request of its own that carries a mark nobody outside can make, so that the refusal is answered in its place among
pipelined requests.
"""

from __future__ import annotations

import re
from enum import Enum
from http import HTTPStatus

import msgspec

from reference_server.http.heads import Head, HeadReader, parse_head
from reference_server.limits import BODY_MAX_BYTES, CHUNKS_AT_ONCE, HEAD_COPIES, HEAD_MAX_BYTES, HEADER_FIELD_BYTES

_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n\x00]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_HEAD_METHOD = b"HEAD "
_DROPPED = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"http2-settings", b"connection"})


class Waiting(Enum):
    """What the next bytes would complete; each has its own deadline."""

    REQUEST = "idle"
    RECORD = "record"
    HEAD = "header"
    BODY = "body"


class Refusal(msgspec.Struct, frozen=True):
    """Why nothing more is read. `head` is that of the request that is too large, if its own length says so.

    `bare` says that a request which has no whole head asks by HEAD: the refusal goes without a body (RFC 9110 §9.3.2).
    """

    status: HTTPStatus
    head: Head | None = None
    bare: bool = False


def head_cost(size: int, fields: int) -> int:
    """Return about how many bytes of memory a head of that size costs: its copies, and the objects of its headers."""
    return HEAD_COPIES * size + HEADER_FIELD_BYTES * fields


class RequestReader:
    """Turns a connection's bytes into heads, each followed by its body.

    Holds at most one head (64 KiB), one body (1 MiB) and what one read brought, and reads each byte once. After a
    refusal, or a request that closes its connection, `ended` is set and everything that still comes is dropped.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_chunk_left",
        "_chunked",
        "_closes",
        "_discarding",
        "_head_cost",
        "_in_body",
        "_length",
        "_reader",
        "_seen_bytes",
        "_trailers",
        "busy",
        "ended",
    )

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen_bytes = 0  # of the buffer: they are in the reader, or hold no end of a line
        self._reader: HeadReader | None = None  # of a head that came in parts
        self._body = bytearray()
        self._in_body = False
        self._discarding = False
        self._closes = False
        self._head_cost = 0
        self._length = 0
        self._chunked = False
        self._chunk_left: int | None = None
        self._trailers = False
        self.busy = False
        """`next` has stopped for others to have their turn, and goes on where it was."""
        self.ended = False

    @property
    def waiting(self) -> Waiting:
        """Return what the next bytes would complete."""
        if self._in_body:
            return Waiting.BODY
        # Half an empty line begins no request: empty lines in single bytes must not pass for progress.
        return Waiting.HEAD if self._buffer and self._buffer != b"\r" else Waiting.REQUEST

    @property
    def at_rest(self) -> bool:
        """Return whether it holds nothing: a new reader would go on as well."""
        return not (self._in_body or self._buffer or self.ended)

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in here, a head with what it costs to have been read."""
        lines = 0 if self._reader is None else self._reader.lines
        return len(self._buffer) + len(self._body) + self._head_cost + head_cost(self._seen_bytes, lines)

    def receive(self, data: bytes) -> None:
        """Take bytes from the client."""
        if not self.ended:
            self._buffer += data

    def next(self) -> Head | bytes | Refusal | None:
        """Return the next head, its whole body (empty where there is none), or a refusal; None until more has come.

        Also None while it is `busy`: a body in crumbs is read a part at a time.
        """
        self.busy = False
        if self.ended:
            return None
        if not self._in_body:
            return self._take_head()
        return self._take_chunks() if self._chunked else self._take_length()

    def discard_body(self) -> None:
        """Keep nothing of the body that follows: its request is answered already. It still comes out, empty."""
        self._discarding = True
        self._head_cost = 0

    def end(self) -> None:
        """Drop what is there, and everything that still comes."""
        self.ended = True
        self._in_body = False
        self._head_cost = self._seen_bytes = 0
        self._reader = None
        self._buffer = bytearray()
        self._body = bytearray()

    def _refuse(self, status: HTTPStatus, head: Head | None = None) -> Refusal:
        bare = head is None and not self._in_body and self._buffer.startswith(_HEAD_METHOD)
        self.end()
        return Refusal(status, head, bare)

    def _take_head(self) -> Head | Refusal | None:
        buffer = self._buffer
        if self._seen_bytes == 0:
            blank = 0
            while buffer.startswith(b"\r\n", blank):
                blank += 2  # an empty line before a request is ignored (RFC 9112 §2.2)
            del buffer[:blank]
            if self.waiting is Waiting.REQUEST:
                return None
        end = buffer.find(b"\r\n\r\n", max(0, self._seen_bytes - 3))
        size = len(buffer) if end < 0 else end + 4
        readable = min(size, HEAD_MAX_BYTES)
        if self._seen_bytes == 0 and 0 <= end < HEAD_MAX_BYTES - 3:
            head = parse_head(bytes(buffer[:size]))
            if head is not None:
                return self._end_head(head, size, len(head.headers) + 2)
        if self._reader is None:
            self._reader = HeadReader()
        # Refuse early what can no longer become well-formed, rather than wait for an end that may never come.
        if not self._reader.feed(bytes(buffer[self._seen_bytes : readable])):
            return self._refuse(HTTPStatus.BAD_REQUEST)
        self._seen_bytes = readable
        if self._reader.too_many or size > HEAD_MAX_BYTES:
            return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        if end < 0:
            return None
        head = self._reader.finish(bytes(buffer[:size]))
        if head is None:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        return self._end_head(head, size, self._reader.lines)

    def _end_head(self, head: Head, size: int, lines: int) -> Head | Refusal:
        self._head_cost = head_cost(size, lines)
        self._reader = None
        self._drop(size)
        return self._begin_body(head)

    def _begin_body(self, head: Head) -> Head | Refusal:
        self._closes = head.closes
        self._chunked = head.chunked
        self._length = head.content_length  # of chunks, how much of them has come
        if self._length > BODY_MAX_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, head)
        self._in_body = True
        return head

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        self._drop(size)
        return taken

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._seen_bytes = 0

    def _complete(self, body: bytes) -> bytes:
        if self._closes:
            self.end()
            return body
        self._in_body = self._discarding = self._trailers = False
        self._head_cost = 0
        self._chunk_left = None
        if self._body:
            self._body = bytearray()
        return body

    def _take_length(self) -> bytes | None:
        if self._discarding:
            dropped = min(self._length, len(self._buffer))
            self._drop(dropped)
            self._length -= dropped
            return self._complete(b"") if self._length == 0 else None
        return self._complete(self._take(self._length)) if len(self._buffer) >= self._length else None

    def _take_line(self) -> bytes | None:
        """Take a line of the chunked framing, without its end, or as much as shows that it is none."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", max(0, self._seen_bytes - 1))
        if end >= 0:
            return self._take(end + 2)[:-2]
        if len(buffer) >= HEAD_MAX_BYTES or buffer.find(b"\n", self._seen_bytes) >= 0:
            return self._take(len(buffer))
        self._seen_bytes = len(buffer)
        return None

    def _take_chunks(self) -> bytes | Refusal | None:
        for _ in range(CHUNKS_AT_ONCE):
            if self._chunk_left is None:
                line = self._take_line()
                if line is None:
                    return None
                if self._trailers and not line:
                    return self._complete(bytes(self._body))
                refusal = self._read_line(line)
                if refusal is not None:
                    return refusal
                continue
            if not self._take_chunk(self._chunk_left):
                return None
            if len(self._buffer) < len(b"\r\n"):
                return None
            if self._take(2) != b"\r\n":
                return self._refuse(HTTPStatus.BAD_REQUEST)
            self._chunk_left = None
        self.busy = True
        return None

    def _take_chunk(self, left: int) -> bool:
        """Take what there is of a chunk. Return whether that is the end of it."""
        part = memoryview(self._buffer)[: min(left, len(self._buffer))]
        size = len(part)
        if not self._discarding:
            self._body += part
        part.release()
        if size:
            self._drop(size)
            self._length += size
            self._chunk_left = left - size
        return size == left

    def _read_line(self, line: bytes) -> Refusal | None:
        """Read a chunk's size, or a trailer field, which says nothing that this API reads."""
        read = (_TRAILER if self._trailers else _CHUNK_SIZE).fullmatch(line)
        if read is None or len(line) + 2 > HEAD_MAX_BYTES:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        if self._trailers:
            return None
        length = int(read[1], 16)
        if self._length + length > BODY_MAX_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self._trailers = length == 0
        self._chunk_left = length or None
        return None


class FramingGuard:
    """Turns a connection's bytes into whole plain requests, for Hypercorn to read.

    `released` counts the requests given out, refusals included.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._requests = RequestReader()
        self._head: Head | None = None
        self.continue_due = False
        self.released = 0

    @property
    def ended(self) -> bool:
        """Return whether nothing more is read."""
        return self._requests.ended

    @property
    def waiting(self) -> Waiting:
        """Return what the next bytes would complete."""
        return self._requests.waiting

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait in here."""
        return self._requests.waiting_bytes

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client; return the requests that are complete now."""
        self._requests.receive(data)
        ready: list[bytes] = []
        while (read := self._requests.next()) is not None or self._requests.busy:
            if read is None:
                continue  # this guard has no turns to give
            if isinstance(read, Head):
                self._head = read
                self.continue_due = read.expects_continue
            elif isinstance(read, Refusal):
                ready.append(self._refuse(read))
            else:
                ready.append(self._complete(read))
        return b"".join(ready)

    def _refuse(self, refusal: Refusal) -> bytes:
        self.released += 1
        self.continue_due = False
        head = refusal.head or self._head
        mark = b"%b: %d\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (self._mark, refusal.status)
        if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and head is not None:
            return self._written(head) + mark
        bare = refusal.bare or (head is not None and head.method == b"HEAD")
        return (b"HEAD" if bare else b"GET") + b" / HTTP/1.1\r\nhost: refused\r\n" + mark

    @staticmethod
    def _written(head: Head) -> bytes:
        lines = [b"%b %b HTTP/%b" % (head.method, head.target, head.version.encode())]
        lines += [b"%b: %b" % header for header in head.headers if header[0] not in _DROPPED]
        return b"\r\n".join(lines) + b"\r\n"

    def _complete(self, body: bytes) -> bytes:
        head, self._head = self._head, None
        if head is None:
            raise RuntimeError("a body without a head")
        self.released += 1
        self.continue_due = False
        closing = b"connection: close\r\n" if self._requests.ended else b""
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (self._written(head), closing, len(body), body)
