"""Which plots a run's report has: those there is data for, all over one scale of time but for the distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.history.schedule import response_times
from simulator.report import market, market_plots, plots, series, summed_plots
from simulator.report.over_time import RunTime, clock_of
from simulator.report.spans import spans_of
from simulator.scenario.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.checkers.bounds import ScrapeBounds
    from simulator.report.drawing import Plot
    from simulator.report.report_input import ReportInput
    from simulator.scenario.thresholds import Threshold

BOUNDS = frozenset({"<", "<=", ">", ">="})
"""Comparisons that set a bound, which can be drawn as a line."""


def draw_plots(report_input: ReportInput, bounds: Sequence[ScrapeBounds]) -> list[Plot]:
    """Draw what there is data for."""
    history, elapsed_ns = report_input.history, report_input.record.elapsed_ns
    time = RunTime(elapsed_ns / SECOND_NS, spans_of(report_input, bounds), clock_of(report_input))
    drawn = [summed_plots.plot_spans(time)]
    slow = thresholds_on(report_input, "heartbeat.response_time")
    if len(history):
        rate = thresholds_on(report_input, "heartbeat.rate")
        drawn.append(plots.plot_rates(series.rates(history, elapsed_ns), time, rate))
        drawn.append(plots.plot_latencies(series.latencies(history, elapsed_ns), time, slow))
    if bounds:
        threshold = report_input.record.facts.auth_threshold
        stale = series.alert(bounds, STALE_ALERT, 1, lambda one: one.stale)
        recent = series.alert(bounds, AUTH_ALERT, threshold, lambda one: one.recent)
        drawn.append(plots.plot_freshness(series.freshness(bounds), time))
        drawn.append(plots.plot_alert("Alert: stale workers", "Stale workers", stale, time))
        drawn.append(plots.plot_alert("Alert: worker auth failures", "Recent auth failures", recent, time))
    if (jobs := market.jobs_over_time(history, elapsed_ns)) is not None:
        drawn.append(market_plots.plot_jobs(jobs, time))
    if history.generator:
        drawn.append(plots.plot_health(series.health(history.generator), time))
    if len(history):
        drawn.append(summed_plots.plot_distribution(response_times(history)[1], slow))
    return [one for one in drawn if one is not None]


def thresholds_on(report_input: ReportInput, metric: str) -> list[Threshold]:
    """Return the scenario's thresholds on a metric that set a bound."""
    expressions = report_input.record.thresholds.get(metric, ())
    found = [parse_threshold(metric, expression) for expression in expressions]
    return [one for one in found if one.comparison in BOUNDS]
