"""Every scrape of a run as OpenMetrics text, for whoever wants the server's own figures in tools of their own.

`promtool tsdb create-blocks-from openmetrics` loads it into Prometheus. Times are the run's own, from its start on.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest

from reference_server.wire.units import SECOND_NS
from simulator.limits import SCRAPES_SHOWN_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.report.report_input import ReportInput

_NAME = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?")
_LABEL = re.compile(r'(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"')


class _Scrapes:
    """The samples of all scrapes by metric, as the exposition wants them: a metric's own, oldest first."""

    def __init__(self, report_input: ReportInput) -> None:
        self._start_seconds = _unix_seconds(report_input.record.started_at)
        scrapes = report_input.history.scrapes
        step = -(-len(scrapes) // SCRAPES_SHOWN_MAX) or 1
        self._scrapes = scrapes[::step]

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with its samples. Without a type: what a target calls its metrics is its own affair."""
        metrics: dict[str, Metric] = {}
        series: dict[str, list[tuple[float, float]]] = {}
        for scrape in self._scrapes:
            moment = self._start_seconds + scrape.answered_ns / SECOND_NS
            for exposed, value in scrape.samples.items():
                series.setdefault(exposed, []).append((moment, value))
        for exposed, points in series.items():
            match = _NAME.fullmatch(exposed)
            if match is None:
                continue
            metric = metrics.setdefault(match[1], Metric(match[1], "", "unknown"))
            labels = dict(_LABEL.findall(match[2] or ""))
            for moment, value in points:
                metric.add_sample(match[1], labels, value, round(moment, 3))
        yield from metrics.values()


def _unix_seconds(started_at: str) -> float:
    """Read when the run began; 0 where a stored record does not say it as ISO 8601."""
    try:
        return datetime.fromisoformat(started_at).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def openmetrics(report_input: ReportInput) -> bytes:
    """Write the scrapes, thinned out evenly where there are too many."""
    return bytes(generate_latest(_Scrapes(report_input)))  # type: ignore[no-untyped-call]  # the library has no types there
