"""What was asked, read back from the bytes of a request: by it an answer is judged."""

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
    """One request. `path` is below `/api/v1`, and as it was sent where it is `rooted`."""

    method: str
    path: str
    query: str
    rooted: bool
    headers: Mapping[bytes, Sequence[bytes]]
    """Every value of each name, which is in lower case."""
    body: bytes

    def header(self, name: bytes) -> str:
        """Return the first value of a header, its name in lower case; empty without one."""
        values = self.headers.get(name)
        return values[0].decode("latin-1") if values else ""

    def fields(self) -> dict[str, Any]:
        """Return what its JSON body holds; empty where that is no object that can be read."""
        try:
            decoded = msgspec.json.decode(self.body) if self.body else {}
        except (ValueError, RecursionError):
            return {}
        return decoded if isinstance(decoded, dict) else {}

    def parameters(self) -> dict[str, str]:
        """Return what its query holds, the first value of each name."""
        try:
            found = parse_qs(self.query, max_num_fields=QUERY_FIELDS_MAX)
        except ValueError:
            return {}
        return {name: values[0] for name, values in found.items()}

    @property
    def name(self) -> str:
        """Name its route for people, without ids."""
        parts = ["{id}" if "_" in part or len(part) > 24 else part for part in self.path.split("/")]  # noqa: PLR2004
        return f"{self.method} {'/'.join(parts)}"


def parse_request(message: bytes) -> ParsedRequest | None:
    """Read a request that was written by the rules; None for any other, by whose answer nothing more can be told."""
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
    """Return the headers of a message's head: every value of each name, which is in lower case."""
    found: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\r\n")[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(name.lower(), []).append(value.strip(b" \t"))
    return found


class Violation(NamedTuple):
    """One thing that an answer should not have said: the rule it breaks, after `contents.`, and what was expected."""

    rule: str
    message: str
