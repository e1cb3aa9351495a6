"""Checks of the head of every answer (contract §1), and a memory that avoids parsing the same head twice."""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from simulator.contract.parsed_request import ParsedRequest, Violation, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_REQUEST, METHOD_NOT_ALLOWED, TOO_MANY = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.TOO_MANY_REQUESTS,
)
WITHOUT_RETRY_AFTER = (("POST", "/wallet/withdraw"), ("POST", "/jobs"))
"""Routes where a 429 may be an account's limit: then no Retry-After is promised (contract: market)."""
RETRY_AFTER_MAX_SECONDS = 86_400
"""The longest plausible Retry-After: no token bucket of the contract takes a day to gain one token (§6)."""
ID_DIGITS = 16
_REQUEST_ID = re.compile(rb"[0-9a-f]{16}")
_REQUEST_ID_LINE = re.compile(rb"(?i)\r\nx-request-id:[ \t]*([0-9a-f]{16})(?=\r\n|\Z)")
_HEX = b"0123456789abcdef"
_JSON = b"application/json"
_METRICS_TYPE = re.compile(rb"text/plain;.*\bversion=0\.0\.4\b")


class HeadMemory:
    """The last head that was parsed: a head that differs only in its request id has the same violations."""

    def __init__(self) -> None:
        self._before = b"\0"
        self._after = b""
        self._at = 1
        self._odd: list[Violation] = []
        self.last_id = b""
        """The request id of the last answer: no id may be used twice."""

    def recall(self, head: bytes) -> list[Violation] | None:
        """Return the violations of a head without parsing it; None for a head that must be parsed.

        This is called for every heartbeat, and so has to be quick.
        """
        at = self._at
        if not at:
            return self._odd if head == self._before else None
        identifier = head[at : at + ID_DIGITS]
        if (
            head[at + ID_DIGITS :] != self._after
            or head[:at] != self._before
            or identifier == self.last_id
            or identifier.translate(None, _HEX)
        ):
            return None
        self.last_id = identifier
        return self._odd

    def judge(self, asked: ParsedRequest | None, status: int, head: bytes) -> list[Violation]:
        """Return the violations of a head, parsed only if `recall` does not know it."""
        known = self.recall(head)
        if known is not None:
            return known
        odd = list(check_head(asked, status, head, self.last_id))
        found = _REQUEST_ID_LINE.search(head)
        self.last_id = found[1] if found else b""
        if found is None:
            self._at, self._before, self._odd = 0, head, odd
        elif all(one.rule != "request-id" for one in odd):
            self._at, self._odd = found.start(1), odd
            self._before, self._after = head[: self._at], head[found.end(1) :]
        return odd


def check_head(asked: ParsedRequest | None, status: int, head: bytes, last_id: bytes = b"") -> Iterator[Violation]:
    """Yield the violations of a head. `last_id` is the request id of the previous answer, empty for none."""
    headers = headers_of(head)
    yield from _request_id(asked, headers.get(b"x-request-id", []), last_id)
    lengths = set(headers.get(b"content-length", []))
    if len(lengths) > 1 or (lengths and b"transfer-encoding" in headers):
        yield Violation("framing", "its length is told in two ways (RFC 9112 §6.3)")
    if b"*" in headers.get(b"access-control-allow-origin", []):
        yield Violation("cors", "Access-Control-Allow-Origin is *, which it never is")
    if b"origin" not in b",".join(headers.get(b"vary", [])).lower():
        yield Violation("vary", "it has no `Vary: Origin`")
    if status >= BAD_REQUEST or (asked is not None and asked.method != "OPTIONS"):
        yield from _content_type(asked, status, headers.get(b"content-type", []))
    if status == TOO_MANY and not (asked is not None and (asked.method, asked.path) in WITHOUT_RETRY_AFTER):
        yield from _retry_after(headers.get(b"retry-after", []))
    if status == METHOD_NOT_ALLOWED:
        methods = {name.strip() for name in b",".join(headers.get(b"allow", [])).decode("latin-1").split(",")} - {""}
        if not methods or (asked is not None and asked.method in methods):
            yield Violation("allow", f"its Allow names {', '.join(sorted(methods)) or 'no method'}")


def _request_id(asked: ParsedRequest | None, found: list[bytes], last_id: bytes) -> Iterator[Violation]:
    if len(found) != 1 or not _REQUEST_ID.fullmatch(found[0]):
        shown = b", ".join(found)[:80].decode("latin-1")
        yield Violation(
            "request-id", f"its X-Request-ID is {shown!r}, not 16 hex digits" if found else "it has no X-Request-ID"
        )
    elif found[0] == last_id:
        yield Violation("request-id", f"its X-Request-ID {last_id.decode()} is that of the answer before")
    elif asked is not None and asked.header(b"x-request-id").encode("latin-1") == found[0]:
        yield Violation("request-id", "its X-Request-ID is the client's own, which is never echoed")


def _content_type(asked: ParsedRequest | None, status: int, found: list[bytes]) -> Iterator[Violation]:
    shown = b", ".join(found)[:80].decode("latin-1")
    if status >= BAD_REQUEST:
        if [one.partition(b";")[0].strip().lower() for one in found] != [_JSON]:
            yield Violation("refusal-content-type", f"its Content-Type is {shown!r}, not application/json")
    elif asked is not None and asked.path.endswith("/metrics"):
        if not any(_METRICS_TYPE.match(one.lower()) for one in found):
            yield Violation("metrics-content-type", f"its Content-Type is {shown!r}, not that of text format 0.0.4")
    elif [one.partition(b";")[0].strip().lower() for one in found] != [_JSON]:
        yield Violation("content-type", f"its Content-Type is {shown!r}, not application/json")


def _retry_after(found: list[bytes]) -> Iterator[Violation]:
    """Yield a violation unless Retry-After is a number of seconds or a date (RFC 9110 §10.2.3)."""
    shown = b", ".join(found)[:80].decode("latin-1")
    if not found:
        yield Violation("retry-after", "a 429 without Retry-After")
    elif shown.isdigit():
        if not 1 <= int(shown[:9]) <= RETRY_AFTER_MAX_SECONDS:
            yield Violation("retry-after", f"its Retry-After is {shown} s")
    else:
        try:
            parsedate_to_datetime(shown)
        except ValueError:
            yield Violation("retry-after", f"its Retry-After is {shown!r}, which is no time")
