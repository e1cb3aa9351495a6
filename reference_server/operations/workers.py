"""The operations of workers, and of owners on theirs (contract §3, §4)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from reference_server.core import heartbeats, views
from reference_server.core.calls import PAGING
from reference_server.operations.callers import MACHINE, OWNER
from reference_server.operations.fields import (  # noqa: TC001 - msgspec reads a struct's types later
    Count,
    Name,
    Nonce,
    PolicyId,
    Signature,
    Timestamp,
    WorkerId,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.operations.policies import Policy  # noqa: TC001 - as above
from reference_server.wire.replies import FORBIDDEN, RATE_LIMITED, UNAUTHORIZED

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.heartbeats import Verified
    from reference_server.core.state import State
    from reference_server.wire.values import Reply


class WorkerPolicy(msgspec.Struct, frozen=True):
    """The policy that a worker runs under, and since when it is consented to."""

    worker_id: WorkerId
    policy: Policy
    consent_effective_at: Timestamp


class WorkerStatus(msgspec.Struct, frozen=True):
    """When a worker was last heard from."""

    worker_id: WorkerId
    last_heartbeat: Timestamp
    policy_id: PolicyId
    updated_at: Timestamp
    stale: bool
    age_seconds: Count
    stale_threshold: Count


class ListedStatus(msgspec.Struct, frozen=True):
    """One worker in a list; one that was never heard from is stale, and -1 seconds old."""

    worker_id: WorkerId
    stale: bool
    age_seconds: Annotated[int, msgspec.Meta(ge=-1, examples=[1])]
    name: Name
    last_heartbeat: Timestamp | msgspec.UnsetType = msgspec.UNSET
    policy_id: PolicyId | msgspec.UnsetType = msgspec.UNSET
    updated_at: Timestamp | msgspec.UnsetType = msgspec.UNSET


class Statuses(msgspec.Struct, frozen=True):
    """One page of an owner's workers."""

    workers: list[ListedStatus]
    total: Count
    limit: Count
    offset: Count
    stale_threshold: Count


class Summary(msgspec.Struct, frozen=True):
    """How many workers an owner has, by how fresh they are."""

    total: Count
    fresh: Count
    stale: Count
    unknown: Count
    stale_threshold: Count


class HeartbeatToSend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sign of life; `metrics` are not signed."""

    timestamp: Timestamp
    nonce: Nonce
    policy_id: PolicyId
    signature: Signature
    metrics: dict[str, Any] = {}


class Accepted(msgspec.Struct, frozen=True):
    """An accepted heartbeat."""

    worker_id: WorkerId
    accepted: bool


def heartbeat(state: State, call: Call[bytes]) -> Reply | Verified:
    """`POST /workers/{id}/heartbeat`."""
    token = call.headers.get("x-machine-token", "")
    certificate_id = call.headers.get("x-machine-certificate-id", "")
    return heartbeats.heartbeat(state, call.now, call.ids[0], token, certificate_id, call.body)


OPERATIONS = (
    Operation(
        "GET",
        "/workers/{id}/policy",
        MACHINE,
        views.worker_policy,
        answers=(Answer(HTTPStatus.OK, WorkerPolicy), UNAUTHORIZED, views.NO_ACTIVE_CONSENT, views.NO_ACTIVE_POLICY),
        summary="Fetch the policy that this worker runs under.",
    ),
    Operation(
        "POST",
        "/workers/{id}/heartbeat",
        MACHINE,
        heartbeat,
        described=HeartbeatToSend,
        read=bytes,  # its checks begin with the body, and are in the order of the contract
        answers=(
            Answer(HTTPStatus.OK, Accepted),
            heartbeats.MISSING_FIELDS,
            heartbeats.INVALID_FIELDS,
            heartbeats.INVALID_TIMESTAMP,
            heartbeats.INVALID_AUTH,
            heartbeats.NO_CONSENT,
            RATE_LIMITED,
            heartbeats.NONCES_UNAVAILABLE,
        ),
        summary="Say that this worker lives, and under which policy.",
    ),
    Operation(
        "GET",
        "/workers/{id}/status",
        OWNER,
        views.worker_status,
        answers=(Answer(HTTPStatus.OK, WorkerStatus), views.WORKER_NOT_FOUND, FORBIDDEN, views.STATUS_NOT_FOUND),
        summary="Show when a worker was last heard from.",
    ),
    Operation(
        "GET",
        "/workers/summary",
        OWNER,
        views.workers_summary,
        answers=(Answer(HTTPStatus.OK, Summary), UNAUTHORIZED),
        summary="Count an owner's workers.",
    ),
    Operation(
        "GET",
        "/workers/statuses",
        OWNER,
        views.workers_statuses,
        query=PAGING,
        answers=(Answer(HTTPStatus.OK, Statuses), UNAUTHORIZED),
        summary="List an owner's workers, sorted by id.",
    ),
)
