"""The operations on the audit (contract §3)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import msgspec

from reference_server.core import views
from reference_server.core.calls import PAGING
from reference_server.operations.callers import OWNER
from reference_server.operations.fields import (  # noqa: TC001 - msgspec reads a struct's types later
    ChainHash,
    Count,
    EventId,
    Timestamp,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN


class ShownEvent(msgspec.Struct, frozen=True):
    """An audit event with its place in its stream's hash chain."""

    id: EventId
    type: Annotated[str, msgspec.Meta(examples=["machine_registered"])]
    actor: Annotated[str, msgspec.Meta(examples=["owner:acme"])]
    object_id: Annotated[str, msgspec.Meta(examples=["wrk_0123456789abcdef"])]
    metadata: Annotated[dict[str, Any], msgspec.Meta(examples=[{"name": "rig-7"}])]
    created_at: Timestamp
    stream: Annotated[str, msgspec.Meta(examples=["notable"])]
    sequence: Count
    previous_hash: ChainHash
    hash: ChainHash


class Head(msgspec.Struct, frozen=True):
    """The last event of a stream."""

    sequence: Count
    hash: ChainHash


class Events(msgspec.Struct, frozen=True):
    """One page of an owner's events, oldest first, and the heads of its streams by name."""

    events: list[ShownEvent]
    total: Count
    limit: Count
    offset: Count
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
