"""What every decision but the heartbeat is given, and how its body and paging are read (contract §1, §2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from reference_server.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, QUERY_FIELDS_MAX
from reference_server.wire.replies import INVALID_REQUEST, failure

if TYPE_CHECKING:
    from reference_server.wire.values import Instant, Reply, Request

INVALID_LIMIT = failure(400, "invalid limit")
INVALID_OFFSET = failure(400, "invalid offset")
_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_DIGITS_READ = 20
"""Of a number in a query: more than any list is long, so that a longer one says nothing else."""
_Body = TypeVar("_Body")


class Call(msgspec.Struct, frozen=True):
    """One request to one operation: `ids` are the path's variables, `owner_id` is `X-Owner-ID` or empty.

    `request` is its head; the body is `body`.
    """

    request: Request
    body: bytes
    now: Instant
    ids: tuple[str, ...]
    headers: dict[str, str]
    owner_id: str


def decode_body(body: bytes, kind: type[_Body]) -> _Body | None:
    """Decode a strict JSON body into a struct; None for anything else (400 `invalid request`)."""
    try:
        body.decode("utf-8")
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return None


class Page(msgspec.Struct, frozen=True):
    """One page of a list, and the other query parameters that were asked for."""

    limit: int
    offset: int
    type: str


def page_of(call: Call) -> Page | Reply:
    """Read `limit`, `offset` and `type` from the query; what is empty there is not given.

    A query of more fields than any call has is refused.
    """
    try:
        query = parse_qs(call.request.query, errors="replace", max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return INVALID_REQUEST
    limit = _integer(query, "limit", LIST_LIMIT_DEFAULT)
    if limit is None or limit < 1:
        return INVALID_LIMIT
    offset = _integer(query, "offset", 0)
    if offset is None or offset < 0:
        return INVALID_OFFSET
    return Page(min(limit, LIST_LIMIT_MAX), offset, query.get("type", [""])[0])


def _integer(query: dict[str, list[str]], name: str, default: int) -> int | None:
    match = _INTEGER.fullmatch(query.get(name, [str(default)])[0])
    if match is None:
        return None
    magnitude = int(match[2].lstrip("0")[:_DIGITS_READ] or "0")
    return -magnitude if match[1] == "-" else magnitude


def paged(name: str, items: list[Any], total: int, page: Page, **more: Any) -> dict[str, Any]:
    """Shape a list's data."""
    return {name: items, "total": total, "limit": page.limit, "offset": page.offset, **more}
