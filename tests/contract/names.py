"""What the published API and this server's own contract have, by the names that the table of tests uses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from reference_server.about import setting_names
from reference_server.core.heartbeats import NONCES_UNAVAILABLE
from reference_server.core.market.idempotency import KEY_REQUIRED
from reference_server.operations import outcomes
from reference_server.operations.operation import Answer
from reference_server.operations.table import OPERATIONS
from reference_server.pipeline.answering import INTERNAL_ERROR
from reference_server.wire.replies import RATE_LIMITED
from reference_server.wire.values import Reply
from tests.core.server_under_test import Server, owner_headers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.operations.operation import Operation

RECORD = "HATCHFARM_TEST_RECORD"
"""Names the file in which the recorder leaves what it saw."""
_SUCCESS_MAX = 399
_METHOD_NOT_ALLOWED = "405 method not allowed"
"""Its answer differs by route: it names the methods that there are."""


def route_name(operation: Operation) -> str:
    """Return a row's name."""
    return f"{operation.method} {'' if operation.rooted else '/api/v1'}{operation.path}"


def error_name(reply: Reply) -> str:
    """Return a refusal's name: its status and its message."""
    return f"{int(reply.status)} {msgspec.json.decode(reply.body)['error']}"


def routes() -> set[str]:
    """Return all rows of the operation table."""
    return {route_name(operation) for operation in OPERATIONS}


def principals() -> set[str]:
    """Return all kinds of callers."""
    return {operation.principal.name for operation in OPERATIONS}


def errors() -> set[str]:
    """Return all refusals: those of rows, and those that any request may be given."""
    of_all: Iterable[object] = (
        *vars(outcomes).values(),
        RATE_LIMITED,
        INTERNAL_ERROR,
        NONCES_UNAVAILABLE,
        KEY_REQUIRED,
    )
    of_rows = (one for row in OPERATIONS for one in (*row.answers, *row.principal.refusals))
    replies = [one for one in (*of_all, *of_rows) if isinstance(one, Reply) and not isinstance(one, Answer)]
    return {_METHOD_NOT_ALLOWED} | {error_name(one) for one in replies if one.status > _SUCCESS_MAX}


def metrics() -> set[str]:
    """Return all metrics that a server without anything outside has."""
    answer = Server().send("GET", "/metrics", headers=owner_headers("ada"), prefix="")
    return set(re.findall(r"^# TYPE (\S+)", answer.body.decode(), re.MULTILINE))


def settings() -> set[str]:
    """Return all settings."""
    return set(setting_names())


ALL = {"routes": routes, "principals": principals, "errors": errors, "metrics": metrics, "settings": settings}
"""The kinds of things that the table has, each with what there is of it."""
