"""What every decision is given of a request, and how its body, its query and its paging are read (contract §1, §2)."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import parse_qs

import msgspec

from reference_server.limits import LIST_LIMIT_DEFAULT, LIST_LIMIT_MAX, QUERY_FIELDS_MAX
from reference_server.wire.replies import INVALID_REQUEST, failure
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.wire.values import Instant, Request

OWNER, AGENT = "owner", "agent"
"""The kinds of principals that have accounts."""
_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_DIGITS_READ = 20
"""Of a number in a query: more than any list is long, so that a longer one says nothing else."""
Body = TypeVar("Body")


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the kind of principal, and the id of the one that the request names, or nothing.

    `proven` says that a success of what is asked proves that it is so. `session` is the digest of the session that is
    shown, if one is; `by_cookie` says that a browser showed it, which it does whoever made it ask.
    """

    kind: str
    id: str = ""
    proven: bool = True
    session: str = ""
    by_cookie: bool = False

    @property
    def account(self) -> str:
        """Return the name of its account, where its kind has such."""
        return f"{self.kind}:{self.id}"


class Parameter(msgspec.Struct, frozen=True):
    """One query parameter of an operation. `read` takes its text, and returns None for what is refused: `invalid NAME`.

    What is not given, or empty, is the `default`. `schema` is its JSON Schema.
    """

    name: str
    read: Callable[[str], Any]
    default: Any
    schema: dict[str, Any]
    summary: str


class Call(msgspec.Struct, Generic[Body], frozen=True):
    """One request to one operation.

    `body` is as the operation reads it, `ids` are the values of its path's variables in order, `request` is its head,
    `parameters` are those that the operation's query may have.
    """

    request: Request
    body: Body
    now: Instant
    ids: tuple[str, ...]
    headers: dict[str, str]
    caller: Caller
    parameters: tuple[Parameter, ...] = ()

    @property
    def owner_id(self) -> str:
        """Return the owner that the request names, or nothing."""
        return self.caller.id if self.caller.kind == OWNER else ""

    @property
    def account(self) -> str:
        """Return the account of who calls, an owner or an agent (contract: Principals and accounts)."""
        return self.caller.account


def decode_body(body: bytes, kind: type[Body]) -> Body | None:
    """Decode a strict JSON body into a struct; None for anything else (400 `invalid request`)."""
    try:
        body.decode("utf-8")
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return None


class Page(msgspec.Struct, frozen=True):
    """One page of a list; `asked` has all parameters of the query by name."""

    limit: int
    offset: int
    asked: dict[str, Any]


def query_of(call: Call[Any]) -> dict[str, Any] | Reply:
    """Read the parameters that the operation has from the query, in their order; or return the refusal.

    A query of more fields than any call has is refused, and one that is no text: decisions write what they are asked.
    """
    try:
        call.request.query.encode()
        query = parse_qs(call.request.query, errors="replace", max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return INVALID_REQUEST
    asked: dict[str, Any] = {}
    for parameter in call.parameters:
        given = query.get(parameter.name)
        value = parameter.default if given is None else parameter.read(given[0])
        if value is None:
            return failure(HTTPStatus.BAD_REQUEST, f"invalid {parameter.name}")
        asked[parameter.name] = value
    return asked


def page_of(call: Call[Any]) -> Page | Reply:
    """Read which page of a list is asked for, of an operation that has `PAGING`."""
    asked = query_of(call)
    return asked if isinstance(asked, Reply) else Page(asked[LIMIT.name], asked[OFFSET.name], asked)


def read_limit(text: str) -> int | None:
    """Read a `limit`: at least 1, and no more than what a list gives at once."""
    limit = _integer(text)
    return None if limit is None or limit < 1 else min(limit, LIST_LIMIT_MAX)


def read_offset(text: str) -> int | None:
    """Read an `offset`: at least 0."""
    offset = _integer(text)
    return None if offset is None or offset < 0 else offset


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    magnitude = int(match[2].lstrip("0")[:_DIGITS_READ] or "0")
    return -magnitude if match[1] == "-" else magnitude


LIMIT = Parameter(
    "limit",
    read_limit,
    LIST_LIMIT_DEFAULT,
    {"type": "integer", "minimum": 1, "default": LIST_LIMIT_DEFAULT},
    f"How many at most; above {LIST_LIMIT_MAX} it is {LIST_LIMIT_MAX}.",
)
OFFSET = Parameter(
    "offset", read_offset, 0, {"type": "integer", "minimum": 0, "default": 0}, "How many to leave out at the beginning."
)
PAGING = (LIMIT, OFFSET)
"""The parameters of every list (contract §1)."""


def paged(name: str, items: list[Any], total: int, page: Page, **more: Any) -> dict[str, Any]:
    """Shape a list's data."""
    return {name: items, "total": total, "limit": page.limit, "offset": page.offset, **more}
