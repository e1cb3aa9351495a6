"""What a Redis that several instances share may have known alone when the run had it forget (docs/instances.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import FORGETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

UNREAD_NS = SECOND_NS // 2
"""For how long an accepted heartbeat may be in Redis alone: twice what an instance may take to read it."""


def perhaps_forgotten(history: History, rows: NDArray[Any], facts: Facts) -> NDArray[np.bool_]:
    """Return which of some rows are heartbeats that no instance had read when Redis forgot.

    That one was accepted stays true, for whoever asks whether its nonce was accepted twice.
    """
    forgotten = np.zeros(len(rows), dtype=np.bool_)
    for fault in history.faults if facts.instances > 1 else ():
        if fault.kind in FORGETS:
            forgotten |= (rows["answered_ns"] >= fault.began_from_ns - UNREAD_NS) & (
                rows["sent_ns"] <= fault.ended_to_ns
            )
    return forgotten
