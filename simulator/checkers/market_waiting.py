"""Jobs that wait while they need not: a machine surely has room, or another account had more than its turn (Jobs)."""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from simulator.checkers.excused import Excused
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.market_view import seconds
from simulator.checkers.verdict import Finding
from simulator.contract.pricing import ON_WORKER, Need, capacity_of, highest_rate, hourly_rate, units
from simulator.history.rows import NEVER_NS
from simulator.history.starvation import Starvation
from simulator.limits import WAITS_JUDGED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_view import JobStory
    from simulator.checkers.market_workers import Workers
    from simulator.history.market_records import ResourcesShown
    from simulator.history.rows import History

JOBS_OF_ONE_MAX = 64
"""A machine with so many jobs need not take one more, however much it has left: each of its answers would name it."""


class Waited(NamedTuple):
    """A job that surely waited through a time, what it needs, and the highest rate that it may cost."""

    story: JobStory
    need: Need
    highest: int
    from_ns: int
    to_ns: int


def starved_jobs(history: History, facts: Facts, stories: dict[str, JobStory], workers: Workers) -> Iterator[Finding]:
    """Find jobs that stayed queued while a machine was shown with room for them, again after a heartbeat of its own.

    Only where any price would have been within their maximum.
    """
    market = facts.market
    if market is None or len(history.resources_shown) < 2:  # noqa: PLR2004 - room is to be seen twice
        return
    excused, starvation = Excused(history), Starvation(history)
    listed = [_Listed(shown, workers) for shown in history.resources_shown]
    for one in islice(_all_waited(stories), WAITS_JUDGED_MAX):
        dearest = hourly_rate(
            one.need,
            *(2 * price for price in (market.price_cpu_hour, market.price_memory_gb_hour, market.price_gpu_hour)),
        )
        if dearest > one.highest:
            continue
        within = [each for each in listed if one.from_ns <= each.shown.sent_ns and each.shown.answered_ns <= one.to_ns]
        found = _room_twice(within, one.need, workers)
        if found is None:
            continue
        worker_id, first, second = found
        if _jobs_of(worker_id, stories, first.sent_ns, second.answered_ns) >= JOBS_OF_ONE_MAX:
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


def _jobs_of(worker_id: str, stories: dict[str, JobStory], from_ns: int, to_ns: int) -> int:
    """Return how many jobs a machine may have had at once between two moments."""
    there = (one for one in stories.values() if one.created_from_ns() <= to_ns and one.ended_by_ns() >= from_ns)
    return sum(any(shown.worker_id == worker_id for shown in one.shown) for one in there)


def _all_waited(stories: dict[str, JobStory]) -> Iterator[Waited]:
    for story in stories.values():
        need, maximum, minutes = story.need, story.maximum, story.minutes
        if need is None or maximum is None or minutes is None:
            continue
        for from_ns, to_ns in story.queued_spans():
            yield Waited(story, need, highest_rate(maximum, minutes), from_ns, to_ns)


class _Listed:
    """What was listed as left of which machines."""

    def __init__(self, shown: ResourcesShown, workers: Workers) -> None:
        self.shown = shown
        rows = ((str(row.get("worker_id")), capacity_of(row)) for row in shown.resources)
        self.left = [(name, left) for name, left in rows if left is not None and name in workers.numbers]


def _room_twice(
    listed: list[_Listed], need: Need, workers: Workers
) -> tuple[str, ResourcesShown, ResourcesShown] | None:
    """Return a machine that was listed with room twice, with a heartbeat of its own that was accepted between."""
    first: dict[str, ResourcesShown] = {}
    for one in listed:
        for worker_id, left in one.left:
            if not left.fits(need):
                continue
            before = first.setdefault(worker_id, one.shown)
            beats = workers.beats(workers.numbers[worker_id])
            between = (beats.sent_ns >= before.answered_ns) & (beats.answered_ns <= one.shown.sent_ns)
            if bool(np.any(between)):
                return worker_id, before, one.shown
    return None


class Placed(NamedTuple):
    """A job that surely waited, and was surely placed after: between two moments."""

    story: JobStory
    need: Need
    rate: int
    from_ns: int
    to_ns: int


def passed_over(history: History, stories: dict[str, JobStory]) -> Iterator[Finding]:
    """Find accounts that were served twice while another's job waited that would have fitted as well as the second."""
    restarts = [(one.began_from_ns, one.ended_to_ns) for one in restarts_of(history)]
    placed: dict[str, list[Placed]] = {}
    for story in stories.values():
        one = _placed(story)
        if one is not None:
            placed.setdefault(story.account, []).append(one)
    placed = {account: served[:WAITS_JUDGED_MAX] for account, served in placed.items()}
    for waited in islice(_all_waited(stories), WAITS_JUDGED_MAX):
        for account, served in placed.items():
            if account in {waited.story.account, ""} or any(
                began_ns <= waited.to_ns and ended_ns >= waited.from_ns for began_ns, ended_ns in restarts
            ):
                continue
            inside = [one for one in served if waited.from_ns <= one.from_ns and one.to_ns <= waited.to_ns]
            fitting = sorted((one for one in inside if _as_easy(waited, one)), key=lambda one: one.to_ns)
            # The second of two that came one after the other, whichever that is, must not have been before this one.
            for first, second in pairwise(fitting):
                from_ns, to_ns = min(first.from_ns, second.from_ns), second.to_ns
                if _may_be_served(waited.story, stories, from_ns, to_ns):
                    continue
                message = (
                    f"{account} was served twice between {seconds(from_ns)} and {seconds(to_ns)}, and not at all "
                    f"{waited.story.account}, whose job {waited.story.id} waited, needs no more and may cost as much"
                )
                evidence = {"job": waited.story.id, "account": account, "before_it": [first.story.id, second.story.id]}
                yield Finding("matching.turn", message, from_ns, evidence)
                break


def _may_be_served(waited: JobStory, stories: dict[str, JobStory], from_ns: int, to_ns: int) -> bool:
    """Return whether another job of an account may have been placed between two moments: then it had its turn."""
    for one in stories.values():
        if one is waited or one.account not in {waited.account, ""}:
            continue
        if one.created_from_ns() > to_ns or one.ended_by_ns() < from_ns or one.queued_throughout(from_ns, to_ns):
            continue
        if not any(span.from_ns < from_ns and span.to_ns > to_ns for span in one.spans()):
            return True
    return False


def _placed(story: JobStory) -> Placed | None:
    """Return between which moments a job was first placed; None where it was not, or nobody knows when."""
    on = [one for one in story.shown if one.state in ON_WORKER and not one.attempts]
    need = story.need
    if not on or need is None or story.created is None:
        return None
    rate = units(on[0].job.get("price_per_hour"))
    queued = [one.sent_ns for one in story.shown if one.state == "queued" and not one.attempts]
    from_ns = max([story.created.sent_ns, *queued])
    to_ns = min([*(one.answered_ns for one in on), *(one.answered_ns for one in story.assigned)], default=NEVER_NS)
    return None if rate is None else Placed(story, need, rate, from_ns, to_ns)


def _as_easy(waited: Waited, placed: Placed) -> bool:
    """Return whether a job that waited would have fitted wherever another was placed, at a price within its maximum."""
    need, other = waited.need, placed.need
    if need.cpu > other.cpu or need.memory > other.memory or need.gpus > other.gpus or waited.highest < placed.rate:
        return False
    return not need.gpus or need.model in {"", other.model}
