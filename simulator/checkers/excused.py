"""The times in which a run's own faults keep its server from answering: what is missing then is nobody's mistake."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.history.starvation import Starvation
from simulator.limits import ANSWER_TIMEOUT_SECONDS, NETWORK_LATENCY_MAX_SECONDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.history.records import Fault, Trouble
    from simulator.history.rows import History

PATIENCE_NS = int(ANSWER_TIMEOUT_SECONDS * SECOND_NS)
IN_FLIGHT_NS = SECOND_NS
"""How long before a fault a request may have been sent that the fault cuts off."""
THERE_AND_BACK_NS = int(2 * NETWORK_LATENCY_MAX_SECONDS * SECOND_NS)
"""By how much longer requests are under way while the network is slow."""
HEALED_AFTER_NS = 5 * SECOND_NS
"""By when a server must answer again, once its process or its Redis does: half a client's patience."""
NETWORK = "network."
SLOW = frozenset({"network.latency", "network.reordering", "network.duplication"})
"""Faults of the network with which every answer still comes, if later (`NETWORK_LATENCY_MAX_SECONDS`)."""
CLOCK = "server.clock"
"""A wall clock that is wrong by less than would have a right machine refused."""
LOSES_NOTHING = SLOW | {CLOCK}
FORGETS = frozenset({"redis.flush", "redis.crash"})
"""Faults after which a Redis does not hold all that it was told."""
FLUSHED_FOR_NS = 180 * SECOND_NS
"""How long a right server refuses after Redis has forgotten nonces: twice the skew window (contract §4)."""

OF_MISSING_ANSWERS = frozenset(
    {"all-answered", "honest-served", "closed", "closed-in-time", "retry-served", "stays-live"}
)
"""The claims of attacks that are broken by nothing but answers, or ends of connections, that did not come in time."""


def excuse_missing_answers(history: History) -> History:
    """Return the history, with nothing claimed of answers that the run's own faults may have kept away.

    Nor of those that were late while somebody waited for a CPU. A claim does not say whether an answer was late or
    never came, so a slow network leaves it open.
    """
    if not (history.faults or history.cpu_waits) or not history.claims:
        return history
    at_ns = np.array([one.at_ns for one in history.claims], dtype=np.int64)
    # What a claim tells of was asked before it, for as long as clients wait at least.
    since_ns = at_ns - PATIENCE_NS
    covered = Excused(history, late=True).overlap(since_ns, at_ns) | Starvation(history).covers(since_ns, at_ns)
    excused = history.with_rows(history.rows())
    excused.claims = [
        msgspec.structs.replace(one, held=None) if away and not one.held and one.rule in OF_MISSING_ANSWERS else one
        for one, away in zip(history.claims, covered.tolist(), strict=True)
    ]
    return excused


def healed_ns(fault: Fault) -> int:
    """Return from when on a right server answers again as if nothing had been.

    After the network's faults at once: the server was well, and what was held on the way comes in a moment.
    """
    if fault.kind.startswith(NETWORK) or fault.kind == CLOCK:
        return fault.ended_to_ns + IN_FLIGHT_NS
    refused_for_ns = FLUSHED_FOR_NS if fault.kind in FORGETS else 0
    return fault.ended_to_ns + refused_for_ns + HEALED_AFTER_NS


def accepting_ns(fault: Fault) -> int:
    """Return from when on a right server accepts heartbeats again, too; all else it answers as if nothing had been."""
    return healed_ns(fault) + fault.refused_for_ns


def refused_after(history: History, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are heartbeats that a server refused, by 503, for as long as it may after a fault."""
    refused = np.zeros(len(rows), dtype=np.bool_)
    for one in history.faults:
        if one.refused_for_ns:
            refused |= (rows["sent_ns"] >= one.began_from_ns) & (rows["sent_ns"] <= accepting_ns(one))
    unknown = (rows["got"] == Answer.UNAVAILABLE) & (rows["status"] == HTTPStatus.SERVICE_UNAVAILABLE)
    refused &= unknown & (rows["operation"] == Operation.HEARTBEAT)
    return refused


def _cut_off_from_ns(history: History, fault: Fault) -> int:
    """Return when the first request may have been sent that a fault cuts off.

    That is earlier where the network was slow when it began, or had been just before.
    """
    slow_from_ns = [
        max(one.began_from_ns, fault.began_from_ns - THERE_AND_BACK_NS)
        for one in history.faults
        if one.kind in SLOW and one.began_from_ns < fault.began_to_ns <= one.ended_to_ns + THERE_AND_BACK_NS
    ]
    return min([fault.began_from_ns, *slow_from_ns]) - IN_FLIGHT_NS


class Excused:
    """Which moments of a run its faults excuse, and how much of what went wrong on the way they do not.

    A network that is slow, or doubles, keeps no answer away: what is missing then is the server's. `late` excuses
    answers that came late, too: for waits that were too long, and for nothing else.
    """

    def __init__(self, history: History, *, late: bool = False) -> None:
        self._history = history
        self._spans = [
            (_cut_off_from_ns(history, one), healed_ns(one))
            for one in history.faults
            if one.kind != CLOCK and (late or one.kind not in LOSES_NOTHING)
        ]

    def covers(self, moments_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some moments are excused."""
        covered = np.zeros(len(moments_ns), dtype=np.bool_)
        for start_ns, end_ns in self._spans:
            covered |= (moments_ns >= start_ns) & (moments_ns <= end_ns)
        return covered

    def overlap(self, from_ns: NDArray[np.int64], to_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of some stretches of time, each with its two ends, have an excused moment in them."""
        touched = np.zeros(len(from_ns), dtype=np.bool_)
        for start_ns, end_ns in self._spans:
            touched |= (to_ns >= start_ns) & (from_ns <= end_ns)
        return touched

    def covers_one(self, moment_ns: int) -> bool:
        """Return whether one moment is excused."""
        return any(start_ns <= moment_ns <= end_ns for start_ns, end_ns in self._spans)

    def count(self, what: str) -> int:
        """Count the troubles about something that no fault excuses; a second is excused when a part of it is."""
        return sum(self.left_of(one) for one in self._history.troubles if one.what == what)

    def left_of(self, trouble: Trouble) -> int:
        """Count how often there was a trouble that no fault excuses."""
        excused = sum(
            count
            for second, count in trouble.seconds.items()
            if any(
                start_ns <= (second + 1) * SECOND_NS and second * SECOND_NS <= end_ns
                for start_ns, end_ns in self._spans
            )
        )
        return trouble.count - excused
