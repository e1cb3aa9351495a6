"""What machines were told of jobs that were taken from them: of each once, in their next answer (contract: Jobs).

A job is taken from a machine when it is given back or cancelled, so it is named no oftener than that.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from simulator.checkers.excused import Excused
from simulator.checkers.market_view import granted, seconds
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding
from simulator.history.rows import NEVER_NS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.market_view import JobStory
    from simulator.checkers.market_workers import Workers
    from simulator.history.market_records import Assignment
    from simulator.history.rows import History

BEATS_MIN = 2
"""As many heartbeats of a machine must have been accepted before what it was not told of is missing."""


def wrong_notices(history: History, stories: dict[str, JobStory], workers: Workers) -> Iterator[Finding]:
    """Find jobs that machines were told to leave oftener than they were taken from them, or not at all."""
    named: dict[str, list[Assignment]] = defaultdict(list)
    for one in history.assignments:
        if one.cancelled:
            named[one.job_id].append(one)
    for job_id, notices in named.items():
        if job_id in stories:
            yield from _too_often(stories[job_id], notices)
    # An attack may send a heartbeat as one of the fleet, and the answer that names a job is its own then.
    if history.campaigns or lost_parts(history):
        return
    excused = Excused(history, late=True)
    for story in stories.values():
        yield from _never_named(story, {one.machine for one in named[story.id]}, workers, excused)


def _too_often(story: JobStory, notices: list[Assignment]) -> Iterator[Finding]:
    """Find a job that was named oftener than it was taken from anybody, as was shown after that."""
    for shown in story.shown:
        before = [one for one in notices if one.answered_ns <= shown.sent_ns]
        if len(before) <= shown.attempts + (shown.state == "cancelled"):
            continue
        message = (
            f"by {seconds(before[-1].answered_ns)} machines were told {plural(len(before), 'time')} to leave job "
            f"{story.id}, which was {shown.state} then, and had been given back {plural(shown.attempts, 'time')}"
        )
        evidence = {"job": story.id, "account": story.account, "machines": [one.machine for one in before]}
        yield Finding("matching.notice", message, before[-1].sent_ns, evidence)
        return


def _never_named(story: JobStory, named_to: set[int], workers: Workers, excused: Excused) -> Iterator[Finding]:
    """Find a machine that was not told to leave a job, where all that ever had it are known: each was told of it."""
    final, given = story.final, sorted(story.assigned, key=lambda one: one.answered_ns)
    machines = [one.machine for one in given]
    if final is None or final.attempts != len(given) - 1 or len({*machines}) < len(machines):
        return
    cancelled_ns = min((one.answered_ns for one in story.cancels if granted(one)), default=NEVER_NS)
    for one, after in zip_longest(given, given[1:]):
        gone_ns = cancelled_ns if after is None else after.answered_ns
        beats = workers.beats(one.machine)
        heard = np.flatnonzero(beats.sent_ns >= gone_ns)[:BEATS_MIN]
        if one.machine in named_to or len(heard) < BEATS_MIN:
            continue
        by_ns = int(beats.answered_ns[heard[-1]])
        # An answer that was lost may have named it.
        lost = beats.may_be_between(one.sent_ns, by_ns)
        if lost or excused.overlap(np.array([one.sent_ns]), np.array([by_ns])).any():
            continue
        message = (
            f"machine {one.machine} was told of job {story.id} at {seconds(one.answered_ns)}, and had to be told by "
            f"{seconds(by_ns)} to leave it: it was taken from it by {seconds(gone_ns)}"
        )
        evidence = {"job": story.id, "account": story.account, "machine": one.machine}
        yield Finding("matching.notice", message, gone_ns, evidence)
        return
