"""CPU starvation: which processes waited for a CPU, and how long. An overloaded computer delays a correct server.

Starvation of the server or the harness excuses late and missing answers of that time, and proves nothing. A server that
sleeps or has deadlocked does not wait for a CPU, and is judged as usual. Pure functions of a history.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.limits import ANSWER_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.history.records import CpuWait
    from simulator.history.rows import History

HARNESS, TARGET, MACHINE = "the harness", "the target", "this machine"
STARVED_SHARE = 0.5
"""Share of a period from which a process that waited for a CPU counts as starved: a process that is ready to run for so
long is not idle, and might have been on time on a computer of its own."""
CROWDED_SHARE = 0.75
"""The same share if only the machine was measured, and not which process waited: at this share all work takes four
times as long."""


COARSE_NS = 2 * SECOND_NS
"""Longest period of a usual record. A longer one means that the harness was late to measure: the wait may have been at
any time within it."""


class _Line(NamedTuple):
    """The cumulative wait of one process: `waited_ns` in total by each of `at_ns`, interpolated linearly between them.

    `coarse` holds the records longer than `COARSE_NS` as (from, to, waited), in nanoseconds: such a wait may have been
    at any time between from and to.
    """

    who: str
    at_ns: NDArray[np.int64]
    waited_ns: NDArray[np.int64]
    coarse: list[tuple[int, int, int]]

    def between(self, since_ns: NDArray[np.int64], until_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the nanoseconds that the process waited, or may have waited, in each period given by its two ends."""
        waited: NDArray[np.float64] = np.interp(until_ns, self.at_ns, self.waited_ns) - np.interp(
            since_ns, self.at_ns, self.waited_ns
        )
        for from_ns, to_ns, waited_ns in self.coarse:
            shared_ns = np.minimum(until_ns, to_ns) - np.maximum(since_ns, from_ns)
            waited += np.clip(shared_ns, 0, waited_ns)
        return waited

    @property
    def share_min(self) -> float:
        """Return the share of a period from which the process counts as starved."""
        return CROWDED_SHARE if self.who == MACHINE else STARVED_SHARE


class Starvation:
    """The periods of a run in which a process that its answers depend on was starved of CPU."""

    def __init__(self, history: History) -> None:
        by_process: dict[tuple[str, int], list[CpuWait]] = defaultdict(list)
        for one in history.cpu_waits:
            by_process[one.who, one.process].append(one)
        self._lines = [_line(who, waits) for (who, _), waits in by_process.items()]

    def covers(self, since_ns: NDArray[np.int64], until_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each period, given by its two ends, whether any process was starved in it."""
        starved = np.zeros(len(since_ns), dtype=np.bool_)
        for line in self._lines:
            starved |= line.between(since_ns, until_ns) >= line.share_min * np.maximum(until_ns - since_ns, 1)
        return starved

    def describe(self, since_ns: int, until_ns: int) -> str:
        """Describe the process that waited longest in a period, and how long; empty if none was starved."""
        ends = np.array([since_ns], dtype=np.int64), np.array([until_ns], dtype=np.int64)
        length_ns = max(until_ns - since_ns, 1)
        waited = [(float(line.between(*ends)[0]), line) for line in self._lines]
        starved = [(waited_ns, line) for waited_ns, line in waited if waited_ns >= line.share_min * length_ns]
        if not starved:
            return ""
        waited_ns, line = max(starved, key=lambda one: one[0])
        who = f"who wanted to run on {line.who}" if line.who == MACHINE else line.who
        return f"{who} waited for a CPU for {waited_ns / SECOND_NS:.1f} of {length_ns / SECOND_NS:.1f} s"


def starved(history: History, since_ns: NDArray[Any], until_ns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each request, given by its two ends, whether a process was starved while it was under way.

    `until_ns` is bounded by the client's timeout, which also stands in for an answer that never came.
    """
    last_ns = np.minimum(until_ns, since_ns + int(ANSWER_TIMEOUT_SECONDS * SECOND_NS))
    return Starvation(history).covers(since_ns, last_ns)


def _line(who: str, waits: list[CpuWait]) -> _Line:
    at_ns: list[int] = []
    waited_ns: list[int] = []
    coarse: list[tuple[int, int, int]] = []
    began = False
    last_ns = total_ns = 0
    for one in sorted(waits, key=lambda one: one.waited_to_ns):
        from_ns, to_ns = max(one.waited_from_ns, last_ns) if began else one.waited_from_ns, one.waited_to_ns
        if to_ns <= from_ns:
            continue
        began, last_ns, own_ns = True, to_ns, min(one.waited_ns, to_ns - from_ns)
        if to_ns - from_ns > COARSE_NS:
            coarse.append((from_ns, to_ns, own_ns))
            continue
        at_ns += [from_ns, to_ns]
        waited_ns += [total_ns, total_ns + own_ns]
        total_ns += own_ns
    return _Line(who, np.array(at_ns or [0], dtype=np.int64), np.array(waited_ns or [0], dtype=np.int64), coarse)
