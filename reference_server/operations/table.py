"""The whole API as one table (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.core import consents, heartbeats, machines, policies, views
from reference_server.operations.callers import Principal, is_owner
from reference_server.wire.exposition import CONTENT_TYPE, Figures, expose
from reference_server.wire.replies import UNAUTHORIZED
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.calls import Call
    from reference_server.core.heartbeats import Verified
    from reference_server.core.state import State

PREFIXES = ("/api/v1", "/v1")


class Operation(msgspec.Struct, frozen=True):
    """One row of the API. `path` has `{id}` for a variable; `rooted` paths stand outside the versioned prefixes.

    `shows_state` is false for what says nothing of the state, and so never waits for it to be durable.
    """

    method: str
    path: str
    principal: Principal
    decide: Callable[[State, Call], Reply | Verified]
    rooted: bool = False
    shows_state: bool = True


def heartbeat(state: State, call: Call) -> Reply | Verified:
    """`POST /workers/{id}/heartbeat`."""
    token = call.headers.get("x-machine-token", "")
    certificate_id = call.headers.get("x-machine-certificate-id", "")
    return heartbeats.heartbeat(state, call.now, call.ids[0], token, certificate_id, call.body)


def metrics(state: State, call: Call) -> Reply:
    """`GET /metrics`, for owners unless the settings make it public."""
    if not state.settings.metrics_public and not is_owner(state, call.headers):
        return UNAUTHORIZED
    monotonic_ns = call.now.monotonic_ns
    summary = state.fleet.summary(monotonic_ns)
    failures = state.failures
    recent = failures.recent(monotonic_ns)
    figures = Figures(
        uptime_seconds=(monotonic_ns - state.started.monotonic_ns) / 1e9,
        workers=summary.total,
        workers_stale=summary.stale,
        workers_unknown=summary.unknown,
        failures=failures.total,
        failures_recent=recent,
        failures_by_reason=failures.by_reason,
        failures_unattributed=failures.unattributed,
        alert_stale_workers=summary.stale > 0,
        alert_auth_failures=recent >= state.settings.auth_failure_threshold,
        nonces=len(state.nonces),
        rate_limit_buckets=len(state.buckets),
        rate_limited=state.rate_limited,
        heartbeat_answers=state.heartbeat_answers,
        more=[figure for figures in state.extra_metrics for figure in figures()],
    )
    return Reply(200, expose(figures), (("content-type", CONTENT_TYPE),))


OPERATIONS: tuple[Operation, ...] = (
    Operation("POST", "/machines/register", Principal.OWNER, machines.register),
    Operation("POST", "/machines/{id}/certificate", Principal.OWNER, machines.rotate_certificate),
    Operation("POST", "/policies", Principal.OWNER, policies.create_policy),
    Operation("POST", "/policies/{id}/activate", Principal.OWNER, policies.activate_policy),
    Operation("POST", "/consents", Principal.OWNER, consents.create_consent),
    Operation("POST", "/consents/{id}/revoke", Principal.OWNER, consents.revoke_consent),
    Operation("GET", "/workers/{id}/policy", Principal.MACHINE, views.worker_policy),
    Operation("GET", "/workers/{id}/status", Principal.OWNER, views.worker_status),
    Operation("GET", "/workers/summary", Principal.OWNER, views.workers_summary),
    Operation("GET", "/workers/statuses", Principal.OWNER, views.workers_statuses),
    Operation("GET", "/audit/events", Principal.OWNER, views.audit_events),
    Operation("POST", "/workers/{id}/heartbeat", Principal.MACHINE, heartbeat),
    Operation("GET", "/status", Principal.ANYONE, views.status, shows_state=False),
    Operation("GET", "/metrics", Principal.ANYONE, metrics),
    Operation("GET", "/health", Principal.ANYONE, views.health, rooted=True, shows_state=False),
    Operation("GET", "/metrics", Principal.ANYONE, metrics, rooted=True),
    Operation("GET", "/.well-known/hatchfarm-keys", Principal.ANYONE, views.keys, rooted=True, shows_state=False),
)
