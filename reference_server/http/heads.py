"""Reading one HTTP/1.1 request head strictly (RFC 9112, contract §6). No socket and no clock.

llhttp (through httptools) reads the lines; what it lets through and the RFC does not is refused here.
"""

from __future__ import annotations

import re

import httptools

from reference_server.limits import HEADER_FIELDS_MAX

_REQUEST_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [\x21-\x7e\x80-\xff]+ HTTP/1\.[01]")
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[^\]\s]+\])(?::[0-9]*)?"
)
"""`uri-host [ ":" port ]` (RFC 3986 §3.2, RFC 9110 §7.2). An empty host is allowed."""
_AUTHORITY_END = re.compile(rb"[/?#]")
AUTHORITY_MAX_BYTES = 1024
"""A host name has 255 bytes at most, a bracketed address fewer; there is no reason for more."""
_LINES_MAX = HEADER_FIELDS_MAX + 2
"""The request line, the headers, and the empty line."""
_LENGTH_DIGITS_MAX = 15
"""Digits of a length that is read as a number; more of them mean one that no body may have."""


class Head:
    """A request's head as llhttp read it; header names in lower case, values without the white space around them."""

    __slots__ = ("headers", "method", "target", "target_parts", "version")

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target_parts: list[bytes] = []
        self.target = b""
        self.method = b""
        self.version = ""

    def on_url(self, part: bytes) -> None:
        """Collect the target; its parts are joined when all are there, each byte once."""
        self.target_parts.append(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def values(self, name: bytes) -> list[bytes]:
        """Return a header's values, in order."""
        return [value for header, value in self.headers if header == name]

    @property
    def content_length(self) -> int:
        """Return the length that the head names, in bytes, 0 without one; one past any bound is cut to 10^15."""
        digits = next((value for name, value in self.headers if name == b"content-length"), b"0").lstrip(b"0")
        return int(digits or b"0") if len(digits) <= _LENGTH_DIGITS_MAX else 10**_LENGTH_DIGITS_MAX

    @property
    def chunked(self) -> bool:
        """Return whether the body comes in chunks."""
        return any(name == b"transfer-encoding" for name, _ in self.headers)

    @property
    def closes(self) -> bool:
        """Return whether the connection ends with this request: HTTP/1.0 is not kept alive here."""
        if self.version == "1.0":
            return True
        options = [value for name, value in self.headers if name == b"connection"]
        return any(option.strip().lower() == b"close" for value in options for option in value.split(b","))

    @property
    def expects_continue(self) -> bool:
        """Return whether the client waits to be told that it may send its body (RFC 9110 §10.1.1)."""
        return self.version == "1.1" and b"100-continue" in (value.lower() for value in self.values(b"expect"))


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
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # a request to change the protocol may be ignored (RFC 9110 §7.8); what follows is read as HTTP/1.1
        except httptools.HttpParserError:
            return False
        return True

    def finish(self, data: bytes) -> Head | None:
        """Return the head when all of it, which is `data`, has been fed. None when it is malformed or ambiguous."""
        head = self._head
        head.target = b"".join(head.target_parts)
        head.method = self._parser.get_method()
        head.version = self._parser.get_http_version()
        if _REQUEST_LINE.fullmatch(data.lstrip(b"\r\n").partition(b"\r\n")[0]) is None:
            return None  # llhttp reads RTSP and HTTP/0.9 too
        scheme, separator, rest = head.target.partition(b"://")
        if separator and scheme.lower() in {b"http", b"https"}:
            if not _read_absolute_form(head, rest):
                return None
        elif head.target == b"*" and head.method == b"OPTIONS":
            head.target = b"/"
        hosts = head.values(b"host")
        if len(hosts) > 1 or (not hosts and head.version == "1.1") or not all(map(is_authority, hosts)):
            return None
        codings = [coding.lower() for coding in head.values(b"transfer-encoding")]
        if codings and (codings != [b"chunked"] or head.version == "1.0"):
            return None
        if not (head.target.startswith(b"/") and head.target.isascii()):
            return None
        return head


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
    """Parse one whole head, up to and including its empty line. None when it is malformed or ambiguous."""
    reader = HeadReader()
    return reader.finish(data) if reader.feed(data) else None
