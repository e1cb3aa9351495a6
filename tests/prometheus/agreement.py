"""Holding Prometheus' alerts against what the checkers know must have been so. Nothing here waits or asks anybody.

How late may an alert be? Prometheus' own times say. An evaluation sees the newest sample that is stored and no younger
than itself. A target's scrapes come one after the other, each stored before the next begins; so that sample is of the
last scrape that had begun, or, while that one is not stored yet, of the one before. Whichever it was, the server wrote
it between the beginning of the earlier and the end of the later. The checkers bound what a correct server may show
anywhere within such a time; where both bounds are on one side of the threshold, the alert has to be there too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from reference_server.wire.units import MILLISECOND_NS
from simulator.checkers.bounds import scrape_bounds
from tests.prometheus.prometheus import INTERVAL_MS, Scraped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.checkers.bounds import Range
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

STALE_GAUGE, AUTH_GAUGE = "hatchfarm_alert_stale_workers", "hatchfarm_alert_worker_auth_failures"


class ClockReading(NamedTuple):
    """The wall clock, read between two readings of the monotonic one; nanoseconds."""

    before_ns: int
    wall_ns: int
    after_ns: int


class RunClock(NamedTuple):
    """From Unix time to a history's time: how far apart they were at the least and at the most."""

    least_ns: int
    most_ns: int

    @classmethod
    def of(cls, readings: Sequence[ClockReading], run_began: tuple[int, int]) -> RunClock:
        """Learn it from readings at both ends of the run, so that whatever the wall clock did between them counts.

        `run_began` is when the history's time began, on the monotonic clock: at the earliest and at the latest.
        """
        return cls(
            min(reading.wall_ns - reading.after_ns for reading in readings) + run_began[0],
            max(reading.wall_ns - reading.before_ns for reading in readings) + run_began[1],
        )

    def during(self, start_ms: int, end_ms: int) -> tuple[int, int]:
        """Return the shortest time of the history that surely holds a time of the wall clock."""
        return start_ms * MILLISECOND_NS - self.most_ns, end_ms * MILLISECOND_NS - self.least_ns


class Judged(NamedTuple):
    """One evaluation: did the alert fire, what had the scrapes it may have seen shown, and what was the truth.

    The truth is None where a correct server may have shown either.
    """

    at_ms: int
    firing: bool
    shown: frozenset[bool]
    truth: bool | None

    @property
    def wrong(self) -> bool:
        """Return whether this is impossible with a right server, right rules and a right Prometheus."""
        return self.firing not in self.shown or self.truth not in {None, self.firing}


def seen_at(at_ms: int, scrapes: Sequence[Scraped], missed: int) -> Sequence[Scraped]:
    """Return the scrapes of which an evaluation may have seen the sample; nothing when there were not enough yet.

    Where evaluations were missed, this may be one of them, and what is shown be the result of an earlier one. Of two
    things within the same millisecond either may have come first.
    """
    begun = sum(scrape.start_ms < at_ms - missed * INTERVAL_MS for scrape in scrapes)
    end = sum(scrape.start_ms <= at_ms for scrape in scrapes)
    return scrapes[begun - 2 : end] if begun > 1 else ()


def possible_at(
    gauge: str, seen: Sequence[tuple[int, Sequence[Scraped]]], history: History, facts: Facts, clock: RunClock
) -> list[Range]:
    """Work out how large the count behind a gauge may have been for each evaluation, were the server right."""
    readings = []
    for _, scrapes in seen:
        sent_ns, answered_ns = clock.during(scrapes[0].start_ms, scrapes[-1].end_ms)
        readings.append(msgspec.structs.replace(history.scrapes[0], sent_ns=sent_ns, answered_ns=answered_ns))
    bounds = scrape_bounds(history.rows(), readings, facts)
    return [one.stale if gauge == STALE_GAUGE else one.recent for one in bounds]


def judge(
    gauge: str,
    threshold: int,
    firing_ms: set[int],
    seen: Sequence[tuple[int, Sequence[Scraped]]],
    possible: Sequence[Range],
) -> list[Judged]:
    """Judge an alert at every evaluation: `seen` and `possible` are of the same evaluations in the same order."""
    judged = []
    for (at_ms, scrapes), count in zip(seen, possible, strict=True):
        truth = True if count.low >= threshold else (False if count.high < threshold else None)
        if not all(scrape.samples for scrape in scrapes):
            truth = None  # what Prometheus could not read it cannot know
        shown = frozenset(scrape.samples.get(gauge) == 1 for scrape in scrapes)
        judged.append(Judged(at_ms, at_ms in firing_ms, shown, truth))
    return judged


def turns(judged: Sequence[Judged]) -> list[bool]:
    """Return the certain truths in order, without repetitions."""
    truths = [one.truth for one in judged if one.truth is not None]
    return [truth for index, truth in enumerate(truths) if index == 0 or truths[index - 1] is not truth]
