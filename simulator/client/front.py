"""What the way to a target wants in each request: a base path in front of its path, and headers of its own.

Both are written as a request leaves, and nowhere else: what is recorded, kept as evidence and judged is the request
that the server behind gets, without the secrets of the way there.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

CRLF = b"\r\n"
HEAD_END = b"\r\n\r\n"
_ABSOLUTE = re.compile(rb"https?://[^/ \r\n]*")
_LENGTH = re.compile(rb"content-length:[ \t]*([0-9]{1,18})[ \t]*")


class Front(msgspec.Struct, frozen=True):
    """A `base` path like `/farm`, empty for none, and `fields`: header lines, each with its line end."""

    base: bytes = b""
    fields: bytes = b""

    def written(self, message: bytes) -> bytes:
        """Return a message as it is sent: whole, or several requests one behind the other."""
        written, at = [], 0
        for place, text in self._additions(message):
            written += [message[at:place], text]
            at = place
        return b"".join([*written, message[at:]])

    def written_parts(self, parts: tuple[bytes, ...]) -> list[bytes]:
        """Return the parts of one message as they are sent, cut where they were.

        A body is left as it is, and so is all that follows a request whose end is ambiguous: what hides there is meant
        for the server behind.
        """
        message = b"".join(parts)
        additions = list(self._additions(message))
        written = []
        for start, end in zip(accumulate(map(len, parts), initial=0), accumulate(map(len, parts)), strict=False):
            piece, at = bytearray(), start
            for place, text in additions:
                if start <= place < end:
                    piece += message[at:place] + text
                    at = place
            written.append(bytes(piece + message[at:end]))
        return written

    def _additions(self, message: bytes) -> Iterator[tuple[int, bytes]]:
        """Return what to insert where, in order: the base in front of each path, the headers behind each first line."""
        at = 0
        while at < len(message):
            while message.startswith(CRLF, at):
                at += len(CRLF)
            line_end = message.find(b"\n", at)
            end = len(message) if line_end < 0 else line_end
            space = message.find(b" ", at, end)
            if space < 0:
                return  # no request line
            path = space + 1
            if found := _ABSOLUTE.match(message, path):
                path = found.end()
            if self.base and message.startswith(b"/", path):
                yield path, self.base
            if line_end < 0:
                return
            if self.fields and line_end + 1 < len(message):
                yield line_end + 1, self.fields
            length = _length_of(message, line_end)
            if length is None:
                return
            at = length


def _length_of(message: bytes, line_end: int) -> int | None:
    """Return where the request ends whose first line ends there; None where that is unknown or can be read two ways."""
    head_end = message.find(HEAD_END, max(0, line_end - 1))
    if head_end < 0:
        return None
    lines = message[line_end + 1 : head_end].lower().split(CRLF)
    lengths = [line for line in lines if line.startswith(b"content-length")]
    if any(line.startswith(b"transfer-encoding") for line in lines) or len(lengths) > 1:
        return None
    end = head_end + len(HEAD_END)
    if not lengths:
        return end
    found = _LENGTH.fullmatch(lengths[0])
    return None if found is None else end + int(found[1])
