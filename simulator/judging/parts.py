"""Measuring parts of a run: requests of one operation, one attack or one campaign; and heartbeats by the second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.judging import crossed_closes
from simulator.contract.answers import Answer
from simulator.history.rows import HONEST, NEVER_NS
from simulator.history.schedule import held_up_starts, honest_heartbeats, response_times, seconds_to_answer
from simulator.scenario.thresholds import OPERATIONS, part_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from simulator.history.rows import History
    from simulator.scenario.thresholds import RunPart


class Series(msgspec.Struct, frozen=True):
    """What one metric measured: `values` in seconds for times, megabytes for memory; `count` of `total` for events."""

    values: NDArray[np.float64] | None = None
    count: float = 0
    total: float = 0


def heartbeat_rates(history: History, until_ns: int = NEVER_NS) -> NDArray[np.float64]:
    """Return how many of the fleet's heartbeats were accepted in each whole second.

    From the second after the first was planned until the last before the last one was; those in which nothing was
    answered, though something was to be, count with none. One that was not over at `until_ns` is left out.
    """
    beats = honest_heartbeats(history)
    planned = np.concatenate([beats["planned_ns"], held_up_starts(history)["planned_ns"]])
    return _a_second(beats[beats["got"] == Answer.ACCEPTED]["answered_ns"], planned, until_ns)


def _a_second(moments: NDArray[np.int64], planned: NDArray[np.int64], until_ns: int) -> NDArray[np.float64]:
    if not len(planned):
        return np.empty(0)
    first, last = int(planned.min()) // SECOND_NS + 1, min(int(planned.max()), until_ns) // SECOND_NS
    seconds = moments // SECOND_NS
    inside = seconds[(seconds >= first) & (seconds < last)] - first
    counts: NDArray[np.float64] = np.bincount(inside, minlength=max(0, last - first)).astype(np.float64)
    return counts


def heartbeat_response_times(history: History) -> NDArray[np.float64]:
    """Return how long each of the fleet's heartbeats took from when it was planned, in seconds.

    Those that a slow answer kept from leaving are among them, those that crossed the close of a connection are not.
    """
    asked = ~crossed_closes(history, honest_heartbeats(history))
    taken = response_times(history)[1]
    held_up = np.ones(len(taken) - len(asked), dtype=np.bool_)
    of_asked: NDArray[np.float64] = taken[np.concatenate([asked, held_up])]
    return of_asked


def measure_parts(
    history: History, metrics: Iterable[str], campaigns: Mapping[int, str], until_ns: int = NEVER_NS
) -> dict[str, Series]:
    """Measure those of the metrics that are about a part of a run. `campaigns` are attacks by their number.

    What became of requests is not known where nothing was asked: that it was not is all there is to measure. Times and
    rates of heartbeats are the fleet's, which have those that never left among them. No second is counted that was not
    over at `until_ns`.
    """
    rows = history.rows()
    series = {}
    for metric in metrics:
        part = part_of(metric)
        if metric == "operation.heartbeat.response_time":
            series[metric] = Series(values=heartbeat_response_times(history))
        elif metric == "operation.heartbeat.rate":
            series[metric] = Series(values=heartbeat_rates(history, until_ns))
        elif part is not None:
            chosen = rows[_chosen(rows, part, campaigns)]
            asked = chosen[~crossed_closes(history, chosen)]
            if len(asked) or part.what == "sent":
                series[metric] = _series(history, asked, part, len(chosen), until_ns)
    return series


def _chosen(rows: NDArray[Any], part: RunPart, campaigns: Mapping[int, str]) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_]
    if part.kind == "operation":
        chosen = (rows["operation"] == OPERATIONS[part.name]) & (rows["campaign"] == HONEST)
    elif part.kind == "campaign":
        chosen = rows["campaign"] == int(part.name)
    else:
        chosen = np.isin(rows["campaign"], [number for number, attack in campaigns.items() if attack == part.name])
    return chosen


def _series(history: History, asked: NDArray[Any], part: RunPart, sent: int, until_ns: int) -> Series:
    """Measure a part by those of its requests that asked for something, of all that were `sent`."""
    got = asked["got"]
    lost = (got == Answer.LOST) | (asked["answered_ns"] == NEVER_NS)
    match part.what:
        case "response_time":
            return Series(values=seconds_to_answer(history, asked, "planned_ns"))
        case "rate":
            accepted = asked[got == Answer.ACCEPTED]
            return Series(values=_a_second(accepted["answered_ns"], asked["planned_ns"], until_ns))
        case "accepted":
            return Series(count=int((got == Answer.ACCEPTED).sum()), total=len(asked))
        case "refused":
            return Series(count=int((~lost & (got != Answer.ACCEPTED)).sum()), total=sent)
        case "lost":
            return Series(count=int(lost.sum()), total=sent)
        case _:
            return Series(count=sent, total=sent)
