"""The names of the contract's metrics, as the metrics page shows them (contract §10)."""

from __future__ import annotations

WORKERS = "hatchfarm_workers_total"
UNKNOWN = "hatchfarm_workers_unknown_total"
STALE = "hatchfarm_workers_stale_total"
COUNTERS = "hatchfarm_worker_auth_failures"
FAILURES = "hatchfarm_worker_auth_failures_total"
RECENT = "hatchfarm_worker_auth_failures_recent"
UNATTRIBUTED = "hatchfarm_worker_auth_failures_unattributed_total"
BY_REASON = 'hatchfarm_worker_auth_failures_by_reason_total{{reason="{}"}}'
STALE_ALERT = "hatchfarm_alert_stale_workers"
AUTH_ALERT = "hatchfarm_alert_worker_auth_failures"
UPTIME = "hatchfarm_uptime_seconds"
AGENTS = "hatchfarm_agents"
JOBS = 'hatchfarm_jobs{{state="{}"}}'
TRANSITIONS = 'hatchfarm_job_transitions_total{{to="{}"}}'
WITHDRAWALS = 'hatchfarm_withdrawals_total{{state="{}"}}'
REPORTS_IGNORED = 'hatchfarm_reports_ignored_total{{kind="{}"}}'
SESSIONS = "hatchfarm_sessions"
OTHER_FAILURES = 'hatchfarm_auth_failures_total{{principal="{}"}}'
PUBLISHED = (UPTIME, WORKERS, STALE, UNKNOWN, FAILURES, RECENT, STALE_ALERT, AUTH_ALERT)
