"""The matching checker: jobs go to machines that have room for them, and none waits while one surely has (Jobs).

What was surely on a machine is what answers showed there twice, without its having been given back between.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import faulty_clocks_ns, slack_ns_of
from simulator.checkers.excused import Excused
from simulator.checkers.incarnations import restarts_of
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.ledger_entries import amount_text
from simulator.checkers.market_notices import wrong_notices
from simulator.checkers.market_view import (
    NO_MARKET,
    alone,
    has_market,
    may_have_been_granted,
    of_one_market,
    seconds,
    stories_of,
)
from simulator.checkers.market_waiting import Turns, starvation_unjudged, starved_jobs
from simulator.checkers.market_workers import Workers, most_of
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Operation
from simulator.contract.pricing import ATTEMPTS_MAX, FINAL, MICRO, ON_WORKER, USDT, highest_rate
from simulator.history.rows import NEVER_NS
from simulator.limits import TURNS_JUDGED_MAX, WAITS_JUDGED_MAX
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.checkers.market_view import JobShown, JobStory, Span
    from simulator.history.rows import History

LOOKS_SECONDS = 5.0
"""How late a server may do what has become due: it looks now and then, and answers wait for one another."""
RESTART_SLACK_NS = SECOND_NS
"""By how much a server that was started anew may be off in how long a job has run: it goes by the wall then."""
BEATS_MIN = 2
"""As many heartbeats of a machine must have been accepted before a job it was not told of is one."""


def check_matching(
    history: History, facts: Facts, waits_max: int = WAITS_JUDGED_MAX, looks_max: int = TURNS_JUDGED_MAX
) -> Verdict:
    """Judge which job was where, for how long, at which price, and which waited.

    No more than `waits_max` jobs that waited are judged, with no more than `looks_max` looks at others' turns.
    """
    if not has_market(history):
        return Verdict("matching", Status.NOT_APPLICABLE, NO_MARKET)
    history = of_one_market(history, facts)
    stories = stories_of(history)
    workers = Workers(history, facts)
    matching = _Matching(history, facts, stories, workers)
    turns = Turns(history, stories, waits_max, looks_max)
    findings = [
        *(finding for story in stories.values() for finding in matching.wrong_story(story)),
        *matching.over_capacity(),
        *matching.strangers(),
        *wrong_notices(history, stories, workers),
        *starved_jobs(history, facts, stories, workers, waits_max),
        *turns.passed_over(),
    ]
    findings.sort(key=lambda one: one.at_ns)
    placed = sum(any(one.worker_id for one in story.shown) or bool(story.assigned) for story in stories.values())
    unjudged = starvation_unjudged(history, facts)
    figures: dict[str, Any] = {
        "violations": len(findings),
        "jobs": len(stories),
        "placed": placed,
        "starvation_judged": not unjudged,
        "turns_judged_whole": turns.complete,
    }
    if findings:
        shown = one_of_each_first(findings, lambda one: one.rule)
        summary = f"{plural(len(findings), 'fault')} of matching; {shown[0].message}."
        return Verdict("matching", Status.FAIL, summary, kept(shown), figures, len(findings))
    if not stories:
        return Verdict("matching", Status.NOT_APPLICABLE, "No job was part of this run.", (), figures)
    starved = f"whether one waited though a machine had room was not judged: {unjudged}"
    if unjudged and not placed:
        summary = f"None of {plural(len(stories), 'job')} was placed, and {starved}."
        return Verdict("matching", Status.NOT_APPLICABLE, summary, (), figures)
    summary = f"{plural(placed, 'job')} of {len(stories):,} were placed where there was room, and none was passed over"
    summary += f"; {starved}." if unjudged else "."
    if not turns.complete:
        summary += " There were more that waited than could be held against all others."
    return Verdict("matching", Status.PASS, summary, (), figures)


class _Matching:
    """The rules of one job, and of one machine, by what was shown of them."""

    def __init__(self, history: History, facts: Facts, stories: dict[str, JobStory], workers: Workers) -> None:
        self._history, self._facts, self._stories, self._workers = history, facts, stories, workers
        self._excused = Excused(history, late=True)
        # Of what a lost process played nobody knows what it offered.
        self._take_part = set() if lost_parts(history) else set(workers.take_part())

    def wrong_story(self, story: JobStory) -> Iterator[Finding]:
        """Find what a job's states, machines and prices cannot be."""
        yield from _wrong_states(story)
        yield from self._unfit(story)
        yield from self._too_dear(story)
        yield from self._not_named(story)
        yield from self._overdue(story)
        yield from self._unreported(story)
        yield from self._ran_on(story)

    def _unfit(self, story: JobStory) -> Iterator[Finding]:
        """Find a machine that never had what a job needs while the job was there."""
        need = story.need
        placed = [(one.worker_id, one.sent_ns, one.answered_ns) for one in story.shown if one.state in ON_WORKER]
        placed += [(self._workers.names.get(one.machine, ""), one.sent_ns, one.answered_ns) for one in story.assigned]
        for worker_id, _, answered_ns in placed:
            machine = self._workers.numbers.get(worker_id)
            if need is None or machine not in self._take_part:
                continue
            since_ns = max(story.created_from_ns(), 0)
            offers = self._workers.may_offer(machine, since_ns, answered_ns)
            if not any(one.fits(need) for one in offers):
                message = (
                    f"job {story.id} was on {worker_id} at {seconds(answered_ns)}, which never offered what it needs"
                )
                evidence = {"job": story.id, "worker_id": worker_id, "resources": story.any_shown.get("resources")}
                yield Finding("matching.unfit", message, answered_ns, evidence)
                return

    def _too_dear(self, story: JobStory) -> Iterator[Finding]:
        maximum, minutes = story.maximum, story.minutes
        for one in story.shown:
            if one.rate is None or maximum is None or minutes is None or one.rate <= highest_rate(maximum, minutes):
                continue
            message = (
                f"job {story.id} was assigned at {amount_text(one.rate, USDT)} an hour: for its "
                f"{plural(minutes, 'minute')} that is above its maximum of {amount_text(maximum, USDT)}"
            )
            evidence = {"job": story.id, "account": story.account, "worker_id": one.worker_id}
            yield Finding("matching.too-dear", message, one.sent_ns, evidence)
            return

    def _not_named(self, story: JobStory) -> Iterator[Finding]:
        """Find a job that stayed assigned to a machine which was never told of it."""
        assigned: dict[tuple[str, int], list[JobShown]] = defaultdict(list)
        for one in story.shown:
            if one.state == "assigned":
                assigned[one.worker_id, one.attempts].append(one)
        for (worker_id, _), seen in assigned.items():
            machine = self._workers.numbers.get(worker_id)
            if machine is None or any(one.machine == machine for one in story.assigned):
                continue
            from_ns, to_ns = min(one.answered_ns for one in seen), max(one.sent_ns for one in seen)
            beats = self._workers.beats(machine)
            heard = int(((beats.sent_ns >= from_ns) & (beats.answered_ns <= to_ns)).sum())
            if heard >= BEATS_MIN and machine in self._take_part:
                message = f"job {story.id} was assigned to {worker_id}, which was not told of it in {heard} heartbeats"
                yield Finding("matching.untold", message, from_ns, {"job": story.id, "worker_id": worker_id})
                return

    def _overdue(self, story: JobStory) -> Iterator[Finding]:
        """Find a job that expired too early, or that waits on after it had to expire."""
        late_ns = int(LOOKS_SECONDS * SECOND_NS)
        market, created = self._facts.market, story.created
        if market is not None and created is not None and not any(one.attempts for one in story.shown):
            timeout_ns = int(market.queue_timeout_seconds * SECOND_NS)
            for one in story.shown:
                longest_ns = one.answered_ns - story.created_from_ns()
                least_ns = one.sent_ns - created.answered_ns
                if one.state == "expired" and longest_ns + slack_ns_of(longest_ns) < timeout_ns:
                    message = f"job {story.id} expired at most {longest_ns / SECOND_NS:.1f} s after it had come"
                    yield Finding("matching.expired", message, one.sent_ns, {"job": story.id})
                    return
                waits = one.state == "queued" and least_ns - slack_ns_of(max(0, least_ns)) > timeout_ns + late_ns
                if waits and not self._excused.covers_one(one.sent_ns):
                    message = f"job {story.id} was still queued at {seconds(one.sent_ns)}, and had to have expired"
                    yield Finding("matching.expired", message, one.sent_ns, {"job": story.id})
                    return

    def _unreported(self, story: JobStory) -> Iterator[Finding]:
        """Find a job that succeeded or failed, where its machine never reported that, nor was its time over."""
        final = story.final
        if final is None or self._workers.numbers.get(final.worker_id) not in self._take_part:
            return
        # What was refused counts too, and whatever a machine that does wrong reported: it may have been taken.
        ends = {one.state for one in story.reports}
        if final.state in ends or not all(one.honest for one in story.reports):
            return
        began_ns = min((one.sent_ns for one in story.reports), default=NEVER_NS)
        longest_ns = final.answered_ns - began_ns
        ran_out = NEVER_NS not in {began_ns, story.duration_ns} and (
            longest_ns + slack_ns_of(max(0, longest_ns)) + RESTART_SLACK_NS >= story.duration_ns
        )
        lost = final.state == "failed" and final.job.get("error") == "worker lost"
        if (final.state == "succeeded" and not ran_out) or (final.state == "failed" and not lost):
            reported = f"reported {', '.join(sorted(ends))} alone" if ends else "reported nothing"
            message = f"job {story.id} {final.state} by {seconds(final.answered_ns)}, and {final.worker_id} {reported}"
            evidence = {"job": story.id, "account": story.account, "worker_id": final.worker_id}
            yield Finding("matching.outcome", message, final.sent_ns, evidence)

    def _ran_on(self, story: JobStory) -> Iterator[Finding]:
        """Find a job that still ran after its duration: its machine was lost before, or it has succeeded by then."""
        running = [one for one in story.shown if one.state == "running"]
        for one in running:
            # An attempt had begun by the first answer that showed it so.
            began_ns = min(other.answered_ns for other in running if other.attempts == one.attempts)
            least_ns = one.sent_ns - began_ns
            restarts = [fault for fault in restarts_of(self._history) if began_ns <= fault.ended_to_ns <= one.sent_ns]
            behind_ns, ahead_ns = faulty_clocks_ns(self._history) if restarts else (0, 0)
            late_ns = int(LOOKS_SECONDS * SECOND_NS) + RESTART_SLACK_NS * len(restarts) + ahead_ns - behind_ns
            if least_ns - slack_ns_of(max(0, least_ns)) <= story.duration_ns + late_ns:
                continue
            if not self._excused.covers_one(one.sent_ns):
                message = (
                    f"job {story.id} was still running at {seconds(one.sent_ns)}, {least_ns / SECOND_NS:.1f} s after "
                    f"it was shown so first, and was for {plural(story.minutes or 0, 'minute')}"
                )
                evidence = {"job": story.id, "account": story.account, "worker_id": one.worker_id}
                yield Finding("matching.overrun", message, one.sent_ns, evidence)
                return

    def over_capacity(self) -> Iterator[Finding]:
        """Find machines on which more was surely at once than they may have had."""
        by_worker: dict[str, list[Span]] = defaultdict(list)
        for story in self._stories.values():
            for span in story.spans():
                by_worker[span.worker_id].append(span)
        for worker_id, spans in by_worker.items():
            machine = self._workers.numbers.get(worker_id)
            if machine is None or machine not in self._take_part:
                continue
            for at_ns, cpu, memory, gpus in loads(spans):
                room = most_of(self._workers.may_offer(machine, at_ns, at_ns))
                if cpu > room.cpu or memory > room.memory or gpus > sum(room.gpus.values()):
                    there = [one.job_id for one in spans if one.from_ns <= at_ns < one.to_ns]
                    message = (
                        f"{worker_id} had {plural(len(there), 'job')} at {seconds(at_ns)} that need "
                        f"{_quantities(cpu, memory, gpus)}; it offered at most "
                        f"{_quantities(room.cpu, room.memory, sum(room.gpus.values()))}"
                    )
                    yield Finding("matching.over-capacity", message, at_ns, {"worker_id": worker_id, "jobs": there})
                    break

    def strangers(self) -> Iterator[Finding]:
        """Find machines that were told of jobs which nobody posted."""
        if not alone(self._history, self._facts):
            return
        unknown = sum(
            one.operation == Operation.JOB_CREATE and may_have_been_granted(one) and not one.data.get("job")
            for one in self._history.market_exchanges
        )
        strange = [one for one in self._stories.values() if one.assigned and not one.shown]
        if len(strange) > unknown:
            first = min((one.assigned[0] for one in strange), key=lambda one: one.answered_ns)
            message = f"machine {first.machine} was told of job {first.job_id}, which nobody posted"
            yield Finding("matching.stranger", message, first.sent_ns, {"job": first.job_id, "machine": first.machine})


def loads(spans: list[Span]) -> Iterator[tuple[int, int, int, int]]:
    """Yield what jobs need that are on a machine at once, whenever one comes: the moment, cores, memory and GPUs."""
    comes, goes = sorted(spans, key=lambda one: one.from_ns), sorted(spans, key=lambda one: one.to_ns)
    cpu = memory = gpus = gone = 0
    for place, one in enumerate(comes, start=1):
        cpu, memory, gpus = cpu + one.need.cpu, memory + one.need.memory, gpus + one.need.gpus
        while goes[gone].to_ns <= one.from_ns:
            left = goes[gone].need
            cpu, memory, gpus = cpu - left.cpu, memory - left.memory, gpus - left.gpus
            gone += 1
        if place == len(comes) or comes[place].from_ns > one.from_ns:
            yield one.from_ns, cpu, memory, gpus


def _quantities(cpu: int, memory: int, gpus: int) -> str:
    return f"{cpu / MICRO:g} cores, {memory / MICRO:g} GB and {plural(gpus, 'GPU')}"


def _wrong_states(story: JobStory) -> Iterator[Finding]:
    """Find an end that was none, attempts that went back, and a queued job that still has what requeueing clears."""
    evidence = {"job": story.id, "account": story.account}
    final: JobShown | None = None
    attempts, attempts_by_ns = 0, -NEVER_NS
    for one in story.shown:
        if final is not None and one.sent_ns >= final.answered_ns and one.state != final.state:
            message = f"job {story.id} was {final.state}, and {one.state} at {seconds(one.sent_ns)}"
            yield Finding("matching.state", message, one.sent_ns, evidence)
            return
        if one.attempts < attempts and one.sent_ns >= attempts_by_ns:
            message = f"job {story.id} had been given back {attempts} times, and {one.attempts} times later"
            yield Finding("matching.attempts", message, one.sent_ns, evidence)
            return
        lost = one.state == "failed" and one.job.get("error") == "worker lost"
        if one.attempts > ATTEMPTS_MAX or (one.attempts == ATTEMPTS_MAX and one.state not in FINAL):
            message = f"job {story.id} was given back {one.attempts} times and is {one.state}"
            yield Finding("matching.attempts", message, one.sent_ns, evidence)
            return
        if lost and one.attempts != ATTEMPTS_MAX and not story.reports:
            message = f"job {story.id} has failed as its worker was lost, after {one.attempts} attempts"
            yield Finding("matching.attempts", message, one.sent_ns, evidence)
            return
        cleared = ("worker_id", "price_per_hour", "assigned_at", "started_at")
        if one.state == "queued" and any(one.job.get(name) is not None for name in cleared):
            message = f"job {story.id} is queued, and still has what its worker gave back"
            yield Finding("matching.requeued", message, one.sent_ns, {**evidence, "worker_id": one.worker_id})
            return
        final = final or (one if one.is_final else None)
        if one.attempts > attempts:
            attempts, attempts_by_ns = one.attempts, one.answered_ns
