"""Queued jobs: whose turn it is, and which of them may fit what has become free (contract: Jobs, matching).

Accounts take turns: the one that was served longest ago is first, and within it the oldest job. Jobs that ask for about
as much are in one class, within an eighth of each quantity, so that most of a long queue is ruled out class by class.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from typing import TYPE_CHECKING

from reference_server.core.market.money import MICRO
from reference_server.core.market.prices import Need, highest_rate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from reference_server.core.market.jobs import Job
    from reference_server.core.market.pool import Pool

_KEPT_BITS = 4
"""Of a quantity, its leading bits: classes are at most an eighth wide."""
_ALWAYS = 1 << 62
"""The hope of a job whose GPUs had no price then: it is looked at whenever any price falls."""
_SPARE = 64
"""Jobs that may be looked at in vain before the reference is taken anew, besides as many as there are."""


def _lower_bound(quantity: int) -> int:
    shift = max(0, quantity.bit_length() - _KEPT_BITS)
    return quantity >> shift << shift


class JobClass:
    """Queued jobs that need at least `least` each, and not much more.

    `rates` are the highest hourly rates they may cost, sorted; `dear` counts those of its jobs that are dear.
    """

    __slots__ = ("dear", "jobs", "least", "rates")

    def __init__(self, least: Need) -> None:
        self.least = least
        self.jobs: dict[str, Waiting] = {}
        self.rates: list[int] = []
        self.dear = 0

    @property
    def sleeps(self) -> bool:
        """Return whether only a fallen price can help any of its jobs, however much room there is.

        Prices of GPUs differ: where the dear ones are free, room on cheap ones helps too.
        """
        return self.dear == len(self.jobs) and not self.least.gpus


class Queue:
    """One account's jobs, oldest first. The lowest `turn` of all is next."""

    __slots__ = ("account", "jobs", "turn")

    def __init__(self, account: str, turn: int) -> None:
        self.account = account
        self.turn = turn
        self.jobs: list[Waiting] = []


class Waiting:
    """One queued job, and the highest hourly rate it may cost.

    `dear` says that its price kept it from a machine when it was looked at: it has to be looked at when prices fall, to
    `hope` of what they were. Others had no room anywhere, and wait for a machine with more, or are new. `looked_at` is
    the pass of matching in which it found no place.
    """

    __slots__ = ("dear", "highest", "hope", "job", "kind", "looked_at", "queue")

    def __init__(self, job: Job, kind: JobClass, queue: Queue) -> None:
        self.job = job
        self.kind = kind
        self.queue = queue
        self.highest = highest_rate(job.maximum, job.minutes)
        self.dear = False
        self.hope = 0
        self.looked_at = 0


class DearJobs:
    """Queued jobs that were too dear, the least hopeful first.

    Each has its hope: the millionths of the prices of a moment, the reference, to which they have to fall at least
    before it may be within its maximum. The price that fell furthest, against the reference, says who may be in luck.
    """

    def __init__(self) -> None:
        self._jobs: list[Waiting] = []
        self._cpu = self._memory = 0
        self._models: dict[str, int] = {}
        self._in_vain = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, waiting: Waiting, pool: Pool) -> None:
        """Add a job that is too dear."""
        if not self._jobs:
            self._take_reference(pool)
        waiting.hope = self._hope(waiting)
        insort(self._jobs, waiting, key=_hope_and_number)

    def remove(self, waiting: Waiting) -> None:
        """Take a job out."""
        del self._jobs[bisect_left(self._jobs, _hope_and_number(waiting), key=_hope_and_number)]

    def hopeful(self, pool: Pool) -> list[Waiting]:
        """Return jobs that may be affordable at today's prices: no other one is.

        Prices may fall and rise apart, so that many are looked at in vain: then they are measured by today's.
        """
        found = self._jobs[bisect_left(self._jobs, self._fallen_to(pool), key=_hope) :]
        self._in_vain += len(found)
        if self._in_vain > len(self._jobs) + _SPARE:
            self._take_reference(pool)
            for waiting in self._jobs:
                waiting.hope = self._hope(waiting)
            self._jobs.sort(key=_hope_and_number)
        return found

    def _take_reference(self, pool: Pool) -> None:
        self._cpu, self._memory, self._models = pool.prices()
        self._in_vain = 0

    def _fallen_to(self, pool: Pool) -> int:
        """Return the least millionths of the reference that a price comes to now; 0 with a price that is new."""
        cpu, memory, models = pool.prices()
        known = self._models
        if any(model not in known for model in models):
            return 0
        pairs = [(cpu, self._cpu), (memory, self._memory), *((price, known[model]) for model, price in models.items())]
        return min((price * MICRO // before for price, before in pairs if before), default=0)

    def _hope(self, waiting: Waiting) -> int:
        """Return the millionths of the reference at which a job is at most affordable, as rates are rounded."""
        cost = self._cost(waiting.job.need)
        return _ALWAYS if not cost else (2 * waiting.highest + 1) * MICRO * MICRO // (2 * cost) + 1

    def _cost(self, need: Need) -> int:
        """Return what an hour cost at the reference, in millionths of a micro-USDT; 0 where that is not known."""
        gpu = 0
        if need.gpus:
            if need.model not in {"", *self._models} or not self._models:
                return 0
            gpu = self._models[need.model] if need.model else min(self._models.values())
        return need.cpu * self._cpu + need.memory * self._memory + need.gpus * gpu * MICRO


class WaitingJobs:
    """All queued jobs. `passes` counts passes of matching so far."""

    def __init__(self) -> None:
        self.passes = 0
        self.dear = DearJobs()
        self.new: dict[Waiting, None] = {}
        """Those that no pass has looked at since they were queued."""
        self._turn = 0
        self._queues: OrderedDict[str, Queue] = OrderedDict()
        """By account, in the order of their turns."""
        self._jobs: dict[str, Waiting] = {}
        self._classes: dict[Need, JobClass] = {}
        self._awake: dict[int, dict[int, dict[Need, JobClass]]] = {}
        """Classes that a machine with more room may help, by their cores and by their memory."""

    def __len__(self) -> int:
        return len(self._jobs)

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
        """Note that a job found no place in this pass, and whether its price kept it."""
        waiting.looked_at = self.passes
        self.new.pop(waiting, None)
        if dear is not waiting.dear:
            self._mark(waiting, pool, dear=dear)

    def all_dear(self, kind: JobClass, pool: Pool) -> None:
        """Note that their price keeps all jobs of a class."""
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
        """Have a class among those awake, or not, as it is now."""
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
        """Note that an account had its turn: it comes last now, if it has other jobs."""
        queue = self._queues.get(account)
        if queue is not None:
            self._turn += 1
            queue.turn = self._turn
            self._queues.move_to_end(account)

    def within(self, cpu: int, memory: int) -> Iterator[JobClass]:
        """Return classes that are awake, and may have jobs that need no more than so much."""
        for cores, row in self._awake.items():
            if cores <= cpu:
                for gigabytes, cell in row.items():
                    if gigabytes <= memory:
                        yield from cell.values()

    def in_turn(self) -> Iterator[Waiting]:
        """Return all jobs in the order in which they are to be looked at, while none is taken out or has its turn."""
        return (waiting for queue in self._queues.values() for waiting in queue.jobs)

    def of(self, classes: Collection[JobClass], others: Collection[Waiting]) -> Iterable[Waiting]:
        """Return, in the same order, at least the jobs of some classes, and others."""
        if _FEW * (sum(len(kind.jobs) for kind in classes) + len(others)) > len(self._jobs):
            return self.in_turn()
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


def _place(waiting: Waiting) -> tuple[int, int]:
    return waiting.queue.turn, waiting.job.number


def _hope(waiting: Waiting) -> int:
    return waiting.hope


def _hope_and_number(waiting: Waiting) -> tuple[int, int]:
    return waiting.hope, waiting.job.number
