"""Which queued job goes to which machine (contract: Jobs, matching).

After each pass, no queued job has a machine that fits at a price within its maximum. So the next pass examines only
what changed: machines with more room, and jobs that were too expensive if a price fell. While a pass assigns jobs, room
only shrinks and prices only rise: a job without a place finds none later in the same pass.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from reference_server.core.market import changes
from reference_server.core.market.market import Happening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.core.market.jobs import Job
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Placement
    from reference_server.core.market.prices import Need
    from reference_server.core.market.queued import JobClass, Waiting
    from reference_server.wire.values import Instant

_GROWN_ONE_BY_ONE = 16
"""Up to this many machines with more room are examined one by one; beyond that, the index is faster."""
_FIRST_LOOKED_AT = 32
"""Jobs examined before the fitting classes are computed: if many jobs can be placed, one of the first can."""
_ANY_RATE = 1 << 62


def match_all(market: Market, now: Instant) -> None:
    """Place every queued job that can be placed: accounts in turn, in each the oldest job first.

    Does nothing while the offers of many machines must still be recomputed, which continues at once.
    """
    waiting, pool = market.waiting, market.pool
    if market.unsettled:
        return
    if waiting and (market.grown or pool.fell or waiting.new):
        one_pass = _Pass(market)
        while one_pass.place_next(now):
            pass
    market.grown.clear()
    pool.fell = False


def _assign(market: Market, now: Instant, job: Job, place: Placement) -> None:
    changes.assign_job(market, now, job.id, place.worker_id, place.model, place.rate)
    market.happened.append(Happening("job_assigned", "system", job.id, {}, job.account, job.owner_id))


class _Pass:
    """One pass over the queue, with what it knows and found out.

    `_fitting` are the classes with jobs that may fit a machine with more room; None until it is computed. `_others`
    are new jobs, and those that a fallen price may have made affordable.
    """

    def __init__(self, market: Market) -> None:
        market.waiting.passes += 1
        self._number = market.waiting.passes
        self._market = market
        self._pool = market.pool
        self._grown = [market.pool.offers[worker_id] for worker_id in market.grown]
        self._roomless: set[Need] = set()
        self._fitting: set[JobClass] | None = None
        self._others = dict.fromkeys(market.waiting.new)
        if market.pool.fell:
            self._others.update(dict.fromkeys(market.waiting.dear.hopeful(market.pool)))
        self._measure()

    def _measure(self) -> None:
        """Record the free room of machines with more than before, unless they are many."""
        rooms = [(offer.free_cpu, offer.free_memory, offer) for offer in self._grown if offer.takes_more]
        self._cpu = max((room[0] for room in rooms), default=-1)
        self._memory = max((room[1] for room in rooms), default=-1)
        self._rooms = rooms if len(self._grown) <= _GROWN_ONE_BY_ONE else None

    def place_next(self, now: Instant) -> bool:
        """Place the first job that can be placed; return whether there was one."""
        queue = self._market.waiting
        if self._place_first(now, islice(queue.in_turn(), _FIRST_LOOKED_AT)):
            return True
        if len(queue) <= _FIRST_LOOKED_AT:
            return False
        self._find_fitting()
        return self._place_first(now, queue.of(self._fitting or (), self._others))

    def _place_first(self, now: Instant, queue: Iterable[Waiting]) -> bool:
        number, others = self._number, self._others
        for waiting in queue:
            if waiting.looked_at == number or not (waiting in others or self._may_be_helped(waiting)):
                continue
            place = self._place(waiting)
            if place is not None:
                others.pop(waiting, None)
                _assign(self._market, now, waiting.job, place)
                if self._rooms is not None:
                    self._measure()
                return True
            others.pop(waiting, None)
        return False

    def _may_be_helped(self, waiting: Waiting) -> bool:
        """Return whether a job may go to a machine with more room."""
        need = waiting.job.need
        if need.cpu > self._cpu or need.memory > self._memory or (waiting.dear and not need.gpus):
            return False
        return self._may_fit_grown(need)

    def _find_fitting(self) -> None:
        """Compute the classes with jobs that may fit a machine with more room, within their maxima."""
        waiting, fitting = self._market.waiting, set()
        before = self._fitting
        for kind in list(waiting.within(self._cpu, self._memory) if before is None else before):
            if kind.jobs and not kind.sleeps and self._may_fit_grown(kind.least):
                if self._is_affordable(kind, kind.rates[-1]):
                    fitting.add(kind)
                else:
                    waiting.all_dear(kind, self._pool)
        self._fitting = fitting

    def _is_affordable(self, kind: JobClass, highest: int) -> bool:
        """Return whether the least need of a class costs at most `highest` an hour."""
        rates = self._pool.rates(kind.least)
        return rates is not None and rates[0] <= highest

    def _place(self, waiting: Waiting) -> Placement | None:
        """Return where a job goes, or None; notes why not."""
        need, queue, pool = waiting.job.need, self._market.waiting, self._pool
        if need in self._roomless:
            queue.note(waiting, pool, dear=False)
            return None
        rates = pool.rates(need)
        if rates is None or rates[0] > waiting.highest:
            queue.note(waiting, pool, dear=rates is not None)
            return None
        place = pool.cheapest(need, waiting.highest)
        if place is None:
            dear = rates[1] > waiting.highest
            queue.note(waiting, pool, dear=dear)
            if not dear:
                self._roomless.add(need)
        return place

    def _may_fit_grown(self, need: Need) -> bool:
        if self._rooms is None:
            return self._pool.cheapest(need, _ANY_RATE) is not None
        for free_cpu, free_memory, offer in self._rooms:  # no generator, for speed: it runs for each class
            if need.cpu <= free_cpu and need.memory <= free_memory and (not need.gpus or offer.fits(need)):
                return True
        return False
