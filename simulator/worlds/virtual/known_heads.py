"""Parsing the heads of plain heartbeats as the express lane does, but never twice for equal bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reference_server.http.plain_heads import plain_head

if TYPE_CHECKING:
    from reference_server.http.plain_heads import PlainHead

LENGTH_DIGITS = 3
"""Digits of the Content-Length of a machine's heartbeats, whose bodies have about 300 bytes."""
LEAST_BYTES, MOST_BYTES = 10 ** (LENGTH_DIGITS - 1), 10**LENGTH_DIGITS - 1
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength:[\t ]?([0-9]{3})\r\n")


class KnownHead:
    """The plain head that came last on a connection.

    Heads of one machine differ only in their Content-Length. So the last head is kept with the bytes before and after
    that, and a head with the same bytes needs no parsing.
    """

    __slots__ = ("_behind", "_head", "before")

    def __init__(self) -> None:
        self._head: PlainHead | None = None
        self.before = self._behind = b""
        """The bytes before the length's digits, and those after them."""

    def read(self, data: bytes) -> PlainHead | None:
        """Return the head at the start of `data`, as `plain_head` does: None unless it is whole and plain."""
        head, at = self._head, len(self.before)
        if head is not None and data.startswith(self.before) and data.startswith(self._behind, at + LENGTH_DIGITS):
            digits = data[at : at + LENGTH_DIGITS]
            if digits.isdigit():
                body_bytes = int(digits)
                return head if body_bytes == head.body_bytes else replace(head, body_bytes=body_bytes)
        head = plain_head(data)
        found = None if head is None else _LENGTH.search(data, 0, head.end)
        if head is not None and found is not None:
            self._head, self.before, self._behind = head, data[: found.start(1)], data[found.end(1) : head.end]
        return head

    def head_of(self, request: bytes, body: bytes) -> PlainHead | None:
        """Return the head of a request with this body, which starts like the last one up to the length.

        Return None if it is no plain heartbeat.
        """
        head_bytes = len(self.before) + LENGTH_DIGITS + len(self._behind)
        if LEAST_BYTES <= len(body) <= MOST_BYTES and len(request) - len(body) == head_bytes:
            return self._head
        head = self.read(request)
        return head if head is not None and head.end + head.body_bytes == len(request) else None
