"""Queued jobs: the accounts' turns, and which jobs may fit free capacity (contract: Jobs, matching).

Accounts take turns: the one served longest ago is first, and within an account the oldest job. Jobs with similar needs,
within an eighth of each quantity, form a class, so that most of a long queue is ruled out class by class.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from typing import TYPE_CHECKING

from reference_server.core.market.dear import DearJobs
from reference_server.core.market.prices import Need
from reference_server.core.market.queued import JobClass, Queue, Waiting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from reference_server.core.market.jobs import Job
    from reference_server.core.market.pool import Pool

_KEPT_BITS = 4
"""The leading bits of a quantity that define its class: classes are at most an eighth wide."""


def _lower_bound(quantity: int) -> int:
    shift = max(0, quantity.bit_length() - _KEPT_BITS)
    return quantity >> shift << shift


class WaitingJobs:
    """All queued jobs. `passes` is the number of passes of matching so far."""

    def __init__(self) -> None:
        self.passes = 0
        self.dear = DearJobs()
        self.new: dict[Waiting, None] = {}
        """Jobs that no pass has examined since they were queued."""
        self._turn = 0
        self._queues: OrderedDict[str, Queue] = OrderedDict()
        """Queues by account, in the order of turns."""
        self._jobs: dict[str, Waiting] = {}
        self._classes: dict[Need, JobClass] = {}
        self._awake: dict[int, dict[int, dict[Need, JobClass]]] = {}
        """Classes that may fit a machine with more room, by cores and then by memory."""

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Add a job. The turn of an account without other jobs comes last."""
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
        insort(queue.jobs, waiting, key=_number)
        self.new[waiting] = None
        self._file(kind)

    def remove(self, job: Job) -> None:
        """Take a job out."""
        waiting = self._jobs.pop(job.id)
        self.new.pop(waiting, None)
        kind, queue = waiting.kind, waiting.queue
        if waiting.dear:
            self.dear.remove(waiting)
            kind.dear -= 1
        del kind.jobs[job.id], kind.rates[bisect_left(kind.rates, waiting.highest)]
        if not kind.jobs:
            del self._classes[kind.least]
        self._file(kind)
        del queue.jobs[bisect_left(queue.jobs, job.number, key=_number)]
        if not queue.jobs:
            del self._queues[job.account]

    def note(self, waiting: Waiting, pool: Pool, *, dear: bool) -> None:
        """Record that a job found no place in this pass, and whether because of its price."""
        waiting.looked_at = self.passes
        self.new.pop(waiting, None)
        if dear is not waiting.dear:
            self._mark(waiting, pool, dear=dear)

    def all_dear(self, kind: JobClass, pool: Pool) -> None:
        """Record that all jobs of a class are too expensive."""
        for waiting in kind.jobs.values():
            if not waiting.dear:
                self._mark(waiting, pool, dear=True)

    def _mark(self, waiting: Waiting, pool: Pool, *, dear: bool) -> None:
        waiting.dear = dear
        if dear:
            self.dear.add(waiting, pool)
        else:
            self.dear.remove(waiting)
        waiting.kind.dear += 1 if dear else -1
        self._file(waiting.kind)

    def _file(self, kind: JobClass) -> None:
        """Add a class to the awake ones, or remove it, by its current state."""
        least = kind.least
        row = self._awake.get(least.cpu, {})
        cell = row.get(least.memory, {})
        if not kind.sleeps:
            if least not in cell:
                self._awake.setdefault(least.cpu, {}).setdefault(least.memory, {})[least] = kind
        elif cell.pop(least, None) is not None and not cell:
            del row[least.memory]
            if not row:
                del self._awake[least.cpu]

    def serve(self, account: str) -> None:
        """Move an account that had its turn to the end, if it has other jobs."""
        queue = self._queues.get(account)
        if queue is not None:
            self._turn += 1
            queue.turn = self._turn
            self._queues.move_to_end(account)

    def within(self, cpu: int, memory: int) -> Iterator[JobClass]:
        """Yield the awake classes that may have jobs needing at most this much."""
        for cores, row in self._awake.items():
            if cores <= cpu:
                for gigabytes, cell in row.items():
                    if gigabytes <= memory:
                        yield from cell.values()

    def in_turn(self) -> Iterator[Waiting]:
        """Yield all jobs in the order of examination; the queue must not change meanwhile."""
        return (waiting for queue in self._queues.values() for waiting in queue.jobs)

    def of(self, classes: Collection[JobClass], others: Collection[Waiting]) -> Iterable[Waiting]:
        """Return, in the same order, at least the jobs of `classes`, and `others`."""
        if _FEW * (sum(len(kind.jobs) for kind in classes) + len(others)) > len(self._jobs):
            return self.in_turn()
        found = {waiting: None for kind in classes for waiting in kind.jobs.values()}
        found.update(dict.fromkeys(others))
        return sorted(found, key=_place)

    def queued(self) -> list[Job]:
        """Return all queued jobs in an order that, added to an empty queue, gives the same turns."""
        return [waiting.job for queue in self._queues.values() for waiting in queue.jobs]


_FEW = 16
"""If at most one job in this many may find a place, sorting those is faster than iterating over all accounts."""


def _number(waiting: Waiting) -> int:
    return waiting.job.number


def _place(waiting: Waiting) -> tuple[int, int]:
    return waiting.queue.turn, waiting.job.number
