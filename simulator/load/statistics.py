"""Tallies in Locust's statistics: whole lines at a time, so that nothing is fired for each heartbeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locust.stats import StatsEntry, StatsError

from simulator.history.histogram import Histogram
from simulator.load.messages import Count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from locust.stats import RequestStats

    from simulator.judging.tally import Tally


def merge_tallies(statistics: RequestStats, tallies: Iterable[Tally], unix_seconds: float) -> None:
    """Add tallies to a node's statistics, as requests of this second."""
    for one in tallies:
        entry = _entry(statistics, one, unix_seconds)
        statistics.entries[one.name, one.method].extend(entry)
        statistics.total.extend(entry)
        for reason, count in one.failures.items():
            key = StatsError.create_key(one.method, one.name, reason)
            error = statistics.errors.setdefault(key, StatsError(one.method, one.name, reason))
            error.occurrences += count


def _entry(statistics: RequestStats, tally: Tally, unix_seconds: float) -> StatsEntry:
    answered = Histogram.from_wire(tally.answered)
    shown = answered.in_milliseconds()
    entry = StatsEntry(statistics, tally.name, tally.method)
    requests, failures = answered.count + tally.lost, sum(tally.failures.values())
    entry.num_requests, entry.num_none_requests, entry.num_failures = requests, tally.lost, failures
    entry.response_times.update(shown.response_times)
    # Locust declares whole milliseconds and keeps what it is given, which are floats.
    vars(entry).update(
        total_response_time=shown.total, min_response_time=shown.minimum, max_response_time=shown.maximum
    )
    entry.num_reqs_per_sec[int(unix_seconds)] = requests
    if failures:
        entry.num_fail_per_sec[int(unix_seconds)] = failures
    entry.last_request_timestamp = unix_seconds
    return entry


def counts_of(statistics: RequestStats) -> list[Count]:
    """Return a node's statistics, a line each."""
    return [
        Count(entry.method, entry.name, entry.num_requests, entry.num_failures)
        for _, entry in sorted(statistics.entries.items())
        if entry.num_requests or entry.num_failures
    ]
