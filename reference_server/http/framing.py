"""Strict HTTP/1.1 framing in front of Hypercorn (contract §6): whole, well-formed requests come out, or a refusal does.

No socket and no clock: bytes go in, bytes come out. llhttp (through httptools) reads each head strictly; a request is
let through only when it is complete, in one plain form (`Content-Length`, no `Expect`, no `Upgrade`), so nothing behind
this guard ever sees ambiguous framing. What is refused becomes a well-formed request of its own that carries a mark
nobody outside can make, so that the refusal is answered in its place among pipelined requests.
"""

from __future__ import annotations

import re
from enum import Enum

import httptools

from reference_server.limits import BODY_MAX_BYTES, HEAD_MAX_BYTES

_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n\x00]*)?")
_DROPPED = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"http2-settings", b"connection"})
BAD_REQUEST, TOO_LARGE, HEADERS_TOO_LARGE = 400, 413, 431


class Head:
    """A request's head as llhttp read it; header names in lower case. Raises nothing: `parse_head` does."""

    __slots__ = ("headers", "method", "target", "version")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = b""
        self.method = b""
        self.version = ""

    def on_url(self, part: bytes) -> None:
        """Collect the target."""
        self.target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self.headers.append((name.lower(), value))


def parse_head(data: bytes) -> Head | None:
    """Parse one whole head, up to and including its empty line. None when it is malformed or ambiguous."""
    head = Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # a request to change the protocol may be ignored (RFC 9110 §7.8); what follows is read as HTTP/1.1
    except httptools.HttpParserError:
        return None
    head.method = parser.get_method()
    head.version = parser.get_http_version()
    scheme, separator, rest = head.target.partition(b"://")
    if separator and scheme in {b"http", b"https"}:
        head.target = b"/" + rest.partition(b"/")[2]
    elif head.target == b"*" and head.method == b"OPTIONS":
        head.target = b"/"
    hosts = sum(name == b"host" for name, _ in head.headers)
    if hosts > 1 or (hosts == 0 and head.version == "1.1") or head.version not in {"1.0", "1.1"}:
        return None
    if not (head.target.startswith(b"/") and head.target.isascii()):
        return None
    return head


class Waiting(Enum):
    """What the guard waits for; each has its own deadline."""

    REQUEST = "idle"
    HEAD = "header"
    BODY = "body"


class FramingGuard:
    """Turns a connection's bytes into whole plain requests.

    Holds at most one head (64 KiB) and one body (1 MiB) and what one read brought. After a refusal `refused` is set and
    everything that still comes is dropped. `released` counts the requests given out, refusals included.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._buffer = bytearray()
        self._head: Head | None = None
        self._close = False
        self._length = 0
        self._chunked = False
        self._body = bytearray()
        self._chunk_left: int | None = None
        self._trailers = False
        self.continue_due = False
        self.refused = False
        self.released = 0

    @property
    def waiting(self) -> Waiting:
        """Say what the next bytes would complete."""
        if self._head is not None:
            return Waiting.BODY
        return Waiting.HEAD if self._buffer else Waiting.REQUEST

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client; give the requests that are complete now."""
        if self.refused:
            return b""
        self._buffer += data
        ready: list[bytes] = []
        while not self.refused:
            if self._head is None:
                step = self._take_head()
            else:
                step = self._take_chunks() if self._chunked else self._take_length()
            if step is None:
                break
            ready.append(step)
        return b"".join(ready)

    def _refuse(self, status: int) -> bytes:
        head = self._head
        self.refused = True
        self.released += 1
        self._buffer.clear()
        self._body.clear()
        mark = b"%b: %d\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (self._mark, status)
        if status == TOO_LARGE and head is not None:
            return self._written(head) + mark
        return b"GET / HTTP/1.1\r\nhost: refused\r\n" + mark

    @staticmethod
    def _written(head: Head) -> bytes:
        lines = [b"%b %b HTTP/%b" % (head.method, head.target, head.version.encode())]
        lines += [b"%b: %b" % header for header in head.headers if header[0] not in _DROPPED]
        return b"\r\n".join(lines) + b"\r\n"

    def _take_head(self) -> bytes | None:
        buffer = self._buffer
        while buffer.startswith(b"\r\n"):
            del buffer[:2]  # an empty line before a request is ignored (RFC 9112 §2.2)
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > HEAD_MAX_BYTES:
                return self._refuse(HEADERS_TOO_LARGE)
            # Refuse early what can no longer become well-formed, rather than wait for an end that may never come.
            return self._refuse(BAD_REQUEST) if _hopeless(buffer) else None
        if end > HEAD_MAX_BYTES:
            return self._refuse(HEADERS_TOO_LARGE)
        head = parse_head(bytes(buffer[: end + 4]))
        if head is None:
            return self._refuse(BAD_REQUEST)
        del buffer[: end + 4]
        self._head = head
        fields = dict(head.headers)
        tokens = {token.strip().lower() for token in fields.get(b"connection", b"").split(b",")}
        self._close = b"close" in tokens or (head.version == "1.0" and b"keep-alive" not in tokens)
        coding = fields.get(b"transfer-encoding")
        self._chunked = coding is not None
        if coding is not None and (coding.lower() != b"chunked" or head.version == "1.0"):
            return self._refuse(BAD_REQUEST)
        self._length = int(fields.get(b"content-length", b"0"))
        if self._length > BODY_MAX_BYTES:
            return self._refuse(TOO_LARGE)
        self.continue_due = fields.get(b"expect", b"").lower() == b"100-continue"
        return b""

    def _complete(self, body: bytes) -> bytes:
        head = self._head
        if head is None:
            raise RuntimeError("a body without a head")
        self._head = None
        self.released += 1
        self.continue_due = False
        self._body.clear()
        self._chunk_left = None
        self._trailers = False
        written = self._written(head)
        if self._close:
            written += b"connection: close\r\n"
        return b"%bcontent-length: %d\r\n\r\n%b" % (written, len(body), body)

    def _take_length(self) -> bytes | None:
        if len(self._buffer) < self._length:
            return None
        body = bytes(self._buffer[: self._length])
        del self._buffer[: self._length]
        return self._complete(body)

    def _take_chunks(self) -> bytes | None:
        buffer = self._buffer
        while True:
            if self._chunk_left is None:
                line_end = buffer.find(b"\r\n")
                if line_end < 0:
                    return self._refuse(BAD_REQUEST) if len(buffer) > HEAD_MAX_BYTES or b"\n" in buffer else None
                line = bytes(buffer[:line_end])
                del buffer[: line_end + 2]
                if self._trailers:
                    if not line:
                        return self._complete(bytes(self._body))
                    continue  # a trailer field says nothing this API reads
                size = _CHUNK_SIZE.fullmatch(line)
                if size is None:
                    return self._refuse(BAD_REQUEST)
                length = int(size[1], 16)
                if length == 0:
                    self._trailers = True
                    continue
                if len(self._body) + length > BODY_MAX_BYTES:
                    return self._refuse(TOO_LARGE)
                self._chunk_left = length
            if len(buffer) < self._chunk_left + 2:
                return None
            if buffer[self._chunk_left : self._chunk_left + 2] != b"\r\n":
                return self._refuse(BAD_REQUEST)
            self._body += buffer[: self._chunk_left]
            del buffer[: self._chunk_left + 2]
            self._chunk_left = None


def _hopeless(buffer: bytearray) -> bool:
    parser = httptools.HttpRequestParser(Head())
    try:
        parser.feed_data(bytes(buffer))
    except httptools.HttpParserUpgrade:
        return False
    except httptools.HttpParserError:
        return True
    return False
