"""Which queued job goes to which machine (contract: Jobs, matching).

After each pass no queued job has a machine that fits at a price within its maximum. So a pass has to look only at what
changed since: machines that have more room now, and jobs that were too dear, where a price fell. While a pass assigns
jobs, room only shrinks and prices only rise: who found no place in it finds none later in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.market import changes
from reference_server.core.market.market import Happening
from reference_server.core.market.money import MICRO
from reference_server.limits import JOBS_A_WORKER_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.core.market.jobs import Job
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Placement
    from reference_server.core.market.prices import Need
    from reference_server.core.market.waiting import JobClass, Waiting
    from reference_server.wire.values import Instant

_GROWN_ONE_BY_ONE = 16
"""Machines with more room that are looked at one by one; for more, the index knows sooner."""
_ANY_RATE = 1 << 62


def match_new(market: Market, now: Instant, job: Job) -> None:
    """Place a job that has just been queued, if it can be; no other one can, as nothing else has changed."""
    match_all(market, now)
    if job.worker_id:
        return
    waiting = market.waiting.find(job.id)
    place = _Pass(market).place(waiting)
    if place is not None:
        assign(market, now, job, place)


def match_all(market: Market, now: Instant) -> None:
    """Place every queued job that can be: accounts in turn, in each the oldest first."""
    if not (market.grown or market.pool.fell) or not market.waiting:
        market.grown.clear()
        market.pool.fell = False
        return
    one_pass = _Pass(market)
    one_pass.begin()
    while one_pass.place_next(now):
        pass
    market.grown.clear()
    market.pool.fell = False


def assign(market: Market, now: Instant, job: Job, place: Placement) -> None:
    """Assign a job to its place."""
    changes.assign_job(market, now, job.id, place.worker_id, place.model, place.rate)
    market.happened.append(Happening("job_assigned", "system", job.id, {}, job.account, job.owner_id))


class _Pass:
    """One look at the queue: what it may go by, and what it found out.

    `_fitting` are the classes of which some may fit a machine with more room, `_dear` the jobs that a fallen price may
    let in.
    """

    def __init__(self, market: Market) -> None:
        market.waiting.passes += 1
        self._number = market.waiting.passes
        self._market = market
        self._pool = market.pool
        self._grown = [market.pool.offers[worker_id] for worker_id in market.grown]
        self._roomless: set[Need] = set()
        self._fitting: set[JobClass] = set()
        self._dear: list[Waiting] = []
        self._measure()

    def begin(self) -> None:
        """Find out who may be placed."""
        classes = self._market.waiting.classes()
        if self._grown:
            self._fitting = self._hopeful(classes)
        if self._pool.fell:
            cpu_price, memory_price = self._pool.cpu_price, self._pool.memory_price
            for kind in classes:
                if not kind.dear:
                    continue
                # As `_is_affordable`: a call for each class would cost as much as all else here.
                most = (2 * kind.dear[-1].highest + 1) * MICRO
                if 2 * (kind.cpu * cpu_price + kind.memory * memory_price) < most:
                    rates = self._pool.rates(kind.least)
                    if rates is not None:
                        self._dear += kind.dear_from(rates[0])

    def _measure(self) -> None:
        """Note the room that machines with more of it have now."""
        some = self._grown[:_GROWN_ONE_BY_ONE]
        self._rooms = [
            (offer.free_cpu, offer.free_memory, offer) if len(offer.jobs) < JOBS_A_WORKER_MAX else (-1, -1, offer)
            for offer in some
        ]

    def _hopeful(self, classes: Iterable[JobClass]) -> set[JobClass]:
        """Return classes of which some may fit a machine with more room, at a price within their maxima."""
        few = len(self._grown) <= _GROWN_ONE_BY_ONE
        cpu = max(room[0] for room in self._rooms)
        memory = max(room[1] for room in self._rooms)
        hopeful = set()
        for kind in classes:
            # Most are ruled out here, so this is as plain as can be.
            if (kind.cpu > cpu or kind.memory > memory) and few:
                continue
            if kind.jobs and self._may_fit_grown(kind.least):
                if self._is_affordable(kind, kind.rates[-1]):
                    hopeful.add(kind)
                else:
                    kind.all_dear()
        return hopeful

    def _is_affordable(self, kind: JobClass, highest: int) -> bool:
        """Return whether the least that a class needs costs no more an hour than so much."""
        if not kind.least.gpus:
            # What `prices.hourly_rate` says, without rounding: it is asked for each class of a long queue.
            total = kind.cpu * self._pool.cpu_price + kind.memory * self._pool.memory_price
            return 2 * total < (2 * highest + 1) * MICRO
        rates = self._pool.rates(kind.least)
        return rates is not None and rates[0] <= highest

    def place_next(self, now: Instant) -> bool:
        """Place the first job that can be; return whether there was one."""
        number, fitting, fell = self._number, self._fitting, self._pool.fell
        if not (fitting or self._dear):
            return False
        for waiting in self._market.waiting.in_turn(fitting, self._dear):
            if waiting.looked_at == number or not (waiting.kind in fitting or (fell and waiting.dear)):
                continue
            place = self.place(waiting)
            if place is not None:
                assign(self._market, now, waiting.job, place)
                self._measure()
                self._fitting = self._hopeful(fitting) if fitting else fitting
                self._dear = [one for one in self._dear if one.looked_at != number and one is not waiting]
                return True
        return False

    def place(self, waiting: Waiting) -> Placement | None:
        """Return where a job goes, or None; notes why not."""
        need = waiting.job.need
        if need in self._roomless or not (waiting.dear or self._may_fit_grown(need)):
            waiting.note(self._number, dear=False)
            return None
        rates = self._pool.rates(need)
        if rates is None or rates[0] > waiting.highest:
            waiting.note(self._number, dear=rates is not None)
            return None
        place = self._pool.cheapest(need, waiting.highest)
        if place is None:
            dear = rates[1] > waiting.highest
            waiting.note(self._number, dear=dear)
            if not dear:
                self._roomless.add(need)
        return place

    def _may_fit_grown(self, need: Need) -> bool:
        if len(self._grown) > _GROWN_ONE_BY_ONE:
            return self._pool.cheapest(need, _ANY_RATE) is not None
        for free_cpu, free_memory, offer in self._rooms:  # no generator: it is asked for each class of a long queue
            if need.cpu <= free_cpu and need.memory <= free_memory and (not need.gpus or offer.fits(need)):
                return True
        return False
