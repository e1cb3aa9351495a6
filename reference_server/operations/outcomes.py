"""What comes of a request besides the reply of its own operation: refusals before it, and what has to wait first."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.heartbeats import NONCES_UNAVAILABLE, Verified
from reference_server.core.inquiry import Inquiry
from reference_server.identity_ports import Answered  # noqa: TC001 - msgspec reads a struct's types when it is made
from reference_server.wire.replies import INVALID_REQUEST, failure, success
from reference_server.wire.values import Instant, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Caller
    from reference_server.core.state import State
    from reference_server.operations.operation import Operation

HTTPS_REQUIRED = failure(
    HTTPStatus.UPGRADE_REQUIRED, "https required", (("upgrade", "TLS/1.2, HTTP/1.1"), ("connection", "upgrade"))
)
NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "not found")
DONE = success(None)
PERSISTENCE_FAILED = failure(HTTPStatus.INTERNAL_SERVER_ERROR, "state persistence failed")
SHARED_STATE_UNAVAILABLE = failure(HTTPStatus.SERVICE_UNAVAILABLE, "shared state unavailable")
LIMITER_UNAVAILABLE = failure(HTTPStatus.SERVICE_UNAVAILABLE, "rate limiter unavailable")
HEADERS_TOO_LARGE = failure(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request headers too large")
BODY_TOO_LARGE = failure(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body too large")


class Undecided(msgspec.Struct, frozen=True):
    """A request that something outside comes before: its client's rate limit is counted, or the state is shared there.

    `decide` may be called again after it has refused to change anything, or has given a heartbeat.
    """

    client: str
    decide: Callable[[Instant], Reply | Verified | Inquiry]


class Resumed(msgspec.Struct, frozen=True):
    """A request whose inquiry was answered, and that is decided now: its client's rate limit was counted before."""

    inquiry: Inquiry
    answer: Answered


class Chore(msgspec.Struct, frozen=True):
    """What the server decides by itself, as time passes or because of what it was told from outside."""

    decide: Callable[[State, Instant], object]


Outcome = Reply | Verified | Undecided | Inquiry | Resumed | Chore
"""What a request has come to so far."""


class Admitted(msgspec.Struct, frozen=True):
    """A request whose head was looked through and counted: its operation needs the body now.

    `ids` are the values of the path's variables; `caller` is who is named, and proven by a success or not.
    """

    request: Request
    operation: Operation
    ids: tuple[str, ...]
    headers: dict[str, str]
    caller: Caller

    @property
    def proves(self) -> bool:
        """Return whether a success proves who calls."""
        return self.caller.proven


class Deferred(Reply, frozen=True):
    """An answer that is not to be sent yet: `Resolver` waits for what it depends on, then gives the one to send.

    As it stands it is the refusal that it becomes when nothing comes of what it waits for. `decided` is the answer if
    all goes well, or a heartbeat whose nonce is to be reserved outside first, or what is to be admitted before that, or
    what is to be asked outside.
    `request_headers` say which common headers the answer needs; None leaves that to the express lane.
    """

    decided: Outcome = INVALID_REQUEST
    request_headers: dict[str, str] | None = None


def defer(decided: Outcome, request_headers: dict[str, str] | None) -> Deferred:
    """Defer an outcome, as the refusal that it becomes when nothing comes of what it waits for."""
    match decided:
        case Undecided():
            refusal = LIMITER_UNAVAILABLE
        case Verified():
            refusal = NONCES_UNAVAILABLE
        case _:
            refusal = PERSISTENCE_FAILED
    return Deferred(refusal.status, refusal.body, refusal.headers, decided, request_headers)
