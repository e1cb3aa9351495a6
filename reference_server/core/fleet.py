"""How fresh each worker is, with an index for every count that is asked for: nothing walks the fleet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from reference_server.core.records import Owner, Worker


class FleetSummary(msgspec.Struct, frozen=True):
    """`total` = `fresh` + `stale` + `unknown`; unknown workers were never heard from."""

    total: int
    fresh: int
    stale: int
    unknown: int


class FleetIndex:
    """Workers heard from lately, the one heard longest ago first; stale ones leave it when their time comes."""

    def __init__(self, stale_ns: int) -> None:
        self._stale_ns = stale_ns
        self._fresh: OrderedDict[Worker, None] = OrderedDict()
        self._stale = 0
        self._total = 0

    def add(self, worker: Worker) -> None:
        """Count a worker that has not been heard from yet."""
        self._total += 1
        worker.owner.total += 1

    def hear(self, worker: Worker, monotonic_ns: int) -> None:
        """Note an accepted heartbeat."""
        if worker.fresh:
            self._fresh.move_to_end(worker)
        else:
            if worker.heard_monotonic_ns is not None:
                self._stale -= 1
                worker.owner.stale -= 1
            self._fresh[worker] = None
            worker.fresh = True
            worker.owner.fresh += 1
        worker.heard_monotonic_ns = monotonic_ns

    def is_stale(self, worker: Worker, monotonic_ns: int) -> bool:
        """Return whether the last heartbeat is older than the threshold; never heard from is stale too."""
        heard_ns = worker.heard_monotonic_ns
        return heard_ns is None or monotonic_ns - heard_ns > self._stale_ns

    def summary(self, monotonic_ns: int, owner: Owner | None = None) -> FleetSummary:
        """Count an owner's workers, or all of them."""
        self._sweep(monotonic_ns)
        if owner is not None:
            return FleetSummary(owner.total, owner.fresh, owner.stale, owner.total - owner.fresh - owner.stale)
        fresh = len(self._fresh)
        return FleetSummary(self._total, fresh, self._stale, self._total - fresh - self._stale)

    def _sweep(self, monotonic_ns: int) -> None:
        fresh = self._fresh
        while fresh:
            worker = next(iter(fresh))
            if not self.is_stale(worker, monotonic_ns):
                return
            del fresh[worker]
            worker.fresh = False
            worker.owner.fresh -= 1
            worker.owner.stale += 1
            self._stale += 1
