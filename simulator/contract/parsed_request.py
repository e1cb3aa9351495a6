"""Parsing the bytes of a request, against which its answer is judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REQUEST_LINE = re.compile(rb"([A-Z]+) ([!-~]+) HTTP/1\.[01]")
_PREFIXES = ("/api/v1/", "/v1/")
QUERY_FIELDS_MAX = 20


class ParsedRequest(NamedTuple):
    """One request. `path` is relative to `/api/v1` or `/v1`; if neither prefix was sent, the path is `rooted`."""

    method: str
    path: str
    query: str
    rooted: bool
    headers: Mapping[bytes, Sequence[bytes]]
    """All values of each header, by its name in lower case."""
    body: bytes

    def header(self, name: bytes) -> str:
        """Return the first value of the header `name`, given in lower case; empty if there is none."""
        values = self.headers.get(name)
        return values[0].decode("latin-1") if values else ""

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON body; empty if the body is not a readable object."""
        try:
            decoded = msgspec.json.decode(self.body) if self.body else {}
        except (ValueError, RecursionError):
            return {}
        return decoded if isinstance(decoded, dict) else {}

    def parameters(self) -> dict[str, str]:
        """Return the query parameters, the first value of each name; empty if there are too many."""
        try:
            found = parse_qs(self.query, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:
            return {}
        return {name: values[0] for name, values in found.items()}

    @property
    def name(self) -> str:
        """Return a readable name of the route: method and path, with ids replaced by `{id}`."""
        parts = ["{id}" if "_" in part or len(part) > 24 else part for part in self.path.split("/")]  # noqa: PLR2004
        return f"{self.method} {'/'.join(parts)}"


def parse_request(message: bytes) -> ParsedRequest | None:
    """Parse a well-formed request; returns None for any other, whose answer then cannot be judged against it."""
    head, end, body = message.partition(b"\r\n\r\n")
    line = _REQUEST_LINE.fullmatch(head.partition(b"\r\n")[0])
    if line is None or not end:
        return None
    method, headers = line[1].decode("ascii"), headers_of(head)
    path, _, query = line[2].decode("ascii").partition("?")
    for prefix in _PREFIXES:
        _, found, below = path.partition(prefix)
        if found:
            return ParsedRequest(method, f"/{below}", query, rooted=False, headers=headers, body=body)
    return ParsedRequest(method, path, query, rooted=True, headers=headers, body=body)


def headers_of(head: bytes) -> dict[bytes, list[bytes]]:
    """Return the headers in a message's head: all values of each, by its name in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return found


class Violation(NamedTuple):
    """A breach of the contract by an answer: the broken rule, without its prefix `contents.`, and a message."""

    rule: str
    message: str
