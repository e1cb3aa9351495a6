"""A run's current state as Prometheus metrics: their names, labels and values. No I/O."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.history.counting import BUCKETS_NS
from simulator.worlds.progress import Kind, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric

    from simulator.view.state import ViewState

PREFIX = "hatchfarm_run"
NO_ANSWER = "none"
"""The status label of requests without an answer."""
STATES = {Status.PASS: 1.0, Status.FAIL: 0.0}


class RunCollector:
    """A Prometheus collector for the latest state of a run; it yields nothing before the first state."""

    def __init__(self, latest: Callable[[], ViewState | None]) -> None:
        self._latest = latest

    def collect(self) -> Iterator[Metric]:
        """Return the metrics. The Prometheus client calls this from its own thread."""
        state = self._latest()
        if state is not None:
            yield from metrics_of(state)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", about, value=value)


def _gauges(name: str, about: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", about, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _counters(name: str, about: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_{name}", about, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def metrics_of(state: ViewState) -> Iterator[Metric]:
    """Return the metrics of one state. Labels come from the scenario and the contract, and contain no secrets."""
    yield from _course(state)
    yield from _answers(state)
    yield from _judged(state)


def _course(state: ViewState) -> Iterator[Metric]:
    yield _gauges("info", "What is run.", ("scenario", "seed"), [((state.name, str(state.seed)), 1.0)])
    yield _gauge("elapsed_seconds", "How long the run plays, in its own time.", state.elapsed_ns / SECOND_NS)
    yield _gauge("duration_seconds", "How long the scenario plays in all.", state.duration_ns / SECOND_NS)
    phases = [((str(phase),), float(phase is state.phase)) for phase in Phase]
    yield _gauges("phase", "1 for what the run is at, 0 for the rest.", ("phase",), phases)
    yield _gauge("machines_wanted", "Machines that should take part now.", state.machines_wanted)
    yield _gauge("machines_connected", "Machines that have a connection.", state.machines_connected)
    yield _gauge(
        "requests_in_flight", "Requests of machines and attackers that wait for their answer.", state.in_flight
    )
    counts: dict[Kind, int] = dict.fromkeys(Kind, 0)
    for one in state.under_way:
        counts[one.kind] += 1
    going = [((str(kind),), float(count)) for kind, count in counts.items()]
    yield _gauges("going_on", "Faults, attack campaigns and alerts that go on now.", ("kind",), going)


def _answers(state: ViewState) -> Iterator[Metric]:
    results = (("accepted", state.accepted), ("refused", state.refused), ("lost", state.lost))
    yield _counters(
        "heartbeats", "Heartbeats of the fleet by what came of them.", ("result",), [((one,), n) for one, n in results]
    )
    yield _gauge("heartbeats_accepted_per_second", "Heartbeats accepted a second, of the last seconds.", state.rate)
    for name, about, label, counts in (
        ("answers", "Answers to honest requests by operation and status.", "operation", state.answers),
        ("attack_answers", "Answers to attacks by attack and status.", "attack", state.attack_answers),
    ):
        rows = [((of, str(status) if status else NO_ANSWER), float(n)) for (of, status), n in sorted(counts.items())]
        yield _counters(name, about, (label, "status"), rows)
    hostile = (
        ("refused", state.attacks_refused),
        ("accepted", state.attacks_accepted),
        ("neither", state.attacks_other),
    )
    yield _counters(
        "attacks", "Hostile requests by what came of them.", ("result",), [((one,), float(n)) for one, n in hostile]
    )
    bounds = [*(str(bound / SECOND_NS) for bound in BUCKETS_NS), "+Inf"]
    histogram = HistogramMetricFamily(
        f"{PREFIX}_response_time_seconds", "Response times of the fleet's heartbeats, from when each was planned."
    )
    buckets = list(zip(bounds, map(float, accumulate(state.buckets)), strict=True))
    histogram.add_metric([], buckets, state.response_total_ns / SECOND_NS)
    yield histogram
    starts = (("held_up", state.held_up), ("dropped", state.dropped_starts))
    yield _counters(
        "unsent_starts",
        "Planned starts that were never sent: held up by an answer that was due, or dropped by the harness.",
        ("reason",),
        [((one,), float(n)) for one, n in starts],
    )


def _judged(state: ViewState) -> Iterator[Metric]:
    raised = [((name,), float(count)) for name, count in sorted(state.alerts_raised.items())]
    yield _counters("alerts_raised", "How often the target was seen to raise an alert.", ("alert",), raised)
    labels = ("metric", "threshold")
    measured = [((one.metric, one.expression), one.value) for one in state.thresholds]
    yield _gauges(
        "threshold_value",
        "What was measured for a threshold, in its own unit; times are seconds.",
        labels,
        [(of, value) for of, value in measured if value is not None],
    )
    holds = [
        ((one.metric, one.expression), STATES[one.status])
        for one in state.thresholds
        if one.status is not None and one.status in STATES
    ]
    yield _gauges("threshold_holds", "1 while a threshold holds, 0 while it does not.", labels, holds)
