"""Jobs that wait while they need not: a machine surely has room, or another account had more than its turn (Jobs)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.checkers.excused import Excused
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.market_view import seconds
from simulator.checkers.market_workers import most_of
from simulator.checkers.verdict import Finding
from simulator.contract.pricing import ON_WORKER, Need, capacity_of, highest_rate, hourly_rate, units
from simulator.history.rows import NEVER_NS
from simulator.history.starvation import Starvation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_view import JobStory
    from simulator.checkers.market_workers import Workers
    from simulator.history.market_records import ResourcesShown
    from simulator.history.rows import History

JOBS_OF_ONE_MAX = 64
"""A machine with so many jobs need not take one more, however much it has left: each of its answers would name it."""

LISTS_MIN = 2
"""Room is to be seen twice, with a heartbeat between."""


class Waited(NamedTuple):
    """A job that surely waited through a time, what it needs, and the highest rate that it may cost."""

    story: JobStory
    need: Need
    highest: int
    from_ns: int
    to_ns: int


def starvation_unjudged(history: History, facts: Facts) -> str:
    """Return why nobody can say whether a job waited though a machine had room; empty where it is judged."""
    if facts.market is None:
        return "the settings of the target's market are not known"
    if len(history.resources_shown) < LISTS_MIN:
        return "what was on offer was not listed twice"
    return ""


def starved_jobs(
    history: History, facts: Facts, stories: dict[str, JobStory], workers: Workers, waits_max: int
) -> Iterator[Finding]:
    """Find jobs that stayed queued while a machine was shown with room for them, again after a heartbeat of its own.

    Only where any price would have been within their maximum.
    """
    market = facts.market
    if market is None or starvation_unjudged(history, facts):
        return
    excused, starvation = Excused(history, late=True), Starvation(history)
    listed, jobs_of = _Lists(history.resources_shown, workers), _JobsOf(stories)
    for one in islice(_all_waited(stories), waits_max):
        dearest = hourly_rate(
            one.need,
            *(2 * price for price in (market.price_cpu_hour, market.price_memory_gb_hour, market.price_gpu_hour)),
        )
        if dearest > one.highest:
            continue
        found = _room_twice(listed.within(one.from_ns, one.to_ns), one.need, workers)
        if found is None:
            continue
        worker_id, first, second = found
        if jobs_of.most(worker_id, first.sent_ns, second.answered_ns) >= JOBS_OF_ONE_MAX:
            continue
        ends = np.array([first.sent_ns]), np.array([second.answered_ns])
        if excused.overlap(*ends).any() or starvation.covers(*ends).any():
            continue
        message = (
            f"job {one.story.id} stayed queued from {seconds(one.from_ns)} to {seconds(one.to_ns)}, though {worker_id} "
            f"had room for it at {seconds(first.answered_ns)} and at {seconds(second.sent_ns)}, and was heard between"
        )
        evidence = {"job": one.story.id, "account": one.story.account, "worker_id": worker_id}
        yield Finding("matching.starved", message, first.sent_ns, evidence)


class _JobsOf:
    """Which jobs were ever shown on which machine."""

    def __init__(self, stories: dict[str, JobStory]) -> None:
        self._of: dict[str, list[JobStory]] = defaultdict(list)
        for story in stories.values():
            for worker_id in {shown.worker_id for shown in story.shown}:
                self._of[worker_id].append(story)

    def most(self, worker_id: str, from_ns: int, to_ns: int) -> int:
        """Return how many jobs a machine may have had at once between two moments."""
        there = self._of.get(worker_id, ())
        return sum(one.created_from_ns() <= to_ns and one.ended_by_ns() >= from_ns for one in there)


def _all_waited(stories: dict[str, JobStory]) -> Iterator[Waited]:
    for story in stories.values():
        need, maximum, minutes = story.need, story.maximum, story.minutes
        if need is None or maximum is None or minutes is None:
            continue
        for from_ns, to_ns in story.queued_spans():
            yield Waited(story, need, highest_rate(maximum, minutes), from_ns, to_ns)


class _Lists:
    """What was listed, in the order of asking."""

    def __init__(self, lists: list[ResourcesShown], workers: Workers) -> None:
        self._listed = [_Listed(shown, workers) for shown in sorted(lists, key=lambda one: one.sent_ns)]
        self._sent_ns = [one.shown.sent_ns for one in self._listed]

    def within(self, from_ns: int, to_ns: int) -> Iterator[_Listed]:
        """Yield those that were asked for and shown between two moments."""
        first, last = bisect_left(self._sent_ns, from_ns), bisect_right(self._sent_ns, to_ns)
        return (one for one in islice(self._listed, first, last) if one.shown.answered_ns <= to_ns)


class _Listed:
    """What was listed as left of which machines, and the most that any of them had left of each quantity."""

    def __init__(self, shown: ResourcesShown, workers: Workers) -> None:
        self.shown = shown
        rows = ((str(row.get("worker_id")), capacity_of(row)) for row in shown.resources)
        self.left = [(name, left) for name, left in rows if left is not None and name in workers.numbers]
        self.most = most_of([left for _, left in self.left])


def _room_twice(
    listed: Iterable[_Listed], need: Need, workers: Workers
) -> tuple[str, ResourcesShown, ResourcesShown] | None:
    """Return a machine that was listed with room twice, with a heartbeat of its own that was accepted between."""
    first: dict[str, ResourcesShown] = {}
    for one in listed:
        if not one.most.fits(need):
            continue
        for worker_id, left in one.left:
            if not left.fits(need):
                continue
            before = first.setdefault(worker_id, one.shown)
            beats = workers.beats(workers.numbers[worker_id])
            if beats.one_within(before.answered_ns, one.shown.sent_ns):
                return worker_id, before, one.shown
    return None


class Placed(NamedTuple):
    """A job that surely waited, and was surely placed after: between two moments."""

    story: JobStory
    need: Need
    rate: int
    from_ns: int
    to_ns: int


class Turns:
    """Who was served while whom: what each account's jobs were at, so that not every pair of jobs is looked at."""

    def __init__(self, history: History, stories: dict[str, JobStory], waits_max: int, looks_max: int) -> None:
        self._restarts = [(one.began_from_ns, one.ended_to_ns) for one in restarts_of(history)]
        waits = list(islice(_all_waited(stories), waits_max + 1))
        self._waits = waits[:waits_max]
        self.complete = len(waits) <= waits_max
        """Whether every pair was looked at: `passed_over` says so at its end."""
        self._looks_left = looks_max
        self._times: dict[str, list[_Times]] = defaultdict(list)
        served: dict[str, list[Placed]] = defaultdict(list)
        for story in stories.values():
            self._times[story.account].append(_times_of(story))
            one = _placed(story)
            if one is not None and story.account:
                served[story.account].append(one)
        self._served = {
            account: _Served(sorted(own, key=lambda one: one.to_ns)) for account, own in sorted(served.items())
        }

    def passed_over(self) -> Iterator[Finding]:
        """Find accounts that were served twice while another's job waited that would have fitted as well."""
        for waited in self._waits:
            if any(began_ns <= waited.to_ns and ended_ns >= waited.from_ns for began_ns, ended_ns in self._restarts):
                continue
            for account, served in self._served.items():
                if account == waited.story.account:
                    continue
                if self._looks_left <= 0:
                    self.complete = False
                    return
                found = self._served_twice(waited, served)
                if found is not None:
                    yield _passed_over(waited, account, *found)

    def _served_twice(self, waited: Waited, served: _Served) -> tuple[Placed, Placed] | None:
        """Return the first two that came one after the other: whichever that is, neither need have been first."""
        inside = served.within(waited.from_ns, waited.to_ns)
        self._looks_left -= len(inside)
        fitting = (one for one in inside if _as_easy(waited, one))
        for first, second in pairwise(fitting):
            if not self._may_be_served(waited.story, min(first.from_ns, second.from_ns), second.to_ns):
                return first, second
        return None

    def _may_be_served(self, waited: JobStory, from_ns: int, to_ns: int) -> bool:
        """Return whether another job of an account may have been placed between two moments: then it had its turn."""
        for account in {waited.account, ""}:
            for one in self._times[account]:
                self._looks_left -= 1
                if one.story is waited or one.created_ns > to_ns or one.ended_ns < from_ns:
                    continue
                queued = any(began_ns <= from_ns and to_ns <= ended_ns for began_ns, ended_ns in one.queued)
                if not queued and not any(began_ns < from_ns and to_ns < ended_ns for began_ns, ended_ns in one.placed):
                    return True
        return False


class _Times(NamedTuple):
    """When a job was there, and through which times it surely waited, or was on one worker."""

    story: JobStory
    created_ns: int
    ended_ns: int
    queued: list[tuple[int, int]]
    placed: list[tuple[int, int]]


def _times_of(story: JobStory) -> _Times:
    placed = [(one.from_ns, one.to_ns) for one in story.spans()]
    return _Times(story, story.created_from_ns(), story.ended_by_ns(), list(story.queued_spans()), placed)


class _Served:
    """An account's jobs that were placed, in the order of the moments by which they surely were."""

    def __init__(self, placed: list[Placed]) -> None:
        self._placed = placed
        self._to_ns = [one.to_ns for one in placed]

    def within(self, from_ns: int, to_ns: int) -> list[Placed]:
        """Return those that were surely placed between two moments."""
        first, last = bisect_left(self._to_ns, from_ns), bisect_right(self._to_ns, to_ns)
        return [one for one in self._placed[first:last] if one.from_ns >= from_ns]


def _passed_over(waited: Waited, account: str, first: Placed, second: Placed) -> Finding:
    from_ns, to_ns = min(first.from_ns, second.from_ns), second.to_ns
    message = (
        f"{account} was served twice between {seconds(from_ns)} and {seconds(to_ns)}, and not at all "
        f"{waited.story.account}, whose job {waited.story.id} waited, needs no more and may cost as much"
    )
    evidence = {"job": waited.story.id, "account": account, "before_it": [first.story.id, second.story.id]}
    return Finding("matching.turn", message, from_ns, evidence)


def _placed(story: JobStory) -> Placed | None:
    """Return between which moments a job was first placed; None where it was not, or nobody knows when."""
    on = [one for one in story.shown if one.state in ON_WORKER and not one.attempts]
    need = story.need
    if not on or need is None or story.created is None:
        return None
    rate = units(on[0].job.get("price_per_hour"))
    queued = [one.sent_ns for one in story.shown if one.state == "queued" and not one.attempts]
    from_ns = max([story.created_from_ns(), *queued])
    to_ns = min([*(one.answered_ns for one in on), *(one.answered_ns for one in story.assigned)], default=NEVER_NS)
    return None if rate is None else Placed(story, need, rate, from_ns, to_ns)


def _as_easy(waited: Waited, placed: Placed) -> bool:
    """Return whether a job that waited would have fitted wherever another was placed, at a price within its maximum."""
    need, other = waited.need, placed.need
    if need.cpu > other.cpu or need.memory > other.memory or need.gpus > other.gpus or waited.highest < placed.rate:
        return False
    return not need.gpus or need.model in {"", other.model}
