"""Response times and lateness of planned starts, and the part of the lateness that the harness itself caused.

A response time counts from the planned moment. A machine that waits for an answer sends nothing: a start that leaves
when the answer comes is late because of the target, and earlier starts that came due during the wait (`Wait`) are never
sent, but their response times last until then. This is how wrk2 counts, and how HdrHistogram corrects for coordinated
omission. Pure functions of a history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.contract.answers import Operation
from simulator.history.rows import HONEST, NEVER_NS, History
from simulator.limits import ANSWER_TIMEOUT_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAITS = np.dtype(
    [("machine", "<i4"), ("planned_ns", "<i8"), ("interval_ns", "<i8"), ("count", "<i8"), ("answered_ns", "<i8")]
)


def honest_heartbeats(history: History) -> NDArray[Any]:
    """Return the rows of the fleet's heartbeats."""
    rows = history.rows()
    chosen: NDArray[Any] = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST)]
    return chosen


def held_up_starts(history: History) -> NDArray[Any]:
    """Return the planned starts that were never sent, one row of dtype `WAITS` each, with a `count` of 1."""
    waits = _waits(history)
    each = np.repeat(waits, waits["count"])
    counts: NDArray[np.int64] = waits["count"]
    nth = np.arange(len(each)) - np.repeat(np.cumsum(counts) - counts, counts)
    each["planned_ns"] += nth * each["interval_ns"]
    each["count"] = 1
    return each


def widened_ns(history: History, rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return how many nanoseconds longer each row's time to its answer looks than its own process measured it.

    Merging rows of several hosts widens them, because clock offsets are known only within bounds (`PartRecord`). The
    result has the shape of `rows`.
    """
    widened = np.zeros(len(rows), dtype=np.int64)
    for part in history.parts:
        if part.clock_width_ns:
            own = (rows["machine"] >= part.first_machine) & (rows["machine"] < part.first_machine + part.machines)
            widened[own] += part.clock_width_ns
    return widened


def seconds_to_answer(history: History, rows: NDArray[Any], since: str) -> NDArray[np.float64]:
    """Return the seconds from each row's moment `since` (a column) to its answer; infinity for a lost answer."""
    taken = (rows["answered_ns"] - rows[since] - widened_ns(history, rows)) / SECOND_NS
    return np.where(rows["answered_ns"] == NEVER_NS, np.inf, taken)


def response_times(history: History) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the planned times, in ns, and the response times, in seconds, of the fleet's heartbeats.

    First those that were sent, in the order of `honest_heartbeats`, then those of `held_up_starts`.
    """
    sent, held_up = honest_heartbeats(history), held_up_starts(history)
    planned_ns = np.concatenate([sent["planned_ns"], held_up["planned_ns"]])
    return planned_ns, np.concatenate([seconds_to_answer(history, one, "planned_ns") for one in (sent, held_up)])


def own_lateness_ns(history: History, whole: History | None = None) -> NDArray[np.int64]:
    """Return how many ns late the harness sent each of `honest_heartbeats`, once it was due and its machine was free.

    `whole` is the history that `history` is a part of, if any: the answer that freed a machine may be outside the part.
    """
    sent = honest_heartbeats(history)
    lateness_ns: NDArray[np.int64] = sent["sent_ns"] - sent["planned_ns"]
    late = np.flatnonzero(lateness_ns > MILLISECOND_NS)
    if not len(late):
        return lateness_ns
    # A late heartbeat waits for the last answer to its machine before it. One pass over both, in the order of time.
    whole = history if whole is None else whole
    rows = whole.rows()
    rows = rows[(rows["campaign"] == HONEST) & (rows["answered_ns"] != NEVER_NS)]
    rows = rows[np.isin(rows["machine"], sent["machine"][late])]
    waits = _waits(whole)
    waits = waits[waits["answered_ns"] != NEVER_NS]
    freed = [one["answered_ns"] - widened_ns(whole, one) for one in (rows, waits)]
    machine = np.concatenate([rows["machine"], waits["machine"], sent["machine"][late]])
    at_ns = np.concatenate([*freed, sent["sent_ns"][late]])
    asks = np.arange(len(machine)) >= len(machine) - len(late)
    order = np.lexsort((asks, at_ns, machine))
    last = np.maximum.accumulate(np.where(asks[order], -1, np.arange(len(order))))
    same = (last >= 0) & (machine[order][last] == machine[order])
    free_ns = np.zeros(len(order), dtype=np.int64)
    free_ns[order] = np.where(same, at_ns[order][last], 0)
    lateness_ns[late] = sent["sent_ns"][late] - np.maximum(sent["planned_ns"][late], free_ns[asks])
    return lateness_ns


def unseen(history: History, since_ns: NDArray[Any], until_ns: NDArray[Any], lag_seconds: float) -> NDArray[np.bool_]:
    """Return for each request, given by its two ends, whether the harness stalled for over `lag_seconds` during it.

    The harness reads answers that come during such a stall late, or counts them as lost.
    """
    before_ns = [one.at_ns for one in history.generator]
    spans = [
        (min(start_ns, one.at_ns - SECOND_NS) - one.loop_lag_ns, one.at_ns)
        for start_ns, one in zip([0, *before_ns], history.generator, strict=False)
        if one.loop_lag_ns > lag_seconds * SECOND_NS
    ]
    starts = np.array([start_ns for start_ns, _ in spans] + [NEVER_NS], dtype=np.int64)
    ends = np.array([end_ns for _, end_ns in spans] + [NEVER_NS], dtype=np.int64)
    last_ns = np.minimum(until_ns, since_ns + int(ANSWER_TIMEOUT_SECONDS * SECOND_NS))
    found: NDArray[np.bool_] = starts[np.searchsorted(ends, since_ns)] <= last_ns
    return found


def _waits(history: History) -> NDArray[Any]:
    """Return the history's waits as rows of dtype `WAITS`."""
    waits = [(one.machine, one.planned_ns, one.interval_ns, one.count, one.answered_ns) for one in history.waits]
    return np.array(waits, dtype=WAITS)
