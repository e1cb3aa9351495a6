"""The freshness of workers, with an index for every count that is queried, so that no query iterates over the fleet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from reference_server.core.records import Owner, Worker


class FleetSummary(msgspec.Struct, frozen=True):
    """Counts of workers: `total` = `fresh` + `stale` + `unknown`. Unknown workers never sent an accepted heartbeat."""

    total: int
    fresh: int
    stale: int
    unknown: int


class FleetIndex:
    """Fresh workers in the order of their last heartbeat, oldest first; they are removed when they become stale."""

    def __init__(self, stale_ns: int) -> None:
        self._stale_ns = stale_ns
        self._fresh: OrderedDict[Worker, None] = OrderedDict()
        self._stale = 0
        self._total = 0

    def add(self, worker: Worker) -> None:
        """Add a worker without any accepted heartbeat."""
        self._total += 1
        worker.owner.total += 1

    def hear(self, worker: Worker, monotonic_ns: int) -> None:
        """Record an accepted heartbeat of a worker."""
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
        """Return whether a worker's last heartbeat is older than the threshold, or there was none."""
        heard_ns = worker.heard_monotonic_ns
        return heard_ns is None or monotonic_ns - heard_ns > self._stale_ns

    def summary(self, monotonic_ns: int, owner: Owner | None = None) -> FleetSummary:
        """Return the counts of an owner's workers, or of all workers."""
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
