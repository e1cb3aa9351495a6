"""Queued jobs that were too dear, by how far prices have to fall for them: an index for matching.

Each has its hope: the millionths of the prices of a moment, the reference, to which they have to fall at least before
it may be within its maximum. The price that fell furthest, against the reference, says who may be in luck.
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
"""The hope of a job whose GPUs had no price then: it is looked at whenever any price falls."""
_SPARE = 64
"""Jobs that may be looked at in vain before the reference is taken anew, besides as many as there are."""


class DearJobs:
    """Dear jobs, the least hopeful first."""

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


def _hope(waiting: Waiting) -> int:
    return waiting.hope


def _hope_and_number(waiting: Waiting) -> tuple[int, int]:
    return waiting.hope, waiting.job.number
