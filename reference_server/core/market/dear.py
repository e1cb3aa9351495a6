"""Queued jobs that are too expensive to run, by how far prices must fall for them: an index for matching.

Each job has a hope: the fraction, in millionths of the prices at some moment (the reference), to which prices must fall
before the job can be within its maximum. The price that fell furthest from the reference decides which jobs are tried.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from reference_server.core.market.money import MICRO

if TYPE_CHECKING:
    from reference_server.core.market.pool import Pool
    from reference_server.core.market.prices import Need
    from reference_server.core.market.queued import Waiting

_ALWAYS = 1 << 62
"""The hope of a job whose GPUs had no price at the reference: it is tried whenever any price falls."""
_SPARE = 64
"""Unsuccessful tries, beyond the number of jobs, after which a new reference is taken."""


class DearJobs:
    """Jobs that are too expensive, those with the smallest hope first."""

    def __init__(self) -> None:
        self._jobs: list[Waiting] = []
        self._cpu = self._memory = 0
        self._models: dict[str, int] = {}
        self._in_vain = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, waiting: Waiting, pool: Pool) -> None:
        """Add a job that is too expensive."""
        if not self._jobs:
            self._take_reference(pool)
        waiting.hope = self._hope(waiting)
        insort(self._jobs, waiting, key=_hope_and_number)

    def remove(self, waiting: Waiting) -> None:
        """Remove a job."""
        del self._jobs[bisect_left(self._jobs, _hope_and_number(waiting), key=_hope_and_number)]

    def hopeful(self, pool: Pool) -> list[Waiting]:
        """Return all jobs that may be affordable at the current prices; no other job is.

        Prices change independently, so many tries may be in vain; then the current prices become the reference.
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
        """Return the smallest ratio of a current price to its reference, in millionths; 0 if there is a new price."""
        cpu, memory, models = pool.prices()
        known = self._models
        if any(model not in known for model in models):
            return 0
        pairs = [(cpu, self._cpu), (memory, self._memory), *((price, known[model]) for model, price in models.items())]
        return min((price * MICRO // before for price, before in pairs if before), default=0)

    def _hope(self, waiting: Waiting) -> int:
        """Return the largest fraction of the reference, in millionths, at which rounding may make a job affordable."""
        cost = self._cost(waiting.job.need)
        return _ALWAYS if not cost else (2 * waiting.highest + 1) * MICRO * MICRO // (2 * cost) + 1

    def _cost(self, need: Need) -> int:
        """Return the cost of an hour at the reference, in millionths of a micro-USDT, or 0 if it is unknown."""
        gpu = 0
        if need.gpus:
            if need.model not in {"", *self._models} or not self._models:
                return 0
            gpu = self._models[need.model] if need.model else min(self._models.values())
        return need.cpu * self._cpu + need.memory * self._memory + need.gpus * gpu * MICRO


def _hope(waiting: Waiting) -> int:
    return waiting.hope


def _hope_and_number(waiting: Waiting) -> tuple[int, int]:
    return waiting.hope, waiting.job.number
