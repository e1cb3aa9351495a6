"""The numbers behind the plots: a history by columns of time, as many as a plot can show. Times in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import UNBOUNDED
from simulator.contract.answers import Answer, Operation
from simulator.contract.metrics import AUTH_ALERT, RECENT, STALE, STALE_ALERT, UNKNOWN, WORKERS
from simulator.history.rows import HONEST
from simulator.history.schedule import response_times
from simulator.limits import PLOT_COLUMNS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from simulator.checkers.bounds import Range, ScrapeBounds
    from simulator.history.records import GeneratorSample
    from simulator.history.rows import History

    Floats = NDArray[np.float64]

LATENCY_PERCENTILES = (50, 90, 99)
COUNTS_OF = {STALE_ALERT: STALE, AUTH_ALERT: RECENT}
"""The count each alert gauge goes by."""


class Rates(msgspec.Struct, frozen=True):
    """Requests a second by column: honest heartbeats by what became of them, and hostile requests of any kind."""

    at: Floats
    width: float
    sent: Floats
    accepted: Floats
    refused: Floats
    lost: Floats
    attacks: Floats


class Latencies(msgspec.Struct, frozen=True):
    """Response times of honest heartbeats by the column they were planned in: a row each of `LATENCY_PERCENTILES`."""

    at: Floats
    percentiles: Floats


class Counted(msgspec.Struct, frozen=True):
    """One figure of the metrics page at each scrape: what it was, what it could have been, and where it was neither."""

    at: Floats
    value: Floats
    low: Floats
    high: Floats

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Return where the value was impossible."""
        return (self.value < self.low) | (self.value > self.high)

    @property
    def ceiling(self) -> Floats:
        """Return the upper bounds as they can be drawn: where there is none, a little above all there is to see."""
        bounded = self.high < UNBOUNDED // 2
        top = max(float(self.value.max(initial=1)), float(self.high[bounded].max(initial=1)))
        return np.where(bounded, self.high, 1.25 * top)


class Strip(msgspec.Struct, frozen=True):
    """An alert over time, as spans of (start, length): as shown, as it had to be, and where either was right."""

    shown_on: list[tuple[float, float]]
    must_be_on: list[tuple[float, float]]
    either: list[tuple[float, float]]


class Alert(msgspec.Struct, frozen=True):
    """An alert's count against its threshold, and its gauge."""

    count: Counted
    strip: Strip
    threshold: int


class Health(msgspec.Struct, frozen=True):
    """The harness itself: worst loop lag in seconds, share of one core, planned starts that were dropped."""

    at: Floats
    lag: Floats
    cpu: Floats
    dropped: Floats


def columns_of(elapsed_ns: int) -> Floats:
    """Return the borders of columns of whole seconds, in nanoseconds, as many as a plot shows at most."""
    seconds = max(1, -(-elapsed_ns // SECOND_NS))
    width = -(-seconds // PLOT_COLUMNS_MAX)
    return np.arange(0, seconds + width, width, dtype=np.float64) * SECOND_NS


def rates(history: History, elapsed_ns: int) -> Rates:
    """Count what was sent in each column."""
    rows = history.rows()
    borders = columns_of(elapsed_ns)
    width = (borders[1] - borders[0]) / SECOND_NS
    honest = (rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST)
    got = rows["got"]
    accepted, lost = got == Answer.ACCEPTED, got == Answer.LOST

    def per_second(which: NDArray[np.bool_]) -> Floats:
        counts: Floats = np.histogram(rows["sent_ns"][which], borders)[0] / width
        return counts

    return Rates(
        at=borders[:-1] / SECOND_NS,
        width=float(width),
        sent=per_second(honest),
        accepted=per_second(honest & accepted),
        refused=per_second(honest & ~accepted & ~lost),
        lost=per_second(honest & lost),
        attacks=per_second(rows["campaign"] != HONEST),
    )


def latencies(history: History, elapsed_ns: int) -> Latencies:
    """Take the percentiles of each column, as times that somebody waited; NaN where nothing was answered."""
    borders = columns_of(elapsed_ns)
    planned_ns, taken = response_times(history)
    planned_ns, taken = planned_ns[np.isfinite(taken)], taken[np.isfinite(taken)]
    column = np.searchsorted(borders, planned_ns, side="right") - 1
    order = np.lexsort((taken, column))
    column, taken = column[order], taken[order]
    starts = np.searchsorted(column, np.arange(len(borders) - 1), side="left")
    counts = np.searchsorted(column, np.arange(len(borders) - 1), side="right") - starts
    percentiles = np.full((len(LATENCY_PERCENTILES), len(borders) - 1), np.nan)
    some = counts > 0
    for row, percentile in enumerate(LATENCY_PERCENTILES):
        ranks = -(-percentile * counts[some] // 100)
        percentiles[row, some] = taken[starts[some] + ranks - 1]
    return Latencies((borders[:-1] + borders[1:]) / 2 / SECOND_NS, percentiles)


def counted(bounds: Sequence[ScrapeBounds], metric: str, bound_of: Callable[[ScrapeBounds], Range]) -> Counted:
    """Follow a metric over the scrapes that show it."""
    shown = [one for one in bounds if np.isfinite(one.scrape.samples.get(metric, np.nan))]
    return _counted(shown, [one.scrape.samples[metric] for one in shown], [bound_of(one) for one in shown])


def _counted(shown: Sequence[ScrapeBounds], values: Sequence[float], ranges: Sequence[Range]) -> Counted:
    return Counted(
        at=np.array([(one.scrape.sent_ns + one.scrape.answered_ns) / 2 / SECOND_NS for one in shown]),
        value=np.array(values, dtype=np.float64),
        low=np.array([one.low for one in ranges], dtype=np.float64),
        high=np.array([one.high for one in ranges], dtype=np.float64),
    )


def freshness(bounds: Sequence[ScrapeBounds]) -> dict[str, Counted]:
    """Follow how many workers were fresh, stale and unknown. Fresh is what the other two leave of all."""
    needed = (WORKERS, STALE, UNKNOWN)
    shown = [one for one in bounds if all(np.isfinite(one.scrape.samples.get(name, np.nan)) for name in needed)]
    stale, unknown = counted(shown, STALE, lambda one: one.stale), counted(shown, UNKNOWN, lambda one: one.unknown)
    workers = counted(shown, WORKERS, lambda one: one.workers)
    fresh = Counted(
        at=workers.at,
        value=workers.value - stale.value - unknown.value,
        low=np.maximum(0, workers.low - stale.high - unknown.high),
        high=np.maximum(0, workers.high - stale.low - unknown.low),
    )
    return {"fresh": fresh, "stale": stale, "unknown": unknown}


def alert(
    bounds: Sequence[ScrapeBounds], gauge: str, threshold: int, bound_of: Callable[[ScrapeBounds], Range]
) -> Alert:
    """Follow an alert's count and gauge."""
    return Alert(counted(bounds, COUNTS_OF[gauge], bound_of), _strip(bounds, gauge, threshold, bound_of), threshold)


def _strip(
    bounds: Sequence[ScrapeBounds], gauge: str, threshold: int, bound_of: Callable[[ScrapeBounds], Range]
) -> Strip:
    return Strip(
        shown_on=shown_on(bounds, gauge),
        must_be_on=_spans(bounds, lambda one: bound_of(one).low >= threshold),
        either=_spans(bounds, lambda one: bound_of(one).low < threshold <= bound_of(one).high),
    )


def shown_on(bounds: Sequence[ScrapeBounds], gauge: str) -> list[tuple[float, float]]:
    """Return when an alert's gauge was on, as spans of (start, length)."""
    return _spans(bounds, lambda one: one.scrape.samples.get(gauge, 0.0) > 0)


def _spans(bounds: Sequence[ScrapeBounds], which: Callable[[ScrapeBounds], bool]) -> list[tuple[float, float]]:
    """Make spans in which each scrape stands for the time until the next one."""
    at = [one.scrape.sent_ns / SECOND_NS for one in bounds]
    ends = [*at[1:], bounds[-1].scrape.answered_ns / SECOND_NS] if bounds else []
    found: list[tuple[float, float]] = []
    for one, start, end in zip(bounds, at, ends, strict=True):
        if which(one):
            first = found.pop()[0] if found and found[-1][1] == start else start
            found.append((first, end))
    return [(start, end - start) for start, end in found]


def health(samples: Sequence[GeneratorSample]) -> Health:
    """Follow the harness itself."""
    return Health(
        at=np.array([one.at_ns / SECOND_NS for one in samples]),
        lag=np.array([one.loop_lag_ns / SECOND_NS for one in samples]),
        cpu=np.array([one.cpu_share for one in samples]),
        dropped=np.array([float(one.dropped_starts) for one in samples]),
    )


def thinned(at: Floats, values: Floats, *keep: NDArray[np.bool_]) -> NDArray[Any]:
    """Choose the points to draw: of each column of pixels the least and the greatest, and those that must be seen.

    Return their places, in order. `keep` marks the points that must be seen; of those too only one a column.
    """
    if len(at) <= 2 * PLOT_COLUMNS_MAX:
        return np.arange(len(at))
    column = np.minimum((np.arange(len(at)) * PLOT_COLUMNS_MAX) // len(at), PLOT_COLUMNS_MAX - 1)
    order = np.lexsort((values, column))
    firsts = np.flatnonzero(np.diff(column[order], prepend=-1))
    lasts = np.append(firsts[1:], len(at)) - 1
    chosen = [order[firsts], order[lasts]]
    for marked in keep:
        places = np.flatnonzero(marked)
        chosen.append(places[np.unique(column[places], return_index=True)[1]])
    return np.unique(np.concatenate(chosen))
