"""The market's state in plain tables, and the notes of its changes."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from reference_server.core.changes import Changing
from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds
from reference_server.core.market.idempotency import KeptAnswers
from reference_server.core.market.jobs import QUEUED, RUNNING, STATES, TRANSITIONS
from reference_server.core.market.ledger import Ledger
from reference_server.core.market.metering import duration_ns
from reference_server.core.market.notes import Part
from reference_server.core.market.pool import Offer, Pool
from reference_server.core.market.waiting import WaitingJobs
from reference_server.core.market.withdrawals import Withdrawals
from reference_server.limits import OFFERS_MAX

if TYPE_CHECKING:
    from reference_server.core.market.conditions import Conditions
    from reference_server.core.market.jobs import Job


class Happening(NamedTuple):
    """An effect of a decision, for audit and metrics: an event type of the contract, and the accounts concerned.

    `account` owns the object; `worker_owner_id` is the owner of the machine involved, or empty.
    """

    type: str
    actor: str
    object_id: str
    metadata: dict[str, Any]
    account: str
    worker_owner_id: str = ""


class HasMarket(Changing, Protocol):
    """A market, or a state that has one: what a change is made to, by decisions and by recovery."""

    @property
    def market(self) -> Market:
        """Return the market."""
        ...


class Market(Part):
    """Jobs, offers, money.

    `happened` collects the effects of decisions until they are taken for audit and metrics.
    """

    def __init__(
        self, conditions: Conditions, notes: Changing | None = None, bounds: MarketBounds = MARKET_BOUNDS
    ) -> None:
        super().__init__(notes)
        self.conditions = conditions
        self.bounds = bounds
        self.happened: list[Happening] = []
        self.jobs: dict[str, Job] = {}
        self.jobs_of: dict[str, dict[str, Job]] = {}
        """By account, in the order in which they came."""
        self.unfinished_of: dict[str, int] = {}
        self.finished: OrderedDict[str, None] = OrderedDict()
        """Finished jobs in the order in which they ended."""
        self.job_number = 0
        self.count_by_state = dict.fromkeys(STATES, 0)
        self.transitions = dict.fromkeys(STATES, 0)
        self.ignored = {"capacity": 0, "job": 0}
        """Reports of machines that were ignored, by kind."""
        self.pool = Pool(conditions.base_prices, bounds)
        self.waiting = WaitingJobs()
        self.ledger = Ledger(bounds)
        self.withdrawals = Withdrawals(bounds)
        self.answers = KeptAnswers(bounds)
        self.fresh: OrderedDict[str, None] = OrderedDict()
        """Machines heard of lately, the one heard longest ago first."""
        self.grown: set[str] = set()
        """Machines that have more room since matching last looked."""
        self.unsettled: dict[str, None] = {}
        """Machines whose current offer must be recomputed."""
        self.deadlines = Deadlines()

    @property
    def market(self) -> Market:
        """Return itself: a change is made to a market, or to a state that has one."""
        return self

    @property
    def unfinished(self) -> int:
        """Return how many jobs are not finished."""
        return len(self.jobs) - len(self.finished)

    def offer(self, worker_id: str, owner_id: str) -> Offer:
        """Return a machine's offer, made when it is not there."""
        offer = self.pool.offers.get(worker_id)
        if offer is None:
            offer = self.pool.offers[worker_id] = Offer(worker_id, owner_id, self.bounds.jobs_a_worker_max)
        return offer

    def has_room_for(self, offer: Offer | None) -> bool:
        """Return whether a machine has an offer, or there is room for one."""
        return offer is not None or len(self.pool.offers) < OFFERS_MAX

    def add(self, job: Job) -> None:
        """Add a job to the tables, as it is."""
        self.jobs[job.id] = job
        self.jobs_of.setdefault(job.account, {})[job.id] = job
        self.count_by_state[job.state] += 1
        if job.unfinished:
            self.unfinished_of[job.account] = self.unfinished_of.get(job.account, 0) + 1

    def place(self, job: Job) -> None:
        """Put a job that was added from a snapshot where it waits or runs.

        Queued ones in the order of `waiting.queued`, those on machines in that of their offers.
        """
        self.job_number = max(self.job_number, job.number)
        if job.state == QUEUED:
            self.waiting.add(job)
        elif job.on_worker:
            self.pool.hold(self.offer(job.worker_id, job.owner_id), job)
        elif not job.unfinished:
            self.finished[job.id] = None

    def expect_end(self, job: Job) -> None:
        """Schedule the end of a running job's duration, or of a queued job's waiting time."""
        deadlines, end_ns = self.deadlines, _end_ns(job)
        if end_ns is None:
            return
        heap = deadlines.ends if job.state == RUNNING else deadlines.expiries
        heapq.heappush(heap, (end_ns, job.id))
        if len(heap) > 2 * self.unfinished + self.bounds.deadlines_spare:
            # Ended jobs leave their entries behind, for up to a week: posting and cancelling would fill the heap.
            jobs = ((at_ns, self.jobs.get(job_id)) for at_ns, job_id in heap)
            live = {(at_ns, one.id) for at_ns, one in jobs if one and one.state == job.state and _end_ns(one) == at_ns}
            heap[:] = sorted(live)

    def move(self, job: Job, state: str) -> None:
        """Change a job's state. Raises ValueError for a transition there is not."""
        if state not in TRANSITIONS[job.state]:
            raise ValueError(f"a job that is {job.state} cannot become {state}")
        self.count_by_state[job.state] -= 1
        self.count_by_state[state] += 1
        self.transitions[state] += 1
        job.state = state
        if job.unfinished:
            return
        self.unfinished_of[job.account] -= 1
        if not self.unfinished_of[job.account]:
            del self.unfinished_of[job.account]
        self.finished[job.id] = None
        if len(self.finished) > self.bounds.jobs_finished_max:
            oldest = self.jobs.pop(self.finished.popitem(last=False)[0])
            self.count_by_state[oldest.state] -= 1
            of_account = self.jobs_of[oldest.account]
            del of_account[oldest.id]
            if not of_account:
                del self.jobs_of[oldest.account]


class Deadlines:
    """Moments at which jobs or machines must be checked; the check sees whatever has changed meanwhile."""

    def __init__(self) -> None:
        self.expiries: list[tuple[int, str]] = []
        """Monotonic, of queued jobs."""
        self.ends: list[tuple[int, str]] = []
        """Monotonic, of running jobs."""
        self.hours: list[tuple[int, str]] = []
        """Unix ns, of machines whose policy's hours begin or end."""

    def clear(self) -> None:
        """Forget all of them."""
        self.expiries.clear()
        self.ends.clear()
        self.hours.clear()

    @staticmethod
    def due(heap: list[tuple[int, str]], now_ns: int, most: int) -> list[str]:
        """Remove and return up to `most` ids that are due, those due longest first."""
        taken: list[str] = []
        while heap and heap[0][0] <= now_ns and len(taken) < most:
            taken.append(heapq.heappop(heap)[1])
        return taken


def _end_ns(job: Job) -> int | None:
    """Return when a job in its current state ends by itself (monotonic ns), or None."""
    if job.state == RUNNING and job.started is not None:
        return job.started.monotonic_ns + duration_ns(job)
    return job.expires.monotonic_ns if job.state == QUEUED and job.expires is not None else None
