"""The arguments of every decision: a request with its caller, body, query and paging (contract §1, §2)."""

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
"""The kinds of principals that have accounts on the market."""
_INTEGER = re.compile(r"([+-]?)([0-9]+)")
_DIGITS_READ = 20
"""The digits of a query's number that are read: enough for any list's length, so that longer numbers mean the same."""
Body = TypeVar("Body")


class Caller(msgspec.Struct, frozen=True):
    """A request's caller: the kind of principal, and the id that the request names, or an empty text.

    `proven` says that a success of the request proves the caller's identity. `session` is the digest of the session
    token, if there is one. `by_cookie` says that a browser sent it as a cookie, which it also does for other sites.
    """

    kind: str
    id: str = ""
    proven: bool = True
    session: str = ""
    by_cookie: bool = False

    @property
    def account(self) -> str:
        """The name of the caller's account, or an empty text if its kind has none."""
        return f"{self.kind}:{self.id}"


class Parameter(msgspec.Struct, frozen=True):
    """A query parameter of an operation. `read` parses its text, or returns None to refuse it: `invalid NAME`.

    A missing or empty parameter has the value `default`. `schema` is its JSON Schema.
    """

    name: str
    read: Callable[[str], Any]
    default: Any
    schema: dict[str, Any]
    summary: str


class Call(msgspec.Struct, Generic[Body], frozen=True):
    """One request to one operation.

    `body` is decoded by the operation, `ids` are the values of the path's variables in order, `request` is the head,
    and `parameters` are the query parameters that the operation allows.
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
        """The owner that the request names, or an empty text."""
        return self.caller.id if self.caller.kind == OWNER else ""

    @property
    def account(self) -> str:
        """The account of the calling owner or agent (contract: Principals and accounts)."""
        return self.caller.account


def decode_body(body: bytes, kind: type[Body]) -> Body | None:
    """Decode a strict JSON body into a struct; return None for anything else (400 `invalid request`)."""
    try:
        body.decode("utf-8")
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError):
        return None


class Page(msgspec.Struct, frozen=True):
    """The requested page of a list; `asked` has all query parameters by name."""

    limit: int
    offset: int
    asked: dict[str, Any]


def query_of(call: Call[Any]) -> dict[str, Any] | Reply:
    """Return the values of the operation's query parameters by name, or the refusal.

    A query with more fields than any operation has is refused, and so is one that is not UTF-8, because decisions
    echo its text.
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
    """Return the page that is asked for, or the refusal, for an operation that has `PAGING`."""
    asked = query_of(call)
    return asked if isinstance(asked, Reply) else Page(asked[LIMIT.name], asked[OFFSET.name], asked)


def read_limit(text: str) -> int | None:
    """Parse a `limit`: at least 1, and reduced to the most that a list returns at once."""
    limit = _integer(text)
    return None if limit is None or limit < 1 else min(limit, LIST_LIMIT_MAX)


def read_offset(text: str) -> int | None:
    """Parse an `offset`: at least 0."""
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
    """Return the data of a list's answer."""
    return {name: items, "total": total, "limit": page.limit, "offset": page.offset, **more}
