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
_OF_INSTANCES = "server."


def perhaps_forgotten(history: History, rows: NDArray[Any], facts: Facts) -> NDArray[np.bool_]:
    """Return which of some rows are heartbeats that only an instance knew which the new term may have begun without.

    That one was accepted stays true, for whoever asks whether its nonce was accepted twice.
    """
    forgotten = np.zeros(len(rows), dtype=np.bool_)
    for fault in history.faults if facts.instances > 1 else ():
        if fault.kind in FORGETS and (not facts.virtual or _kept_one_away(history, fault)):
            forgotten |= (rows["answered_ns"] >= fault.began_from_ns - UNREAD_NS) & (
                rows["sent_ns"] <= fault.ended_to_ns
            )
    return forgotten


def _kept_one_away(history: History, flush: Fault) -> bool:
    """Return whether another fault may have ended an instance, or stopped it, before the new term began."""
    return any(
        fault.kind.startswith(_OF_INSTANCES)
        and fault.ended_to_ns >= flush.began_from_ns - UNREAD_NS
        and fault.began_from_ns <= flush.ended_to_ns + ELECTION_NS
        for fault in history.faults
    )
