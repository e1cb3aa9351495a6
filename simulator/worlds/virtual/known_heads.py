"""Reading the heads of plain heartbeats as the express lane reads them, and none twice that says the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from reference_server.http.plain_heads import plain_head

if TYPE_CHECKING:
    from reference_server.http.plain_heads import PlainHead

LENGTH_DIGITS = 3
"""Of a machine's heartbeats: their bodies have some 300 bytes."""
LEAST_BYTES, MOST_BYTES = 10 ** (LENGTH_DIGITS - 1), 10**LENGTH_DIGITS - 1
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength:[\t ]?([0-9]{3})\r\n")


class KnownHead:
    """The plain head that came last on a connection.

    A machine's heads differ in their Content-Length alone. So one is kept with what stands before and behind that, and
    bytes that are the same say the same.
    """

    __slots__ = ("_behind", "_head", "before")

    def __init__(self) -> None:
        self._head: PlainHead | None = None
        self.before = self._behind = b""
        """What stands before its length, and what behind that."""

    def read(self, data: bytes) -> PlainHead | None:
        """Read the head that the bytes begin with, as `plain_head` does: None unless it is whole and plain."""
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
        """Return the head of a request with this body, which begins as the last one; whatever length that says.

        None where it is no plain heartbeat.
        """
        head_bytes = len(self.before) + LENGTH_DIGITS + len(self._behind)
        if LEAST_BYTES <= len(body) <= MOST_BYTES and len(request) - len(body) == head_bytes:
            return self._head
        head = self.read(request)
        return head if head is not None and head.end + head.body_bytes == len(request) else None
