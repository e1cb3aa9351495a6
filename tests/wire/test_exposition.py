from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from reference_server.core.state import HEARTBEAT_STATUSES
from reference_server.wire.exposition import Figures, expose

counts = st.integers(0, 10**12)
REASONS = ("invalid_timestamp", "nonce_replayed")
values = st.fixed_dictionaries(
    {
        "uptime_seconds": st.floats(0, 1e9),
        "workers": counts,
        "workers_stale": counts,
        "workers_unknown": counts,
        "failures": counts,
        "failures_recent": counts,
        "failures_by_reason": st.fixed_dictionaries(dict.fromkeys(REASONS, counts)),
        "failures_unattributed": counts,
        "alert_stale_workers": st.booleans(),
        "alert_auth_failures": st.booleans(),
        "nonces": counts,
        "rate_limit_buckets": counts,
        "rate_limited": counts,
        "heartbeat_answers": st.fixed_dictionaries(dict.fromkeys(HEARTBEAT_STATUSES, counts)),
    },
)


@given(values)
def test_prometheus_reads_what_was_written(values: dict[str, Any]) -> None:
    """Every published name is there with its value, its help text and its type, in the format's own reader."""
    shown = Figures(**values)
    families = list(text_string_to_metric_families(expose(shown).decode()))
    samples = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert all(family.documentation and family.type in {"counter", "gauge"} for family in families)
    expected: dict[tuple[str, ...], float] = {
        ("hatchfarm_uptime_seconds",): shown.uptime_seconds,
        ("hatchfarm_workers_total",): shown.workers,
        ("hatchfarm_workers_stale_total",): shown.workers_stale,
        ("hatchfarm_workers_unknown_total",): shown.workers_unknown,
        ("hatchfarm_worker_auth_failures_total",): shown.failures,
        ("hatchfarm_worker_auth_failures_recent",): shown.failures_recent,
        ("hatchfarm_worker_auth_failures_unattributed_total",): shown.failures_unattributed,
        ("hatchfarm_alert_stale_workers",): shown.alert_stale_workers,
        ("hatchfarm_alert_worker_auth_failures",): shown.alert_auth_failures,
        ("hatchfarm_nonces_live",): shown.nonces,
        ("hatchfarm_rate_limit_buckets",): shown.rate_limit_buckets,
        ("hatchfarm_rate_limited_total",): shown.rate_limited,
    }
    expected |= {
        ("hatchfarm_worker_auth_failures_by_reason_total", reason): shown.failures_by_reason[reason]
        for reason in REASONS
    }
    expected |= {
        ("hatchfarm_heartbeats_total", str(status)): count for status, count in shown.heartbeat_answers.items()
    }
    assert samples == expected
