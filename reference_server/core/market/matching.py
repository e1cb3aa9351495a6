"""Which queued job goes to which machine (contract: Jobs, matching).

After each pass no queued job has a machine that fits at a price within its maximum. So a pass has to look only at what
changed since: machines that have more room now, and jobs that were too dear, where a price fell. While a pass assigns
jobs, room only shrinks and prices only rise: who found no place in it finds none later in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.market import changes
from reference_server.core.market.market import Happening

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job
    from reference_server.core.market.market import Market
    from reference_server.core.market.pool import Place
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
    hopeful = [kind for kind in market.waiting.classes() if one_pass.is_hopeful(kind)]
    while hopeful and one_pass.place_next(now, set(hopeful)):
        hopeful = [kind for kind in hopeful if one_pass.is_hopeful(kind)]
    market.grown.clear()
    market.pool.fell = False


def assign(market: Market, now: Instant, job: Job, place: Place) -> None:
    """Give a job its place."""
    changes.assign_job(market, now, job.id, place.worker_id, place.model, place.rate)
    market.happened.append(Happening("job_assigned", "system", job.id, {}, job.account, job.owner_id))


class _Pass:
    """One look at the queue: what it may go by, and what it found out."""

    def __init__(self, market: Market) -> None:
        market.waiting.passes += 1
        self._number = market.waiting.passes
        self._market = market
        self._pool = market.pool
        self._fell = market.pool.fell
        self._grown = [market.pool.offers[worker_id] for worker_id in market.grown]
        self._roomless: set[Need] = set()
        self._measure()

    def _measure(self) -> None:
        """Note the room that machines with more of it have now."""
        self._rooms = [(offer.free_cpu, offer.free_memory, offer) for offer in self._grown[:_GROWN_ONE_BY_ONE]]

    def is_hopeful(self, kind: JobClass) -> bool:
        """Return whether any job of a class may find a place now."""
        if not kind.jobs:
            return False
        fits = self._may_fit_grown(kind.least)
        may_be_cheaper = self._fell and bool(kind.dear_rates)
        rates = self._pool.rates(kind.least) if fits or may_be_cheaper else None
        if rates is None:
            return False
        if fits and rates[0] <= kind.rates[-1]:
            return True
        if fits:
            kind.all_dear()
        return may_be_cheaper and rates[0] <= kind.dear_rates[-1]

    def place_next(self, now: Instant, hopeful: set[JobClass]) -> bool:
        """Place the first job that can be; return whether there was one."""
        number = self._number
        for waiting in self._market.waiting.in_turn(hopeful):
            if waiting.kind in hopeful and waiting.looked_at != number:
                place = self.place(waiting)
                if place is not None:
                    assign(self._market, now, waiting.job, place)
                    self._measure()
                    return True
        return False

    def place(self, waiting: Waiting) -> Place | None:
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
        rooms = self._rooms
        return any(need.cpu <= cpu and need.memory <= memory and offer.fits(need) for cpu, memory, offer in rooms)
