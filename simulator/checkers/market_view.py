"""What the market's checkers read from a history: which part of it they judge, and each job as it was shown."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.checkers.incarnations import forgets, restarts_of
from simulator.checkers.unknown import lost_parts
from simulator.contract.answers import Operation
from simulator.contract.pricing import FINAL, ON_WORKER, Need, need_of, units
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.checkers.facts import Facts
    from simulator.history.market_records import Assignment, JobReport, MarketExchange
    from simulator.history.rows import History

TABLES = ("market_exchanges", "accounts_shown", "resources_shown", "capacity_reports", "assignments", "job_reports")
NO_MARKET = "The run had no market."
CREATED, SERVER_ERROR = 201, 500


def has_market(history: History) -> bool:
    """Return whether anything was asked of a market, or shown of one."""
    return bool(history.market_exchanges or history.accounts_shown or history.resources_shown or history.assignments)


def of_one_market(history: History, facts: Facts) -> History:
    """Return a history of one market only: of a server that forgets, what came after its last restart."""
    if not forgets(history, facts):
        return history
    began_ns = restarts_of(history)[-1].began_to_ns
    own = history.with_rows(history.rows()[history.rows()["sent_ns"] >= began_ns])
    for name in TABLES:
        setattr(own, name, [one for one in getattr(history, name) if one.sent_ns >= began_ns])
    return own


def all_is_known(history: History, facts: Facts) -> bool:
    """Return whether nobody but this run, of which every request has a record, changes the market."""
    return facts.only_client and not lost_parts(history)


def alone(history: History, facts: Facts) -> bool:
    """Return whether every job, and every machine that offers anything, has a record: attacks' own have none."""
    return all_is_known(history, facts) and not history.campaigns


def granted(one: MarketExchange) -> bool:
    """Return whether a request was granted."""
    return 200 <= one.status < 300  # noqa: PLR2004 - HTTP's successes


def may_have_been_granted(one: MarketExchange) -> bool:
    """Return whether a request was granted, or nobody knows: no whole answer, or a 5xx."""
    return granted(one) or one.status <= 0 or one.status >= SERVER_ERROR


def message_of(one: MarketExchange) -> str:
    """Return what a refusal says."""
    return str(one.data.get("message", ""))


def seconds(moment_ns: int) -> str:
    """Return a moment as people read it."""
    return f"{moment_ns / SECOND_NS:.3f}s"


class JobShown(msgspec.Struct, frozen=True):
    """A job as an answer showed it: so it was at some moment between the two times."""

    sent_ns: int
    answered_ns: int
    account: str
    job: dict[str, Any]

    @property
    def state(self) -> str:
        """Its state."""
        return str(self.job.get("state"))

    @property
    def worker_id(self) -> str:
        """Whose it was; empty for nobody's."""
        return str(self.job.get("worker_id") or "")

    @property
    def attempts(self) -> int:
        """How often it had been given back."""
        found = self.job.get("attempts")
        return found if isinstance(found, int) else 0

    @property
    def rate(self) -> int | None:
        """Its price, micro-USDT an hour."""
        return units(self.job.get("price_per_hour"))

    @property
    def is_final(self) -> bool:
        """Whether it had ended."""
        return self.state in FINAL


class Span(msgspec.Struct, frozen=True):
    """A time through which a job was surely on a worker."""

    job_id: str
    worker_id: str
    from_ns: int
    to_ns: int
    need: Need


class JobStory:
    """All that is known of one job."""

    def __init__(self, job_id: str) -> None:
        self.id = job_id
        self.created: MarketExchange | None = None
        self.asked_from_ns = -NEVER_NS
        """When it was first asked for: by `created`, or by a request with its key that may have been granted before."""
        self.shown: list[JobShown] = []
        self.assigned: list[Assignment] = []
        self.reports: list[JobReport] = []
        self.cancels: list[MarketExchange] = []

    @property
    def account(self) -> str:
        """Whose it is, empty where nobody saw it made."""
        return "" if self.created is None else self.created.account

    @property
    def any_shown(self) -> dict[str, Any]:
        """What does not change of it, as any answer shows it."""
        return self.shown[0].job if self.shown else {}

    @property
    def need(self) -> Need | None:
        """What it asks for."""
        return need_of(self.any_shown.get("resources"))

    @property
    def maximum(self) -> int | None:
        """The most that it may cost, in micro-USDT."""
        return units(self.any_shown.get("max_price_usdt"))

    @property
    def minutes(self) -> int | None:
        """How long it may run."""
        found = self.any_shown.get("duration_minutes")
        return found if isinstance(found, int) and found > 0 else None

    @property
    def duration_ns(self) -> int:
        """The same in nanoseconds; for ever where it is not known."""
        return NEVER_NS if self.minutes is None else self.minutes * 60 * SECOND_NS

    @property
    def final(self) -> JobShown | None:
        """The first answer that showed its end."""
        return min((one for one in self.shown if one.is_final), key=lambda one: one.answered_ns, default=None)

    def created_from_ns(self) -> int:
        """Return from when on it may have been there."""
        return self.asked_from_ns

    def known_final_ns(self) -> int:
        """Return from when on it had surely ended."""
        return NEVER_NS if self.final is None else self.final.answered_ns

    def queued_throughout(self, from_ns: int, to_ns: int) -> bool:
        """Return whether it surely waited between two moments: it was seen so at both ends, and not given back."""
        queued = [one for one in self.shown if one.state == "queued"]
        before = {one.attempts for one in queued if one.answered_ns <= from_ns}
        return any(one.sent_ns >= to_ns and one.attempts in before for one in queued)

    def queued_spans(self) -> Iterator[tuple[int, int]]:
        """Yield the longest time for each attempt through which it surely waited."""
        queued: dict[int, list[JobShown]] = defaultdict(list)
        for one in self.shown:
            if one.state == "queued":
                queued[one.attempts].append(one)
        for seen in queued.values():
            from_ns, to_ns = min(one.answered_ns for one in seen), max(one.sent_ns for one in seen)
            if from_ns < to_ns:
                yield from_ns, to_ns

    def started_from_ns(self) -> int:
        """Return the earliest moment at which a machine's word may have started it; `NEVER_NS` for none."""
        return min((one.sent_ns for one in self.reports if _may_count(one)), default=NEVER_NS)

    def may_end_from_ns(self) -> int:
        """Return the earliest moment at which anything may have ended it that is known to end a job on a worker."""
        moments = [one.sent_ns for one in self.cancels if may_have_been_granted(one)]
        # One that claims what is not so may have a result that is too large, which fails the job.
        ending = [one for one in self.reports if one.state != "running" or not one.honest]
        moments += [one.sent_ns for one in ending if _may_count(one)]
        started_ns = self.started_from_ns()
        if NEVER_NS not in {started_ns, self.duration_ns}:
            moments.append(started_ns + self.duration_ns)
        return min(moments, default=NEVER_NS)

    def ended_by_ns(self) -> int:
        """Return the moment by which it had surely ended."""
        moments = [self.known_final_ns()]
        moments += [one.answered_ns for one in self.cancels if granted(one)]
        return min(moments)

    def spans(self) -> list[Span]:
        """Return through which times it was surely on which worker: seen there twice, and not given back between."""
        need = self.need
        if need is None:
            return []
        on: dict[tuple[str, int], list[JobShown]] = defaultdict(list)
        for one in self.shown:
            if one.worker_id and (one.state in ON_WORKER or one.is_final):
                on[one.worker_id, one.attempts].append(one)
        found = []
        for (worker_id, _), seen in on.items():
            there = [one for one in seen if one.state in ON_WORKER]
            from_ns = min((one.answered_ns for one in there), default=NEVER_NS)
            to_ns = max((one.sent_ns for one in there), default=-NEVER_NS)
            ended = [one.sent_ns for one in seen if one.is_final and one.job.get("error") != "worker lost"]
            if ended:
                to_ns = max(to_ns, min(self.may_end_from_ns(), *ended, NEVER_NS))
            if from_ns < to_ns:
                found.append(Span(self.id, worker_id, from_ns, to_ns, need))
        return found


def _may_count(one: JobReport) -> bool:
    return one.accepted or one.answered_ns == NEVER_NS


class _Stories(dict[str, JobStory]):
    def __missing__(self, job_id: str) -> JobStory:
        return self.setdefault(job_id, JobStory(job_id))


def stories_of(history: History) -> dict[str, JobStory]:
    """Return every job of which anything is known, by its id, what was shown of each in order."""
    stories = _Stories()
    asked_ns = _first_asked(history)
    for one in history.market_exchanges:
        if one.operation == Operation.JOB_CANCEL:
            stories[one.object_id].cancels.append(one)
        for job in jobs_in(one):
            found = stories[job["id"]]
            if one.operation == Operation.JOB_CREATE and one.status == CREATED and found.created is None:
                found.created = one
                found.asked_from_ns = min(one.sent_ns, asked_ns.get((one.account, one.key), one.sent_ns))
            # A replayed answer shows the job as it was when the first one was given.
            if not one.replayed:
                found.shown.append(JobShown(one.sent_ns, one.answered_ns, one.account, job))
    for account in history.accounts_shown:
        for job in (one for one in account.jobs if isinstance(one.get("id"), str)):
            shown = JobShown(account.sent_ns, account.answered_ns, account.account, job)
            stories[job["id"]].shown.append(shown)
    for assignment in (one for one in history.assignments if not one.cancelled):
        stories[assignment.job_id].assigned.append(assignment)
    for report in (one for one in history.job_reports if one.job_id in stories):
        stories[report.job_id].reports.append(report)
    for each in stories.values():
        each.shown.sort(key=lambda shown: (shown.answered_ns, shown.sent_ns))
    return dict(stories)


def _first_asked(history: History) -> dict[tuple[str, str], int]:
    """Return when each account first sent each key with a job that may have been made then, its answer lost or not."""
    found: dict[tuple[str, str], int] = {}
    for one in history.market_exchanges:
        if one.key and one.operation == Operation.JOB_CREATE and may_have_been_granted(one):
            found[one.account, one.key] = min(one.sent_ns, found.get((one.account, one.key), one.sent_ns))
    return found


def jobs_in(one: MarketExchange) -> list[dict[str, Any]]:
    """Return the jobs that an answer shows."""
    if not granted(one):
        return []
    listed = one.data.get("jobs")
    found = [one.data.get("job"), *(listed if isinstance(listed, list) else ())]
    return [job for job in found if isinstance(job, dict) and isinstance(job.get("id"), str)]
