"""Who waited for a CPU, and for how long: a machine with too much to do makes a right server late, and a right harness.

It excuses what was late or missing meanwhile, and proves nothing: whoever stands still or has locked itself does not
wait, and is judged as ever. Pure functions of a history.
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
"""Of a stretch of time in which a process waited for a CPU: who is ready to run for so long is not at rest, and what it
did not do it may have done in time on a machine of its own."""
CROWDED_SHARE = 0.75
"""The same where only the machine was measured, and who it was that waited is not known: there it took four times as
long to do anything."""


COARSE_NS = 2 * SECOND_NS
"""A record of more than so long is of a harness that did not come to measuring: it does not say when in its time."""


class _Line(NamedTuple):
    """How long somebody had waited, in nanoseconds, by when; between two moments it grows evenly.

    But for what is `coarse`, each from when to when and how long of it: all that may have been at any time between.
    """

    who: str
    at_ns: NDArray[np.int64]
    waited_ns: NDArray[np.int64]
    coarse: list[tuple[int, int, int]]

    def between(self, since_ns: NDArray[np.int64], until_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return for how much of some stretches of time it waited, in nanoseconds, or may have."""
        waited: NDArray[np.float64] = np.interp(until_ns, self.at_ns, self.waited_ns) - np.interp(
            since_ns, self.at_ns, self.waited_ns
        )
        for from_ns, to_ns, waited_ns in self.coarse:
            shared_ns = np.minimum(until_ns, to_ns) - np.maximum(since_ns, from_ns)
            waited += np.clip(shared_ns, 0, waited_ns)
        return waited

    @property
    def share_min(self) -> float:
        """Return from which share on it is starved."""
        return CROWDED_SHARE if self.who == MACHINE else STARVED_SHARE


class Starvation:
    """Which stretches of a run somebody starved in that its answers depend on."""

    def __init__(self, history: History) -> None:
        by_process: dict[tuple[str, int], list[CpuWait]] = defaultdict(list)
        for one in history.cpu_waits:
            by_process[one.who, one.process].append(one)
        self._lines = [_line(who, waits) for (who, _), waits in by_process.items()]

    def covers(self, since_ns: NDArray[np.int64], until_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return in which of some stretches of time, each with its two ends, somebody starved."""
        starved = np.zeros(len(since_ns), dtype=np.bool_)
        for line in self._lines:
            starved |= line.between(since_ns, until_ns) >= line.share_min * np.maximum(until_ns - since_ns, 1)
        return starved

    def describe(self, since_ns: int, until_ns: int) -> str:
        """Describe who starved in a stretch of time, and for how long; empty where nobody did."""
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
    """Return what was under way between two moments each while somebody starved; for ever is a client's patience."""
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
