"""Metrics as Prometheus text, format 0.0.4 (contract §10)."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads a struct's types when it is made
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Figure(msgspec.Struct, frozen=True):
    """One number with its name; one that `counts` only grows, and its name on the wire ends in `_total`.

    Where there is a `label`, it is several numbers: each value of the label has one.
    """

    name: str
    help_text: str
    value: float
    counts: bool = False
    label: str = ""
    by_label: Mapping[str, float] = {}

    @classmethod
    def labelled(
        cls, name: str, help_text: str, label: str, by_label: Mapping[str, float], *, counts: bool = True
    ) -> Figure:
        """Return several numbers, by the values of a label."""
        return cls(name, help_text, 0, counts, label, by_label)


class Figures(msgspec.Struct, frozen=True):
    """Everything one scrape shows, read at one moment so that the values agree with each other."""

    uptime_seconds: float
    workers: int
    workers_stale: int
    workers_unknown: int
    failures: int
    failures_recent: int
    failures_by_reason: Mapping[str, int]
    failures_unattributed: int
    alert_stale_workers: bool
    alert_auth_failures: bool
    nonces: int
    rate_limit_buckets: int
    rate_limited: int
    heartbeat_answers: Mapping[int, int]
    more: Sequence[Figure] = ()


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        for name, help_text, value in (
            ("hatchfarm_uptime_seconds", "Seconds since the server started.", figures.uptime_seconds),
            ("hatchfarm_workers_total", "Registered workers.", figures.workers),
            ("hatchfarm_workers_stale_total", "Workers whose last heartbeat is too old.", figures.workers_stale),
            ("hatchfarm_workers_unknown_total", "Workers never heard from.", figures.workers_unknown),
            (
                "hatchfarm_worker_auth_failures_recent",
                "Worker auth failures within the alert window.",
                figures.failures_recent,
            ),
            ("hatchfarm_alert_stale_workers", "1 when any worker is stale.", figures.alert_stale_workers),
            (
                "hatchfarm_alert_worker_auth_failures",
                "1 when recent worker auth failures reach the threshold.",
                figures.alert_auth_failures,
            ),
            ("hatchfarm_nonces_live", "Heartbeat nonces remembered.", figures.nonces),
            ("hatchfarm_rate_limit_buckets", "Client addresses with a token bucket.", figures.rate_limit_buckets),
        ):
            yield GaugeMetricFamily(name, help_text, value=float(value))
        for name, help_text, count in (
            ("hatchfarm_worker_auth_failures", "Worker auth failures.", figures.failures),
            (
                "hatchfarm_worker_auth_failures_unattributed",
                "Worker auth failures that named no known worker.",
                figures.failures_unattributed,
            ),
            ("hatchfarm_rate_limited", "Requests refused by the rate limit.", figures.rate_limited),
        ):
            yield CounterMetricFamily(name, help_text, value=count)
        by_reason = CounterMetricFamily(
            "hatchfarm_worker_auth_failures_by_reason",
            "Worker auth failures by reason.",
            labels=["reason"],
        )
        for reason, count in figures.failures_by_reason.items():
            by_reason.add_metric([reason], count)
        yield by_reason
        answers = CounterMetricFamily(
            "hatchfarm_heartbeats",
            "Heartbeats that were decided, by the status of the answer; what the rate limit refuses never gets so far.",
            labels=["status"],
        )
        for status, count in sorted(figures.heartbeat_answers.items()):
            answers.add_metric([str(status)], count)
        yield answers
        for figure in figures.more:
            family = CounterMetricFamily if figure.counts else GaugeMetricFamily
            if not figure.label:
                yield family(figure.name, figure.help_text, value=float(figure.value))
                continue
            labelled = family(figure.name, figure.help_text, labels=[figure.label])
            for word, number in figure.by_label.items():
                labelled.add_metric([word], float(number))
            yield labelled


def expose(figures: Figures) -> bytes:
    """Write the figures with HELP and TYPE."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(figures))
    return generate_latest(registry)
