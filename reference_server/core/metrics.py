"""The metrics of a state (contract §10). All numbers of a scrape belong to one moment."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.wire.exposition import CONTENT_TYPE, Figures, expose
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State


def metrics(state: State, call: Call[bytes]) -> Reply:
    """`GET /metrics`."""
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
        more=[
            *(figure for table in state.tables if table.figures for figure in table.figures(state)),
            *(figure for figures in state.extra_metrics for figure in figures()),
        ],
    )
    return Reply(HTTPStatus.OK, expose(figures), (("content-type", CONTENT_TYPE),))
