"""Read operations of owners, machines and operators: policy, status, lists, audit, health (contract §3)."""

from __future__ import annotations

import heapq
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from reference_server.core.audit import ROUTINE, stream_of
from reference_server.core.authentication import authenticate_machine
from reference_server.core.calls import Call, Parameter, page_of, paged
from reference_server.core.policies import show_policy
from reference_server.wire.replies import FORBIDDEN, UNAUTHORIZED, failure, success
from reference_server.wire.timestamps import format_duration, format_timestamp, parse_timestamp
from reference_server.wire.units import SECOND_NS
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.core.audit import EventStream, RoutineStream
    from reference_server.core.records import Worker
    from reference_server.core.state import State
    from reference_server.wire.schema1 import StatusRecord
    from reference_server.wire.values import Instant

WORKER_NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "worker not found")
STATUS_NOT_FOUND = failure(HTTPStatus.NOT_FOUND, "worker status not found")
NO_ACTIVE_CONSENT = failure(HTTPStatus.FORBIDDEN, "no active consent")
NO_ACTIVE_POLICY = failure(HTTPStatus.FORBIDDEN, "no active policy")


EVENT_TYPE = Parameter("type", str, "", {"type": "string"}, "Only events of this type.")


def worker_policy(state: State, call: Call[bytes]) -> Reply:
    """`GET /workers/{id}/policy`, by the machine itself."""
    (worker_id,) = call.ids
    token = call.headers.get("x-machine-token", "")
    certificate_id = call.headers.get("x-machine-certificate-id", "")
    if not (token and certificate_id):
        state.fail_worker(call.now, "missing_worker_policy_auth_headers", worker_id)
        return UNAUTHORIZED
    worker = authenticate_machine(state, call.now, worker_id, token, certificate_id)
    if isinstance(worker, str):
        state.fail_worker(call.now, f"{worker}_policy_fetch", worker_id)
        return UNAUTHORIZED
    # Newest first: the dictionary has the consents in the order of their creation.
    consent = next((consent for consent in reversed(worker.consents.values()) if consent.revoked_ns is None), None)
    if consent is None:
        return NO_ACTIVE_CONSENT
    policy = state.policies.get(consent.policy_id)
    if policy is None or not policy.active:
        return NO_ACTIVE_POLICY
    return success(
        {
            "worker_id": worker_id,
            "policy": show_policy(policy),
            "consent_effective_at": format_timestamp(consent.effective_ns),
        },
    )


class _Status(msgspec.Struct, kw_only=True, gc=False):
    """A worker's status as the API shows it. Encoded in less than half of a dictionary's time; lists have hundreds."""

    worker_id: str
    last_heartbeat: str | UnsetType = UNSET
    policy_id: str | UnsetType = UNSET
    updated_at: str | UnsetType = UNSET
    stale: bool
    age_seconds: int
    name: str | UnsetType = UNSET
    stale_threshold: int | UnsetType = UNSET


def _status_of(state: State, worker: Worker, monotonic_ns: int) -> _Status:
    heard_ns = worker.heard_monotonic_ns
    if heard_ns is None:
        return _Status(worker_id=worker.id, stale=True, age_seconds=-1)
    heard_at = format_timestamp(worker.heard_ns)
    return _Status(
        worker_id=worker.id,
        last_heartbeat=heard_at,
        policy_id=worker.policy_id,
        updated_at=heard_at,
        stale=state.fleet.is_stale(worker, monotonic_ns),
        age_seconds=(monotonic_ns - heard_ns) // SECOND_NS,
    )


def _show_orphan_status(state: State, status: StatusRecord, now: Instant) -> dict[str, Any]:
    """Return the shown status of an unregistered worker from a legacy file."""
    age_seconds = max(0, now.wall_ns - (parse_timestamp(status.last_heartbeat) or 0)) // SECOND_NS
    threshold = state.settings.stale_seconds
    shown: dict[str, Any] = msgspec.structs.asdict(status)
    return {**shown, "stale": age_seconds > threshold, "age_seconds": age_seconds, "stale_threshold": threshold}


def worker_status(state: State, call: Call[bytes]) -> Reply:
    """`GET /workers/{id}/status`."""
    (worker_id,) = call.ids
    worker = state.workers.get(worker_id)
    if worker is None:
        orphan = None if call.owner_id else state.orphan_statuses.get(worker_id)
        return WORKER_NOT_FOUND if orphan is None else success(_show_orphan_status(state, orphan, call.now))
    if call.owner_id and call.owner_id != worker.owner.id:
        state.deny_owner(call.now, "not_the_owner", call.owner_id, worker_id, worker.owner.id)
        return FORBIDDEN
    if worker.heard_monotonic_ns is None:
        return STATUS_NOT_FOUND
    status = _status_of(state, worker, call.now.monotonic_ns)
    status.stale_threshold = state.settings.stale_seconds
    return success(status)


def workers_summary(state: State, call: Call[bytes]) -> Reply:
    """`GET /workers/summary`: the counts of an owner's workers; zeros for an owner without a record."""
    if not call.owner_id:
        return UNAUTHORIZED
    threshold = state.settings.stale_seconds
    owner = state.owners.get(call.owner_id)
    if owner is None:
        return success({"total": 0, "fresh": 0, "stale": 0, "unknown": 0, "stale_threshold": threshold})
    summary = state.fleet.summary(call.now.monotonic_ns, owner)
    return success(
        {
            "total": summary.total,
            "fresh": summary.fresh,
            "stale": summary.stale,
            "unknown": summary.unknown,
            "stale_threshold": threshold,
        },
    )


def workers_statuses(state: State, call: Call[bytes]) -> Reply:
    """`GET /workers/statuses`: an owner's workers, sorted by worker id."""
    if not call.owner_id:
        return UNAUTHORIZED
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    owner = state.owners.get(call.owner_id)
    ids = [] if owner is None else owner.workers
    shown = []
    for worker_id in ids[page.offset : page.offset + page.limit]:
        worker = state.workers[worker_id]
        status = _status_of(state, worker, call.now.monotonic_ns)
        status.name = worker.name
        shown.append(status)
    return success(paged("workers", shown, len(ids), page, stale_threshold=state.settings.stale_seconds))


def _keys(which: int, stream: RoutineStream | EventStream, kind: str) -> Iterator[tuple[int, int, int]]:
    """Yield the merge keys of a stream's events: time, number of the stream, position in the stream."""
    return ((when, which, at) for when, at in stream.moments() if not kind or stream.type_of(at) == kind)


def _count_events(stream: RoutineStream | EventStream, kind: str) -> int:
    """Return the number of events of a type, or of all. All events of the routine stream have one type."""
    if not kind or stream.name == ROUTINE:
        return len(stream)
    return sum(stream.type_of(at) == kind for at in range(len(stream)))


def audit_events(state: State, call: Call[bytes]) -> Reply:
    """`GET /audit/events`: the streams of the owner merged by time, oldest first, and their heads."""
    if not call.owner_id:
        return FORBIDDEN
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    kind = page.asked[EVENT_TYPE.name]
    owner = state.owners.get(call.owner_id)
    if owner is None:
        return success(paged("events", [], 0, page, heads={}))
    streams = owner.streams
    looked_at = [(which, one) for which, one in enumerate(streams) if not kind or one.name == stream_of(kind)]
    total = sum(_count_events(stream, kind) for _, stream in looked_at)
    start = min(page.offset, total)  # an offset may be larger than islice() allows
    # Lazily: the first page unpacks a hundred of thousands of events.
    merged = heapq.merge(*(_keys(which, stream, kind) for which, stream in looked_at))
    events = [streams[which].event(at) for _, which, at in islice(merged, start, start + page.limit)]
    heads = {stream.name: {"sequence": stream.sequence, "hash": stream.hash} for stream in streams if stream.sequence}
    return success(paged("events", events, total, page, heads=heads))


def keys(state: State, _call: Call[bytes]) -> Reply:
    """`GET /.well-known/hatchfarm-keys`: the JWK set without an envelope, as RFC 7517 clients expect."""
    return Reply(HTTPStatus.OK, state.jwk_set, (("content-type", "application/json"),))


def health(state: State, call: Call[bytes]) -> Reply:
    """`GET /health`, without an envelope. Degraded while writes or snapshots fail or shared state is unreachable."""
    timestamp = format_timestamp(call.now.wall_ns)
    reason = "state persistence failed" if state.frozen else state.degraded
    if not (reason or state.compacting):
        reason = "snapshot failed"
    status = f'"degraded","reason":"{reason}"' if reason else '"healthy"'
    body = f'{{"status":{status},"timestamp":"{timestamp}","version":"{state.settings.version}"}}'
    return Reply(HTTPStatus.OK, body.encode(), (("content-type", "application/json"),))


def status(state: State, call: Call[bytes]) -> Reply:
    """`GET /status`, with the envelope."""
    uptime = format_duration(call.now.monotonic_ns - state.started.monotonic_ns)
    return success({"service": "hatchfarm-api", "version": state.settings.version, "uptime": uptime})
