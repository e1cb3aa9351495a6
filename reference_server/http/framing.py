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
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_VERSIONS = (b" HTTP/1.1", b" HTTP/1.0")
_DROPPED = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"http2-settings", b"connection"})
BAD_REQUEST, TOO_LARGE, HEADERS_TOO_LARGE = 400, 413, 431


class Head:
    """A request's head as llhttp read it; header names in lower case, values without the white space around them."""

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
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def values(self, name: bytes) -> list[bytes]:
        """Give a header's values, in order."""
        return [value for header, value in self.headers if header == name]


class HeadReader:
    """Reads one head as it arrives, each byte once; what it says does not depend on how the bytes were cut."""

    def __init__(self) -> None:
        self._head = Head()
        self._parser = httptools.HttpRequestParser(self._head)

    def feed(self, data: bytes) -> bool:
        """Take the next bytes, none past the head's empty line. False once nothing could make them a head."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a request to change the protocol may be ignored (RFC 9110 §7.8); what follows is read as HTTP/1.1
        except httptools.HttpParserError:
            return False
        return True

    def finish(self, data: bytes) -> Head | None:
        """Give the head when all of it, which is `data`, has been fed. None when it is malformed or ambiguous."""
        head = self._head
        head.method = self._parser.get_method()
        head.version = self._parser.get_http_version()
        if not data.lstrip(b"\r\n").partition(b"\r\n")[0].endswith(_VERSIONS):
            return None  # llhttp reads RTSP too
        scheme, separator, rest = head.target.partition(b"://")
        if separator and scheme.lower() in {b"http", b"https"}:
            head.target = b"/" + rest.partition(b"/")[2]
        elif head.target == b"*" and head.method == b"OPTIONS":
            head.target = b"/"
        hosts = len(head.values(b"host"))
        if hosts > 1 or (hosts == 0 and head.version == "1.1"):
            return None
        codings = [coding.lower() for coding in head.values(b"transfer-encoding")]
        if codings and (codings != [b"chunked"] or head.version == "1.0"):
            return None
        if not (head.target.startswith(b"/") and head.target.isascii()):
            return None
        return head


def parse_head(data: bytes) -> Head | None:
    """Parse one whole head, up to and including its empty line. None when it is malformed or ambiguous."""
    reader = HeadReader()
    return reader.finish(data) if reader.feed(data) else None


class Waiting(Enum):
    """What the guard waits for; each has its own deadline."""

    REQUEST = "idle"
    HEAD = "header"
    BODY = "body"


class FramingGuard:
    """Turns a connection's bytes into whole plain requests.

    Holds at most one head (64 KiB) and one body (1 MiB) and what one read brought, and reads each byte once. After a
    refusal, or a request that closes its connection, `ended` is set and everything that still comes is dropped.
    `released` counts the requests given out, refusals included.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self._buffer = bytearray()
        self._seen_bytes = 0  # of the buffer: they are in the reader, or hold no end of a line
        self._reader = HeadReader()
        self._head: Head | None = None
        self._close = False
        self._length = 0
        self._chunked = False
        self._body = bytearray()
        self._chunk_left: int | None = None
        self._trailers = False
        self.continue_due = False
        self.refused = False
        self.ended = False
        self.released = 0

    @property
    def waiting(self) -> Waiting:
        """Say what the next bytes would complete."""
        if self._head is not None:
            return Waiting.BODY
        # Half an empty line begins no request: empty lines in single bytes must not pass for progress.
        return Waiting.HEAD if self._buffer and self._buffer != b"\r" else Waiting.REQUEST

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes wait for the rest of their request."""
        return len(self._buffer) + len(self._body)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client; give the requests that are complete now."""
        if self.ended:
            return b""
        self._buffer += data
        ready: list[bytes] = []
        while not self.ended:
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
        self._end()
        mark = b"%b: %d\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % (self._mark, status)
        if status == TOO_LARGE and head is not None:
            return self._written(head) + mark
        return b"GET / HTTP/1.1\r\nhost: refused\r\n" + mark

    def _end(self) -> None:
        self.ended = True
        self.released += 1
        self._head = None
        self._buffer.clear()
        self._body.clear()
        self.continue_due = False

    @staticmethod
    def _written(head: Head) -> bytes:
        lines = [b"%b %b HTTP/%b" % (head.method, head.target, head.version.encode())]
        lines += [b"%b: %b" % header for header in head.headers if header[0] not in _DROPPED]
        return b"\r\n".join(lines) + b"\r\n"

    def _take_head(self) -> bytes | None:
        buffer = self._buffer
        if self._seen_bytes == 0:
            while buffer.startswith(b"\r\n"):
                del buffer[:2]  # an empty line before a request is ignored (RFC 9112 §2.2)
            if self.waiting is Waiting.REQUEST:
                return None
        end = buffer.find(b"\r\n\r\n", max(0, self._seen_bytes - 3))
        size = len(buffer) if end < 0 else end + 4
        readable = min(size, HEAD_MAX_BYTES)
        # Refuse early what can no longer become well-formed, rather than wait for an end that may never come.
        if not self._reader.feed(bytes(buffer[self._seen_bytes : readable])):
            return self._refuse(BAD_REQUEST)
        self._seen_bytes = readable
        if size > HEAD_MAX_BYTES:
            return self._refuse(HEADERS_TOO_LARGE)
        if end < 0:
            return None
        head = self._reader.finish(bytes(buffer[:size]))
        if head is None:
            return self._refuse(BAD_REQUEST)
        self._reader = HeadReader()
        self._take(size)
        return self._begin_body(head)

    def _begin_body(self, head: Head) -> bytes:
        self._head = head
        options = {option.strip().lower() for value in head.values(b"connection") for option in value.split(b",")}
        self._close = b"close" in options or head.version == "1.0"
        self._chunked = bool(head.values(b"transfer-encoding"))
        self._length = int((head.values(b"content-length") or [b"0"])[0])
        if self._length > BODY_MAX_BYTES:
            return self._refuse(TOO_LARGE)
        self.continue_due = b"100-continue" in (value.lower() for value in head.values(b"expect"))
        return b""

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._seen_bytes = 0
        return taken

    def _complete(self, body: bytes) -> bytes:
        head = self._head
        if head is None:
            raise RuntimeError("a body without a head")
        written = self._written(head)
        if self._close:
            written += b"connection: close\r\n"
            self._end()
        else:
            self._head = None
            self.released += 1
            self.continue_due = False
            self._body.clear()
            self._chunk_left = None
            self._trailers = False
        return b"%bcontent-length: %d\r\n\r\n%b" % (written, len(body), body)

    def _take_length(self) -> bytes | None:
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

    def _take_chunks(self) -> bytes | None:
        while True:
            if self._chunk_left is None:
                line = self._take_line()
                if line is None:
                    return None
                if self._trailers and not line:
                    return self._complete(bytes(self._body))
                read = (_TRAILER if self._trailers else _CHUNK_SIZE).fullmatch(line)
                if read is None or len(line) + 2 > HEAD_MAX_BYTES:
                    return self._refuse(BAD_REQUEST)
                if self._trailers:
                    continue  # a trailer field says nothing this API reads
                length = int(read[1], 16)
                if length == 0:
                    self._trailers = True
                    continue
                if len(self._body) + length > BODY_MAX_BYTES:
                    return self._refuse(TOO_LARGE)
                self._chunk_left = length
            if len(self._buffer) < self._chunk_left + 2:
                return None
            chunk = self._take(self._chunk_left + 2)
            if not chunk.endswith(b"\r\n"):
                return self._refuse(BAD_REQUEST)
            self._body += chunk[:-2]
            self._chunk_left = None
