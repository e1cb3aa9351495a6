"""The operations on the audit (contract §3)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec

from reference_server.core import views
from reference_server.core.calls import PAGING
from reference_server.operations.callers import OWNER
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN


class ShownEvent(msgspec.Struct, frozen=True):
    """An audit event with its place in its stream's hash chain."""

    id: str
    type: str
    actor: str
    object_id: str
    metadata: dict[str, Any]
    created_at: str
    stream: str
    sequence: int
    previous_hash: str
    hash: str


class Head(msgspec.Struct, frozen=True):
    """The last event of a stream."""

    sequence: int
    hash: str


class Events(msgspec.Struct, frozen=True):
    """One page of an owner's events, oldest first, and the heads of its streams by name."""

    events: list[ShownEvent]
    total: int
    limit: int
    offset: int
    heads: dict[str, Head]


OPERATIONS = (
    Operation(
        "GET",
        "/audit/events",
        OWNER,
        views.audit_events,
        query=(*PAGING, views.EVENT_TYPE),
        answers=(Answer(HTTPStatus.OK, Events), FORBIDDEN),
        summary="List what happened to an owner's things.",
    ),
)
