"""Counts of answers, updated as rows arrive, to watch a run in progress. Each row is read once."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import HONEST, NEVER_NS
from simulator.limits import DURATION_MAX_SECONDS, LATENCIES_KEPT

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOST = 0
"""Stands in the counts for the status of an answer that never came."""
BUCKETS_NS = tuple(
    round(milliseconds * MILLISECOND_NS)
    for milliseconds in (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
)
"""The longest response time of each bucket; one more bucket takes longer times. The last is an answer's timeout."""
RECENT_NS = 5 * SECOND_NS
"""The period that current percentiles cover: a shorter one has too few answers in a small fleet."""


class AnswerCounts:
    """Counts of all answers so far. Response times are those of the fleet's heartbeats, from their planned moments."""

    def __init__(self) -> None:
        self.honest: Counter[tuple[int, int]] = Counter()
        """Answers to the fleet, its owners and its agents, by operation and status."""
        self.hostile: Counter[tuple[int, int]] = Counter()
        """Answers to attacks, by campaign and status."""
        self.buckets = [0] * (len(BUCKETS_NS) + 1)
        self.response_total_ns = 0
        self.accepted: list[int] = []
        """The number of accepted heartbeats for each second of the run, by the time of the answer."""
        self._recent: deque[tuple[int, NDArray[np.int64]]] = deque()
        self._recent_count = 0

    def add(self, rows: NDArray[Any], shift_ns: int = 0) -> None:
        """Count rows of dtype `ROW`, whose time 0 is `shift_ns` in the run."""
        if not len(rows):
            return
        lost = rows["answered_ns"] == NEVER_NS
        statuses = np.where(lost, LOST, rows["status"]).astype(np.int64)
        honest = rows["campaign"] == HONEST
        for mine, name, counts in ((honest, "operation", self.honest), (~honest, "campaign", self.hostile)):
            keys, found = np.unique(
                np.stack([rows[name][mine].astype(np.int64), statuses[mine]]), axis=1, return_counts=True
            )
            for (key, status), count in zip(keys.T.tolist(), found.tolist(), strict=True):
                counts[key, status] += count
        self._add_heartbeats(rows[honest & ~lost & (rows["operation"] == Operation.HEARTBEAT)], shift_ns)

    def _add_heartbeats(self, rows: NDArray[Any], shift_ns: int) -> None:
        if not len(rows):
            return
        taken_ns = np.maximum(rows["answered_ns"] - rows["planned_ns"], 0)
        places = np.bincount(np.searchsorted(BUCKETS_NS, taken_ns), minlength=len(self.buckets))
        self.buckets = [before + more for before, more in zip(self.buckets, places.tolist(), strict=True)]
        self.response_total_ns += int(taken_ns.sum())
        seconds = np.maximum(rows["answered_ns"][rows["got"] == Answer.ACCEPTED] + shift_ns, 0) // SECOND_NS
        seconds = seconds[seconds <= DURATION_MAX_SECONDS]  # a worker may report any time; no run is longer
        for second, count in zip(*(each.tolist() for each in np.unique(seconds, return_counts=True)), strict=True):
            self.accepted += [0] * (second + 1 - len(self.accepted))
            self.accepted[second] += count
        self._recent.append((int(rows["answered_ns"].max()) + shift_ns, taken_ns[-LATENCIES_KEPT:]))
        self._recent_count += len(self._recent[-1][1])
        while self._recent_count - len(self._recent[0][1]) >= LATENCIES_KEPT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        self._recent_count -= len(self._recent.popleft()[1])

    def recent_ns(self, now_ns: int) -> NDArray[np.int64]:
        """Return the response times of the last `RECENT_NS` before `now_ns`, the newest `LATENCIES_KEPT` at most."""
        recent = self._recent
        while recent and recent[0][0] < now_ns - RECENT_NS:
            self._forget_oldest()
        if not recent:
            return np.empty(0, dtype=np.int64)
        return np.concatenate([taken_ns for _, taken_ns in recent])[-LATENCIES_KEPT:]
