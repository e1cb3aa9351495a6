"""What each scrape may have shown: the bounds of its figures, through restarts and whatever nobody knows."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import CLOCK_RATE_TOLERANCE, Range, ScrapeBounds, clocks_apart_ns, scrape_bounds
from simulator.checkers.incarnations import each_incarnation, incarnation_of, restarts_of
from simulator.checkers.unknown import perhaps_sent, unknown_from_ns
from simulator.contract.metrics import (
    BY_REASON,
    FAILURES,
    RECENT,
    UNATTRIBUTED,
    UNKNOWN,
    UPTIME,
    WORKERS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.history.records import Fault
    from simulator.history.rows import History

UPTIME_STEP_SECONDS = 1.0
"""A server may show its uptime in whole seconds."""


def find_restarts(history: History, facts: Facts) -> dict[int, int]:
    """Find the scrapes before which the server may have started anew: its uptime did not grow as time passed.

    Return their moments by their place in the history.
    """
    restarts: dict[int, int] = {}
    before, before_ns = facts.baseline.get(UPTIME), 0
    for index, scrape in enumerate(history.scrapes):
        uptime = scrape.samples.get(UPTIME)
        if uptime is not None:
            if before is not None:
                passed = (scrape.sent_ns - before_ns) / SECOND_NS
                if uptime - before < max(0.0, passed * (1 - CLOCK_RATE_TOLERANCE) - UPTIME_STEP_SECONDS):
                    restarts[index] = scrape.sent_ns
            before, before_ns = uptime, scrape.answered_ns
    return restarts


def unexplained(history: History, facts: Facts) -> dict[int, int]:
    """Find the scrapes before which the server may have started anew though the run did not make it, as above."""
    known = restarts_of(history)
    return {
        index: at_ns
        for index, at_ns in find_restarts(history, facts).items()
        if not _between(known, history.scrapes[index - 1].sent_ns if index else -inf, at_ns)
    }


def made_anew(history: History, facts: Facts) -> set[int]:
    """Find the scrapes before which the run made the server start anew, by their place in the history.

    A new process may be as old, when a scrape that waited for it is answered, as the one before it would be by then. Of
    several instances one is scraped, and nobody knows which of them was another process.
    """
    if facts.instances > 1:
        return set()
    known, scrapes = restarts_of(history), history.scrapes
    return {at for at in range(1, len(scrapes)) if _between(known, scrapes[at - 1].sent_ns, scrapes[at].sent_ns)}


def _between(restarts: list[Fault], from_ns: float, to_ns: int) -> bool:
    return any(one.began_from_ns <= to_ns and from_ns <= one.ended_to_ns for one in restarts)


def possible(history: History, facts: Facts) -> Iterator[ScrapeBounds]:
    """Yield the bounds of each scrape, with what the server showed before the run and what a restart may have lost."""
    for incarnation, known in each_incarnation(history, facts):
        yield from _counted_anew(incarnation, _possible(incarnation, known), known)


def _counted_anew(history: History, bounds: Iterator[ScrapeBounds], facts: Facts) -> Iterator[ScrapeBounds]:
    """Begin the counters anew with each incarnation of a server that keeps the rest of its state (contract §10)."""
    if not facts.durable or not restarts_of(history):
        yield from bounds
        return
    incarnations = [
        iter(list(_possible(incarnation, known)))
        for incarnation, known in each_incarnation(history, msgspec.structs.replace(facts, durable=False))
    ]
    numbers = incarnation_of(history, np.array([one.sent_ns for one in history.scrapes], dtype=np.int64))
    for one, number in zip(bounds, numbers.tolist(), strict=True):
        since = next(incarnations[number])
        yield msgspec.structs.replace(
            one,
            failures=Range(since.failures.low, one.failures.high),
            unattributed=Range(since.unattributed.low, one.unattributed.high),
            by_reason={
                reason: Range(since.by_reason[reason].low, bound.high) for reason, bound in one.by_reason.items()
            },
        )


def _possible(history: History, facts: Facts) -> Iterator[ScrapeBounds]:
    restarts = unexplained(history, facts)
    baseline = facts.baseline
    before = int(baseline.get(WORKERS, 0))
    restarted = False
    unknown_ns = unknown_from_ns(history)
    rows = np.concatenate([history.rows(), perhaps_sent(history)])
    apart_ns = clocks_apart_ns(history, facts)
    for index, one in enumerate(scrape_bounds(rows, history.scrapes, facts, apart_ns)):
        restarted = restarted or index in restarts
        # Workers from before the run may fall silent or come back at any time; failures from before leave the window.
        bounds = ScrapeBounds(
            scrape=one.scrape,
            workers=_shift(one.workers, before),
            unknown=Range(one.unknown.low, one.unknown.high + int(baseline.get(UNKNOWN, 0))),
            stale=Range(one.stale.low, one.stale.high + before),
            failures=_shift(one.failures, int(baseline.get(FAILURES, 0))),
            recent=Range(one.recent.low, one.recent.high + int(baseline.get(RECENT, 0))),
            unattributed=_shift(one.unattributed, int(baseline.get(UNATTRIBUTED, 0))),
            by_reason={
                reason: _shift(bound, int(baseline.get(BY_REASON.format(reason), 0)))
                for reason, bound in one.by_reason.items()
            },
        )
        if one.scrape.answered_ns >= unknown_ns:
            bounds = _open_above(bounds)
        yield _forgotten(bounds) if restarted else bounds


def _open_above(one: ScrapeBounds) -> ScrapeBounds:
    """Widen bounds to what any number of requests may have made of them that nobody knows of."""
    return ScrapeBounds(
        scrape=one.scrape,
        workers=one.workers.open_above(),
        unknown=one.unknown.open_above(),
        stale=one.stale.open_above(),
        failures=one.failures.open_above(),
        recent=one.recent.open_above(),
        unattributed=one.unattributed.open_above(),
        by_reason={reason: bound.open_above() for reason, bound in one.by_reason.items()},
    )


def _forgotten(one: ScrapeBounds) -> ScrapeBounds:
    """Widen bounds to what a server may show that forgot any part of what it knew: durability is not judged here."""
    return ScrapeBounds(
        scrape=one.scrape,
        workers=Range(0, one.workers.high),
        unknown=Range(0, one.workers.high),
        stale=Range(0, one.workers.high),
        failures=Range(0, one.failures.high),
        recent=Range(0, one.recent.high),
        unattributed=Range(0, one.failures.high),  # it may have forgotten the workers too
        by_reason={reason: Range(0, bound.high) for reason, bound in one.by_reason.items()},
    )


def _shift(bound: Range, by: int) -> Range:
    return Range(bound.low + by, bound.high + by)
