"""HTTP messages as text and back, exactly, and the references `${...}` that stand in such text. No I/O.

Bytes become text as UTF-8, with lone surrogates for what is none, so that every message has a text and gets its bytes
back from it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = "${length}"
SIGNATURE = "${signature}"
_DOLLAR = "${dollar}"
_REQUEST_LINE = re.compile(r"([A-Z]+) ([^ \r\n\0]+) HTTP/1\.1")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([^\r\n\0]*)")
_REFERENCE = re.compile(r"\$\{([a-z]+(?:\.[a-z0-9-]+)*)(?:~([0-9]{1,9})|\[([0-9]{1,5}):([0-9]{1,5})\])?\}")
_LENGTH_LINE = re.compile(rb"(\r\ncontent-length: *)([0-9]{1,18})(?=\r\n)", re.IGNORECASE)
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([0-9]{3})\b")


class Reference(msgspec.Struct, frozen=True):
    """A secret by its name: the whole of it, or its `near`th near miss from 1, or the piece from `start` to `end`."""

    name: str
    near: int = 0
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        """Write it as it stands in texts."""
        if self.near:
            return f"${{{self.name}~{self.near}}}"
        return f"${{{self.name}[{self.start}:{self.end}]}}" if self.end else f"${{{self.name}}}"


class HttpText(msgspec.Struct, frozen=True):
    """A well-formed request. The value of its `Content-Length`, if it has one, is `LENGTH`."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def map(self, change: Callable[[str], str]) -> HttpText:
        """Change every text in it but the length."""
        headers = tuple((change(name), value if value == LENGTH else change(value)) for name, value in self.headers)
        return HttpText(self.method, change(self.path), headers, change(self.body))

    def __str__(self) -> str:
        """Write it as one text, with `LENGTH` where its length stands."""
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers)]
        return "\r\n".join(lines) + "\r\n\r\n" + self.body


def to_text(data: bytes) -> str:
    """Return the text of any bytes."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Return the bytes of a text that `to_text` made."""
    return text.encode("utf-8", "surrogateescape")


def is_plain(text: str) -> bool:
    """Return whether a text is UTF-8, and no bytes in disguise."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def split_request(data: bytes) -> HttpText | None:
    """Take a request apart; None unless it is well formed, whole, of UTF-8, and `join_request` gives the same bytes."""
    text = to_text(data)
    head, end, body = text.partition("\r\n\r\n")
    lines = head.split("\r\n")
    start = _REQUEST_LINE.fullmatch(lines[0])
    if not end or start is None or not is_plain(text):
        return None
    length = str(len(to_bytes(body)))
    headers = []
    lengths = 0
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:
            return None
        name, value = header.groups()
        if name.lower() == "transfer-encoding" or "${" in name or value == LENGTH:
            return None
        if name.lower() == "content-length":
            lengths += 1
            if value != length:
                return None
            value = LENGTH
        headers.append((name, value))
    if lengths > 1 or (body and not lengths):
        return None
    return HttpText(start[1], start[2], tuple(headers), body)


def join_request(request: HttpText) -> bytes:
    """Put a request together, with the length its body has."""
    body = to_bytes(request.body)
    lines = [f"{request.method} {request.path} HTTP/1.1"]
    lines += [f"{name}: {len(body) if value == LENGTH else value}" for name, value in request.headers]
    return to_bytes("\r\n".join(lines)) + b"\r\n\r\n" + body


def to_request(text: str, change: Callable[[str], str]) -> bytes:
    """Return the bytes of an escaped request's text after a change, with the length of its body for `LENGTH`."""
    head, end, body = text.partition("\r\n\r\n")
    payload = to_bytes(change(body))
    head = head.replace(f": {LENGTH}", f": {len(payload)}", 1)
    return to_bytes(change(head) + end) + payload


def with_length_grown(message: bytes, before: bytes) -> bytes:
    """Return a message whose declared length has grown as its body did since it was `before`, which it covered whole.

    So one that was cut short stays as short of it, and a length within the body's, as of the first of several, stays.
    """
    head, end, body = message.partition(b"\r\n\r\n")
    size = len(before.partition(b"\r\n\r\n")[2])

    def grown(match: re.Match[bytes]) -> bytes:
        length = int(match[2])
        return match[1] + b"%0*d" % (len(match[2]), length + len(body) - size) if length >= size else match.group()

    return _LENGTH_LINE.sub(grown, head + b"\r\n").removesuffix(b"\r\n") + end + body if end else message


def split_answer(data: bytes) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    """Take an answer apart: its status, its headers in order, and its body. Status 0 where there is no status line."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    status = _STATUS_LINE.match(first)
    headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip(), value.strip()))
    return int(status[1]) if status else 0, tuple(headers), body


def escape(text: str) -> str:
    """Write a text so that no part of it looks like a reference."""
    return text.replace("${", _DOLLAR + "{")


def unescape(text: str) -> str:
    """Undo `escape`; references stay."""
    return text.replace(_DOLLAR + "{", "${")


def references(text: str) -> list[Reference]:
    """Return the references in a text, in order, but those that are no secret's."""
    found = [_reference(match) for match in _REFERENCE.finditer(text)]
    return [reference for reference in found if "." in reference.name]


def resolve(text: str, value_of: Callable[[Reference], str | None]) -> str:
    """Put values in place of references, where there are any, and undo `escape`."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "dollar":
            return match.group() if text[match.end() : match.end() + 1] != "{" else "$"
        value = value_of(_reference(match)) if "." in match[1] else None
        return match.group() if value is None else value

    return _REFERENCE.sub(replace, text)


def _reference(match: re.Match[str]) -> Reference:
    return Reference(match[1], int(match[2] or 0), int(match[3] or 0), int(match[4] or 0))
