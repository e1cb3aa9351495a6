"""Queued jobs: whose turn it is, and which of them may fit what has become free (contract: Jobs, matching).

Accounts take turns: the one that was served longest ago is first, and within it the oldest job. Jobs that ask for about
as much are in one class, within an eighth of each quantity, so that most of a long queue is ruled out class by class.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from typing import TYPE_CHECKING

from reference_server.core.market.prices import Need, highest_rate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from reference_server.core.market.jobs import Job

_KEPT_BITS = 4
"""Of a quantity, its leading bits: classes are at most an eighth wide."""


def _lower_bound(quantity: int) -> int:
    shift = max(0, quantity.bit_length() - _KEPT_BITS)
    return quantity >> shift << shift


class JobClass:
    """Queued jobs that need at least `least` each, and not much more.

    `rates` are the highest hourly rates they may cost, sorted; `dear` those of its jobs that are dear, by that rate.
    """

    __slots__ = ("cpu", "dear", "jobs", "least", "memory", "rates")

    def __init__(self, least: Need) -> None:
        self.least = least
        self.cpu, self.memory = least.cpu, least.memory
        self.jobs: dict[str, Waiting] = {}
        self.rates: list[int] = []
        self.dear: list[Waiting] = []

    def all_dear(self) -> None:
        """Note that their price keeps all of them, or may."""
        if len(self.dear) < len(self.rates):
            self.dear = sorted(self.jobs.values(), key=_rate_and_number)
            for waiting in self.dear:
                waiting.dear = True

    def dear_from(self, rate: int) -> list[Waiting]:
        """Return the dear jobs that may cost so much."""
        return self.dear[bisect_left(self.dear, rate, key=_highest) :]


class Queue:
    """One account's jobs, oldest first. The lowest `turn` of all is next."""

    __slots__ = ("account", "jobs", "turn")

    def __init__(self, account: str, turn: int) -> None:
        self.account = account
        self.turn = turn
        self.jobs: list[Waiting] = []


class Waiting:
    """One queued job, and the highest hourly rate it may cost.

    `dear` says that its price kept it from a machine when it was looked at, or that this is not known: it has to be
    looked at when prices fall. Others had no room anywhere, and wait for a machine with more. `looked_at` is the pass
    of matching in which it found no place.
    """

    __slots__ = ("dear", "highest", "job", "kind", "looked_at", "queue")

    def __init__(self, job: Job, kind: JobClass, queue: Queue) -> None:
        self.job = job
        self.kind = kind
        self.queue = queue
        self.highest = highest_rate(job.maximum, job.minutes)
        self.dear = True
        self.looked_at = 0

    def note(self, matching_pass: int, *, dear: bool) -> None:
        """Note that it found no place, and whether its price kept it."""
        self.looked_at = matching_pass
        if dear and not self.dear:
            insort(self.kind.dear, self, key=_rate_and_number)
        elif self.dear and not dear:
            self.leave_dear()
        self.dear = dear

    def leave_dear(self) -> None:
        """Take it out of the dear jobs of its class."""
        dear = self.kind.dear
        del dear[bisect_left(dear, _rate_and_number(self), key=_rate_and_number)]


class WaitingJobs:
    """All queued jobs. `passes` counts passes of matching so far."""

    def __init__(self) -> None:
        self.passes = 0
        self._turn = 0
        self._queues: OrderedDict[str, Queue] = OrderedDict()
        """By account, in the order of their turns."""
        self._jobs: dict[str, Waiting] = {}
        self._classes: dict[Need, JobClass] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, job_id: str) -> Waiting:
        """Return a queued job."""
        return self._jobs[job_id]

    def add(self, job: Job) -> None:
        """Add a job. An account that had none comes last."""
        need = job.need
        least = Need(_lower_bound(need.cpu), _lower_bound(need.memory), need.gpus, need.model)
        kind = self._classes.get(least)
        if kind is None:
            kind = self._classes[least] = JobClass(least)
        queue = self._queues.get(job.account)
        if queue is None:
            self._turn += 1
            queue = self._queues[job.account] = Queue(job.account, self._turn)
        waiting = self._jobs[job.id] = kind.jobs[job.id] = Waiting(job, kind, queue)
        insort(kind.rates, waiting.highest)
        insort(kind.dear, waiting, key=_rate_and_number)
        insort(queue.jobs, waiting, key=_number)

    def remove(self, job: Job) -> None:
        """Take a job out."""
        waiting = self._jobs.pop(job.id)
        kind, queue = waiting.kind, waiting.queue
        del kind.jobs[job.id], kind.rates[bisect_left(kind.rates, waiting.highest)]
        if waiting.dear:
            waiting.leave_dear()
        if not kind.jobs:
            del self._classes[kind.least]
        del queue.jobs[bisect_left(queue.jobs, job.number, key=_number)]
        if not queue.jobs:
            del self._queues[job.account]

    def serve(self, account: str) -> None:
        """Note that an account had its turn: it comes last now, if it has other jobs."""
        queue = self._queues.get(account)
        if queue is not None:
            self._turn += 1
            queue.turn = self._turn
            self._queues.move_to_end(account)

    def classes(self) -> Iterable[JobClass]:
        """Return all classes that have jobs."""
        return self._classes.values()

    def in_turn(self, classes: Collection[JobClass], others: Collection[Waiting]) -> Iterable[Waiting]:
        """Return jobs in the order in which they are to be looked at: at least those of some classes, and others."""
        if _FEW * (sum(len(kind.jobs) for kind in classes) + len(others)) > len(self._jobs):
            return (waiting for queue in tuple(self._queues.values()) for waiting in tuple(queue.jobs))
        found = {waiting: None for kind in classes for waiting in kind.jobs.values()}
        found.update(dict.fromkeys(others))
        return sorted(found, key=_place)

    def queued(self) -> list[Job]:
        """Return all queued jobs so that adding them in this order to an empty one makes the same turns."""
        return [waiting.job for queue in self._queues.values() for waiting in queue.jobs]


_FEW = 16
"""Where no more than one job in so many may find a place, sorting these is sooner than going through all accounts."""


def _number(waiting: Waiting) -> int:
    return waiting.job.number


def _highest(waiting: Waiting) -> int:
    return waiting.highest


def _rate_and_number(waiting: Waiting) -> tuple[int, int]:
    return waiting.highest, waiting.job.number


def _place(waiting: Waiting) -> tuple[int, int]:
    return waiting.queue.turn, waiting.job.number
