"""Replies as the bytes of HTTP/1.1 responses."""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.ports import Entropy
    from reference_server.wire.values import Instant, Reply

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Renderer:
    """Writes responses. `closing` says that every connection ends with its next answer."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self.closing = False

    def plain(self, reply: Reply, now: Instant) -> bytes:
        """Write the answer to a plain heartbeat, with the headers that every answer carries (contract §1)."""
        more = b"" if len(reply.headers) == 1 else _lines(reply.headers[1:], closes=False)
        body = reply.body
        return (
            b"HTTP/1.1 %d \r\ncontent-type: application/json\r\nx-request-id: %b\r\nvary: Origin\r\n"
            b"%bcontent-length: %d\r\n%bdate: %b\r\n\r\n%b"
        ) % (
            reply.status,
            self._entropy.hex(16).encode(),
            more,
            len(body),
            b"connection: close\r\n" if self.closing else b"",
            http_date(now.wall_ns // SECOND_NS),
            body,
        )

    def full(self, reply: Reply, now: Instant, *, bodiless: bool, closes: bool) -> bytes:
        """Write a reply that carries all its headers. `bodiless` answers `HEAD`: as `GET`, without the body."""
        return b"HTTP/1.1 %d \r\n%bcontent-length: %d\r\ndate: %b\r\n\r\n%b" % (
            reply.status,
            _lines(reply.headers, closes=closes or self.closing),
            len(reply.body),
            http_date(now.wall_ns // SECOND_NS),
            b"" if bodiless else reply.body,
        )


@lru_cache(maxsize=1)
def http_date(second: int) -> bytes:
    """Return a Unix time in whole seconds as `Date` has it."""
    return formatdate(second, usegmt=True).encode()


def _lines(headers: tuple[tuple[str, str], ...], *, closes: bool) -> bytes:
    if closes:
        options = ", ".join(["close", *(value for name, value in headers if name == "connection")])
        headers = (*(header for header in headers if header[0] != "connection"), ("connection", options))
    return "".join([f"{name}: {value}\r\n" for name, value in headers]).encode("latin-1")
