"""From a history and the checkers' figures to judged thresholds."""

from __future__ import annotations

import math
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.judging import crossed_closes
from simulator.checkers.revocation import times_to_stop_s
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import NEVER_NS
from simulator.history.schedule import (
    held_up_starts,
    honest_heartbeats,
    own_lateness_ns,
    seconds_to_answer,
    unseen,
)
from simulator.history.starvation import starved
from simulator.judging.market_shown import market_seconds, shown_of
from simulator.judging.parts import Series, heartbeat_rates, heartbeat_response_times, measure_parts
from simulator.scenario.metrics import MEGABYTE, MEMORY, RATES, TIMES
from simulator.scenario.thresholds import (
    METRICS,
    Threshold,
    aggregates_of,
    counts_accepted_attacks,
    parse_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from simulator.history.rows import History

MEGABYTE_BYTES = 1_000_000
VIOLATIONS = (
    "revocation",
    "credentials",
    "limits",
    "durability",
    "nonces",
    "ledger",
    "metering",
    "matching",
    "isolation",
)
"""Checkers that count violations."""


def measure(
    history: History,
    verdicts: Sequence[Verdict],
    connected_max: int,
    memory_max_bytes: int | None = None,
    parts: Iterable[str] = (),
    campaigns: Mapping[int, str] = MappingProxyType({}),
    until_ns: int = NEVER_NS,
) -> dict[str, Series]:
    """Measure every metric, of the whole run and of its `parts`; `campaigns` are attacks by their number.

    A lost answer counts as an endless wait, never as no wait. What crossed the close of a connection that had
    rested was never asked, and nobody is to blame: it counts as sent, and neither as lost nor as due.
    No second is counted that was not over at `until_ns`.
    """
    rows = history.rows()
    heartbeats = honest_heartbeats(history)
    asked = ~crossed_closes(history, heartbeats)
    due = heartbeats[asked & (heartbeats["expected"] == Answer.ACCEPTED)]
    accepted = int((due["got"] == Answer.ACCEPTED).sum())
    refused = int((~np.isin(heartbeats["got"], [Answer.ACCEPTED, Answer.LOST])).sum())
    lost = int(((rows["got"] == Answer.LOST) & ~crossed_closes(history, rows)).sum())
    held_up = sum(one.count for one in history.waits)
    figures = {verdict.name: verdict.figures for verdict in verdicts}
    dropped = figures.get("generator", {}).get("dropped_starts", 0)
    series = {
        "heartbeat.response_time": Series(values=heartbeat_response_times(history)),
        "heartbeat.service_time": Series(values=seconds_to_answer(history, heartbeats[asked], "sent_ns")),
        "heartbeat.rate": Series(values=heartbeat_rates(history, until_ns)),
        "heartbeat.accepted": Series(count=accepted, total=len(due)),
        "heartbeat.held_up": Series(count=held_up, total=len(heartbeats) + held_up),
        "heartbeat.refused": Series(count=refused, total=len(heartbeats)),
        "requests.lost": Series(count=lost, total=len(rows)),
        "requests.total": Series(count=len(rows), total=len(rows)),
        "generator.dropped_starts": Series(count=dropped, total=len(heartbeats) + dropped),
        "revocation.time_to_stop": Series(values=times_to_stop_s(history)),
        "machines.connected": Series(values=np.array([connected_max], dtype=np.float64)),
    }
    series |= _measure_market(history)
    series |= measure_parts(history, parts, campaigns, until_ns)
    if memory_max_bytes is not None:
        series[MEMORY] = Series(values=np.array([memory_max_bytes / MEGABYTE_BYTES]))
    return series | _measure_checked(figures)


def _measure_checked(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, Series]:
    """Measure what the checkers have counted, each in its figures."""
    answers, alerts, replay = (figures.get(name, {}) for name in ("answers", "alerts", "replay"))
    series = {}
    for metric, figure in (
        ("attacks.accepted", answers.get("attacks_accepted")),
        ("attacks.sent", answers.get("attacks")),
        ("replay.accepted_twice", replay.get("accepted_twice")),
        ("alerts.errors", alerts.get("errors")),
        ("audit.errors", figures.get("audit", {}).get("errors")),
        *((f"{checker}.violations", figures.get(checker, {}).get("violations")) for checker in VIOLATIONS),
        *(
            (f"alerts.{alert}.{event}", alerts.get(alert, {}).get(event))
            for alert in ("stale_workers", "worker_auth_failures")
            for event in ("fired", "cleared")
        ),
        *((f"auth_failures.{reason}", count) for reason, count in alerts.get("auth_failures", {}).items()),
    ):
        if figure is not None:
            series[metric] = Series(count=figure, total=figure)
    return series


def _measure_market(history: History) -> dict[str, Series]:
    """Measure what is about the market; nothing where nobody asked it for anything."""
    if not (history.market_exchanges or history.accounts_shown):
        return {}
    shown = shown_of(history)
    return {
        "job.time_to_start": Series(values=shown.start_seconds),
        "withdrawal.time_to_settle": Series(values=shown.settle_seconds),
        "jobs.finished": Series(count=shown.finished, total=shown.finished),
        "withdrawals.settled": Series(count=shown.settled, total=shown.settled),
        "market.response_time": Series(values=market_seconds(history)),
    }


HARNESS_METRICS = ("generator.",)
"""What is about the harness alone: a threshold on it says nothing about the server."""
LATE_METRICS = (
    "requests.", "machines.", "job.", "jobs.", "withdrawal.", "withdrawals.", "market.",
    "heartbeat.accepted", "heartbeat.held_up", "heartbeat.rate", "operation.", "attack.", "campaign.",
    "attacks.sent", "alerts.stale_workers.",
    "alerts.worker_auth_failures.", "auth_failures.",
)  # fmt: skip
"""What a harness that cannot keep its schedule does not see, or bring about, as it was to be: who is heard too late is
stale, and who fails too seldom is no alert. Whether a server counts rightly what came is the checkers' matter, and what
of an attack was accepted is proven whenever it left."""


def measure_without_own_lateness(
    history: History, generator: Verdict, lag_seconds: float, whole: History | None = None
) -> dict[str, Series]:
    """Measure times as they can have been at best: without what the harness, or want of a CPU, may have added to them.

    No heartbeat is late by it, and what was under way while it stood still, or never left for its sake, took no time.
    Nor did what was under way while somebody starved.
    `whole` is what the history is a part of, if it is one.
    """
    sent, held_up = honest_heartbeats(history), held_up_starts(history)
    dropped = np.zeros(int(generator.figures.get("dropped_starts", 0)))
    times = {}
    for metric, since in (("heartbeat.response_time", "planned_ns"), ("heartbeat.service_time", "sent_ns")):
        taken = seconds_to_answer(history, sent, since)
        if since == "planned_ns":
            taken -= own_lateness_ns(history, whole) / SECOND_NS
        late = unseen(history, sent[since], sent["answered_ns"], lag_seconds) | starved(
            history, sent[since], sent["answered_ns"]
        )
        taken[late | crossed_closes(history, sent)] = 0
        times[metric] = [taken, dropped]
    waited = seconds_to_answer(history, held_up, "planned_ns")
    late = unseen(history, held_up["planned_ns"], held_up["answered_ns"], lag_seconds)
    waited[late | starved(history, held_up["planned_ns"], held_up["answered_ns"])] = 0
    times["heartbeat.response_time"].append(waited)
    return {metric: Series(values=np.concatenate(parts)) for metric, parts in times.items()}


def slow_for_want_of_a_cpu(history: History, slow_seconds: float) -> bool:
    """Return whether any answer took for so long, or never came, while who was to give it or read it starved."""
    rows = history.rows()
    taken = rows["answered_ns"] - rows["sent_ns"] > slow_seconds * SECOND_NS
    slow = rows[taken & ((rows["got"] != Answer.LOST) | (losses_of(rows["status"])[0] == Loss.TIMED_OUT))]
    return bool(starved(history, slow["sent_ns"], slow["answered_ns"]).any())


def excuse(
    thresholds: Sequence[Verdict],
    wanted: Mapping[str, Sequence[str]],
    generator: Verdict,
    best: Mapping[str, Series],
    *,
    starving: bool = False,
) -> list[Verdict]:
    """Make thresholds undecided that were missed perhaps by the harness's own doing; `best` is without it.

    Or for want of a CPU, where somebody was `starving`. A failure that neither explains is proven, whatever else the
    harness did wrong; and in virtual time, where the harness cannot have been late, it explains none.
    """
    late = generator.status.is_problem or starving
    why = "a machine that was too busy" if starving else "the harness"
    times = {metric: expressions for metric, expressions in wanted.items() if metric in best}
    explained = {one.name for one in judge_thresholds(times, best) if late and one.status is Status.PASS}
    return [
        Verdict(one.name, Status.INCONCLUSIVE, f"{one.summary}, for which {why} may be to blame", (), one.figures)
        if one.status is Status.FAIL
        and (
            one.name.startswith(HARNESS_METRICS)
            or (late and _may_be_late(one.name.partition(": ")[0]))
            or one.name in explained
        )
        else one
        for one in thresholds
    ]


def _may_be_late(metric: str) -> bool:
    return metric.startswith(LATE_METRICS) and not counts_accepted_attacks(metric)


def percentile_of(values: NDArray[np.float64], percentile: float) -> float:
    """Return the least value that this share of them did not exceed; never one in between that nobody measured.

    The rank is exact: in floating point 99.9% of 1,000 is more than 999, and one slow request would count as two.
    """
    rank = max(1, math.ceil(Fraction(str(percentile)) * len(values) / 100))
    return float(np.partition(values, rank - 1)[rank - 1])


def _value(threshold: Threshold, series: Series) -> float | None:
    if series.values is not None:
        values = series.values
        if len(values) == 0:
            return None
        match threshold.aggregate:
            case "p":
                return percentile_of(values, threshold.percentile or 0)
            case "med" | "median":
                return percentile_of(values, 50)
            case "min":
                return float(values.min())
            case "max":
                return float(values.max())
            case _:
                return float(values.mean())
    if threshold.aggregate == "rate":
        return series.count / series.total if series.total else None
    return float(series.count)


def _shown(threshold: Threshold, value: float, series: Series) -> str:
    aggregates = aggregates_of(threshold.metric)
    if aggregates is TIMES:
        return f"{value * 1000:.3f} ms"
    if aggregates is RATES:
        return f"{value:.5g} a second"
    if threshold.metric == MEMORY:
        return f"{value:.1f} {MEGABYTE}"
    if threshold.aggregate == "rate":
        return f"{value:.5g} ({series.count:.15g} of {series.total:.15g})"
    return f"{value:.15g}"


CHECKERS_OF: Mapping[str, tuple[str, ...]] = {
    "attacks.accepted": ("answers", "attacks"),
    "replay.accepted_twice": ("replay",),
    "audit.errors": ("audit",),
    **{f"{name}.violations": (name,) for name in VIOLATIONS},
    "revocation.time_to_stop": ("revocation",),
    **{metric: ("alerts",) for metric in METRICS if metric.startswith(("alerts.", "auth_failures."))},
}
"""The checkers that count what a threshold is about: where one does not know, or had nothing to check, nobody does."""


def _checkers_of(metric: str) -> tuple[str, ...]:
    return CHECKERS_OF.get("attacks.accepted" if counts_accepted_attacks(metric) else metric, ())


def judge_thresholds(
    wanted: Mapping[str, Sequence[str]], series: Mapping[str, Series], checkers: Sequence[Verdict] = ()
) -> list[Verdict]:
    """Judge every expression. Without data it is inconclusive, never a pass, as it is where its checker is."""
    by_name = {one.name: one for one in checkers}
    verdicts = []
    for metric, expressions in wanted.items():
        for expression in expressions:
            threshold = parse_threshold(metric, expression)
            name = f"{metric}: {expression}"
            measured = series.get(metric)
            value = None if measured is None else _value(threshold, measured)
            if measured is None or value is None:
                verdicts.append(Verdict(name, Status.INCONCLUSIVE, f"{metric} was not measured in this run."))
                continue
            shown = _shown(threshold, value, measured)
            figures: dict[str, Any] = {"value": value if np.isfinite(value) else None}
            silent = _silent([by_name[one] for one in _checkers_of(metric) if one in by_name])
            if silent is not None:
                why = f"{shown}, but {silent.name} is {silent.status.value}: {silent.summary}"
                verdicts.append(Verdict(name, silent.status, why, (), figures))
                continue
            if threshold.holds(value):
                verdicts.append(Verdict(name, Status.PASS, shown, (), figures))
            else:
                finding = Finding(f"threshold.{metric}", f"{metric} was {shown}, wanted {expression}", 0, figures)
                verdicts.append(Verdict(name, Status.FAIL, shown, (finding,), figures))
    return verdicts


def _silent(checkers: Sequence[Verdict]) -> Verdict | None:
    """Return the checker that keeps a count from saying anything; None where all of them judged, or one has proof."""
    if any(one.status is Status.FAIL for one in checkers):
        return None
    for status in (Status.INCONCLUSIVE, Status.NOT_APPLICABLE):
        for one in checkers:
            if one.status is status:
                return one
    return None
