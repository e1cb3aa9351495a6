"""Checks of one page of a list against the request (contract §1)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from simulator.contract.parsed_request import ParsedRequest, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_DEFAULT, LIMIT_MAX = 100, 500
ITEMS = {
    "/workers/statuses": "workers",
    "/audit/events": "events",
    "/resources": "resources",
    "/jobs": "jobs",
    "/wallet/transactions": "transactions",
    "/forum/posts": "posts",
}
"""The field of `data` that has the items, for the route of each list."""
_THREAD = re.compile(r"/forum/posts/[^/]+")
WORKER_FIELDS = ("worker_id", "stale", "age_seconds", "name")
"""Fields that every worker of a list must have, even before its first heartbeat (contract §3)."""


def check_page(asked: ParsedRequest, data: Any) -> Iterator[Violation]:
    """Yield the violations of a page: its echo of `limit` and `offset`, its number of items, their filter and order."""
    name = "comments" if _THREAD.fullmatch(asked.path) else ITEMS.get(asked.path)
    if name is None or asked.method != "GET":
        return
    if not isinstance(data, dict) or not isinstance(data.get(name), list):
        yield Violation("fields", f"its data has no list of {name}")
        return
    parameters, items = asked.parameters(), data[name]
    limit, offset = _number(parameters.get("limit"), LIMIT_DEFAULT), _number(parameters.get("offset"), 0)
    if limit is not None and offset is not None:  # the refusal of other values is judged elsewhere
        yield from _check_size(data, name, min(limit, LIMIT_MAX), offset)
    if name == "workers":
        yield from _check_workers(items)
    elif (
        name == "events"
        and (kind := parameters.get("type"))
        and any(isinstance(one, dict) and one.get("type") != kind for one in items)
    ):
        yield Violation("page-filter", f"it has events of another type than {kind}")


def _check_size(data: dict[str, Any], name: str, limit: int, offset: int) -> Iterator[Violation]:
    for field, wanted in (("limit", limit), ("offset", offset)):
        if data.get(field) != wanted:
            yield Violation("page-echo", f"its {field} is {data.get(field)!r}, asked was {wanted}"[:200])
    count, total = len(data[name]), data.get("total")
    if count > limit:
        yield Violation("page-size", f"it has {count} {name}, asked were {limit} at most")
    elif not isinstance(total, int) or isinstance(total, bool):
        yield Violation("fields", "it has no total")
    elif count != max(0, min(limit, total - offset)):
        yield Violation("page-total", f"it has {count} {name} from {offset} on, of {total} in all"[:200])


def _check_workers(items: list[Any]) -> Iterator[Violation]:
    lacks = {field for one in items for field in WORKER_FIELDS if not isinstance(one, dict) or field not in one}
    if lacks:
        yield Violation("fields", f"a worker of it has no {', '.join(sorted(lacks))}")
    ids = [str(one.get("worker_id")) for one in items if isinstance(one, dict)]
    if any(before >= after for before, after in pairwise(ids)):
        yield Violation("page-order", "its workers are not sorted by worker_id")


def _number(text: str | None, default: int) -> int | None:
    """Return a parameter as an integer; None for one that a server refuses, or clamps in a way of its own."""
    if not text:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - a page's
