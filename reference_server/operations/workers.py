"""The operations of workers, and of owners on theirs (contract §3, §4)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core import heartbeats, views
from reference_server.core.calls import PAGING
from reference_server.operations.callers import MACHINE, OWNER
from reference_server.operations.jobs import ShownResources  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import FORBIDDEN, RATE_LIMITED, UNAUTHORIZED
from reference_server.wire.schema1 import PolicyRecord  # noqa: TC001 - msgspec reads a struct's types later

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.heartbeats import Verified
    from reference_server.core.state import State
    from reference_server.wire.values import Reply


class WorkerPolicy(msgspec.Struct, frozen=True):
    """The policy that a worker runs under, and since when it is consented to."""

    worker_id: str
    policy: PolicyRecord
    consent_effective_at: str


class WorkerStatus(msgspec.Struct, frozen=True):
    """When a worker was last heard from."""

    worker_id: str
    last_heartbeat: str
    policy_id: str
    updated_at: str
    stale: bool
    age_seconds: int
    stale_threshold: int


class ListedStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """One worker in a list; one that was never heard from is stale, and -1 seconds old."""

    worker_id: str
    stale: bool
    age_seconds: int
    name: str
    last_heartbeat: str = ""
    policy_id: str = ""
    updated_at: str = ""


class Statuses(msgspec.Struct, frozen=True):
    """One page of an owner's workers."""

    workers: list[ListedStatus]
    total: int
    limit: int
    offset: int
    stale_threshold: int


class Summary(msgspec.Struct, frozen=True):
    """How many workers an owner has, by how fresh they are."""

    total: int
    fresh: int
    stale: int
    unknown: int
    stale_threshold: int


class Assignment(msgspec.Struct, frozen=True):
    """A job that a worker is to run, and has not reported yet."""

    job_id: str
    type: str
    resources: ShownResources
    payload: dict[str, Any] | None
    duration_minutes: int


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True):
    """An accepted heartbeat, and what the market tells the worker, if anything: jobs to run, and not to go on with."""

    worker_id: str
    accepted: bool
    assignments: list[Assignment] = []
    cancelled: list[str] = []


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
        body=heartbeats.Heartbeat,
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
