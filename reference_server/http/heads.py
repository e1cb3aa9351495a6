"""Reading one HTTP/1.1 request head strictly (RFC 9112, contract §6). No socket and no clock.

llhttp (through httptools) reads the lines; what it lets through and the RFC does not is refused here.
"""

from __future__ import annotations

import re

import httptools

from reference_server.limits import AUTHORITY_MAX_BYTES, HEADER_FIELDS_MAX

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e\x80-\xff]+ HTTP/1\.[01]")
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[^\]\s]+\])(?::[0-9]*)?"
)
"""`uri-host [ ":" port ]` (RFC 3986 §3.2, RFC 9110 §7.2). An empty host is allowed."""
_AUTHORITY_END = re.compile(rb"[/?#]")
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})
_LINES_MAX = HEADER_FIELDS_MAX + 2
"""The request line, the headers, and the empty line."""
_LENGTH_DIGITS_MAX = 15
"""Digits of a length that is read as a number; more of them mean one that no body may have."""


class Head:
    """A request's head as llhttp read it; header names in lower case, values without the white space around them.

    Once it is finished, `content_length` is the length that it names, in bytes, 0 without one; one past any bound is
    cut to 10^15. `chunked` says that the body comes in chunks, `closes` that the connection ends with this request
    (HTTP/1.0 is not kept alive here), `expects_continue` that the client waits to be told that it may send its body
    (RFC 9110 §10.1.1).
    """

    __slots__ = (
        "chunked",
        "closes",
        "content_length",
        "expects_continue",
        "headers",
        "method",
        "target",
        "target_parts",
        "version",
    )

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target_parts: list[bytes] = []
        self.target = b""
        self.method = b""
        self.version = ""
        self.content_length = 0
        self.chunked = self.closes = self.expects_continue = False

    def on_url(self, part: bytes) -> None:
        """Collect the target; its parts are joined when all are there, each byte once."""
        self.target_parts.append(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def values(self, name: bytes) -> list[bytes]:
        """Return a header's values, in order."""
        return [value for header, value in self.headers if header == name]

    def frame(self) -> bool:
        """Read the headers that say how the request is framed. Return whether they say one thing only."""
        modern = self.version == "1.1"
        framing = [header for header in self.headers if header[0] in _FRAMING]
        hosts = [value for name, value in framing if name == b"host"]
        if len(hosts) > 1 or (modern and not hosts) or not all(map(is_authority, hosts)):
            return False
        self.closes = not modern
        if len(framing) == len(hosts):
            return True
        codings = [value.lower() for name, value in framing if name == b"transfer-encoding"]
        if codings and (codings != [b"chunked"] or not modern):
            return False
        self.chunked = bool(codings)
        digits = next((value for name, value in framing if name == b"content-length"), b"0").lstrip(b"0")
        self.content_length = int(digits or b"0") if len(digits) <= _LENGTH_DIGITS_MAX else 10**_LENGTH_DIGITS_MAX
        options = b",".join([value for name, value in framing if name == b"connection"]).lower().split(b",")
        self.closes = not modern or b"close" in [option.strip() for option in options]
        self.expects_continue = modern and (b"expect", b"100-continue") in [
            (name, value.lower()) for name, value in framing
        ]
        return True


class HeadReader:
    """Reads one head as it arrives, each byte once; what it says does not depend on how the bytes were cut.

    llhttp gets the request line as it comes, so that what is none is known at once, and each other line whole: it
    would join the parts of a header anew with every byte.
    """

    __slots__ = ("_after_return", "_head", "_in_headers", "_line", "_parser", "lines", "too_many")

    def __init__(self) -> None:
        self._head = Head()
        self._parser = httptools.HttpRequestParser(self._head)
        self._after_return = False
        self._in_headers = False
        self._line = bytearray()
        self.lines = 0
        self.too_many = False
        """It has more headers than a request may have; nothing behind them was looked at."""

    def feed(self, data: bytes) -> bool:
        """Take the next bytes, none past the head's empty line. Return False once nothing could make them a head."""
        data = self._within_bounds(data)
        joined = b"\r" + data if self._after_return else data
        self._after_return = joined.endswith(b"\r")
        pairs = joined.count(b"\r\n")
        if joined.count(b"\n") != pairs or joined.count(b"\r") - self._after_return != pairs:
            return False  # a bare LF or CR ends no line (RFC 9112 §2.2), though llhttp lets some pass
        if not self._in_headers:
            end = data.find(b"\n") + 1
            if not end:
                return self._parse(data)
            if not self._parse(data[:end]):
                return False
            self._in_headers = True
            data = data[end:]
        end = data.rfind(b"\n") + 1
        if not end:
            self._line += data
            return True
        lines = bytes(self._line) + data[:end]
        self._line = bytearray(data[end:])
        return self._parse(lines)

    def _within_bounds(self, data: bytes) -> bytes:
        """Cut off what comes behind the first header too many."""
        room = _LINES_MAX - self.lines
        self.lines += data.count(b"\n")
        if self.lines <= _LINES_MAX:
            return data
        self.too_many = True
        end = -1
        for _ in range(room + 1):
            end = data.find(b"\n", end + 1)
        return data[: end + 1]

    def _parse(self, data: bytes) -> bool:
        return _feed(self._parser, data)

    def finish(self, data: bytes) -> Head | None:
        """Return the head when all of it, which is `data`, has been fed. None when it is malformed or ambiguous."""
        return _finished(self._head, self._parser, data)


def _feed(parser: httptools.HttpRequestParser, data: bytes) -> bool:
    """Feed llhttp. Return False once it takes what came for no head."""
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # a request to change the protocol may be ignored (RFC 9110 §7.8); what follows is read as HTTP/1.1
    except httptools.HttpParserError:
        return False
    return True


def _finished(head: Head, parser: httptools.HttpRequestParser, data: bytes) -> Head | None:
    head.target = b"".join(head.target_parts)
    head.method = parser.get_method()
    head.version = parser.get_http_version()
    if _REQUEST_LINE.fullmatch(data.lstrip(b"\r\n").partition(b"\r\n")[0]) is None:
        return None  # llhttp reads RTSP and HTTP/0.9 too
    scheme, separator, rest = head.target.partition(b"://")
    if separator and scheme.lower() in {b"http", b"https"}:
        if not _read_absolute_form(head, rest):
            return None
    elif head.target == b"*" and head.method == b"OPTIONS":
        head.target = b"/"
    return head if head.target.startswith(b"/") and head.target.isascii() and head.frame() else None


def is_authority(text: bytes) -> bool:
    """Return whether a text names a host, and maybe its port."""
    return len(text) <= AUTHORITY_MAX_BYTES and _AUTHORITY.fullmatch(text) is not None


def _read_absolute_form(head: Head, rest: bytes) -> bool:
    """Cut the target to its path and query (RFC 9112 §3.2.2). Return whether its authority is one."""
    found = _AUTHORITY_END.search(rest)
    end = found.start() if found else len(rest)
    path = rest[end:]
    head.target = path if path.startswith(b"/") else b"/" + path
    return end > 0 and is_authority(rest[:end])


def parse_head(data: bytes) -> Head | None:
    """Parse one whole head, up to and including its empty line. None when it is not one that is served.

    llhttp gets it at once, as nearly all heads come; why one is refused, and with which status, `HeadReader` knows.
    """
    lines = data.count(b"\r\n")
    if lines > _LINES_MAX or data.count(b"\n") != lines or data.count(b"\r") != lines:
        return None
    head = Head()
    parser = httptools.HttpRequestParser(head)
    return _finished(head, parser, data) if _feed(parser, data) else None
