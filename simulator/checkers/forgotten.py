"""What the instance may have known alone that was missing when Redis had forgotten all (docs/instances.md).

Who begins the new term knows all that any instance knew that took part in the election. One that a fault kept from it,
or a busy machine from running in time, may have accepted heartbeats that the others had not read yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import FORGETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Fault
    from simulator.history.rows import History

UNREAD_NS = SECOND_NS // 2
"""For how long an accepted heartbeat may be known to one instance: twice what the others may take to read it."""
ELECTION_NS = 10 * SECOND_NS
"""Within this time after a flush a new term has begun: ten times as long as an election takes."""
_OF_INSTANCES, _AWAY = "server.", ("redis.down", "redis.pause", "redis.crash")


def perhaps_forgotten(history: History, rows: NDArray[Any], facts: Facts) -> NDArray[np.bool_]:
    """Return which of some rows are heartbeats that only an instance knew which the new term may have begun without.

    That one was accepted stays true, for whoever asks whether its nonce was accepted twice.
    """
    forgotten = np.zeros(len(rows), dtype=np.bool_)
    for fault in history.faults if facts.instances > 1 else ():
        if fault.kind in FORGETS:
            from_ns, to_ns = _unread_and_begun(history, fault)
            if not facts.virtual or _kept_one_away(history, from_ns, to_ns):
                forgotten |= (rows["answered_ns"] >= from_ns) & (rows["sent_ns"] <= fault.ended_to_ns)
    return forgotten


def _unread_and_begun(history: History, flush: Fault) -> tuple[int, int]:
    """Return since when others may not have read what one accepted before a flush, and by when a new term has begun.

    While Redis is away nobody reads, and nobody is elected.
    """
    from_ns, to_ns = flush.began_from_ns - UNREAD_NS, flush.ended_to_ns + ELECTION_NS
    away = sorted((one for one in history.faults if one.kind in _AWAY), key=lambda one: one.began_from_ns)
    for one in away:
        if one.began_from_ns <= to_ns and one.ended_to_ns >= flush.ended_to_ns:
            to_ns = max(to_ns, one.ended_to_ns + ELECTION_NS)
    for one in reversed(away):
        if one.began_from_ns <= flush.began_from_ns and one.ended_to_ns >= from_ns:
            from_ns = min(from_ns, one.began_from_ns - UNREAD_NS)
    return from_ns, to_ns


def _kept_one_away(history: History, from_ns: int, to_ns: int) -> bool:
    """Return whether another fault may have ended an instance, or stopped it, before the new term began."""
    return any(
        one.kind.startswith(_OF_INSTANCES) and one.ended_to_ns >= from_ns and one.began_from_ns <= to_ns
        for one in history.faults
    )
