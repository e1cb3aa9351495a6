"""What a lost process leaves open: from some moment on, nobody knows what its machines sent (`PartRecord`).

What was proven without it stays proven. Where a checker accuses because there is no row that explains what the server
did, it must let these requests explain it; and what looks right may only look so, because the proof was lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, ROW, History
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.history.records import PartRecord

KNOWN_ANYWAY = frozenset({"clock", "features"})
"""Checkers that judge without a history."""


def lost_parts(history: History) -> list[PartRecord]:
    """Return the parts whose last rows were never delivered, the first lost one first."""
    return sorted(
        (part for part in history.parts if part.known_until_ns != NEVER_NS), key=lambda part: part.known_until_ns
    )


def unknown_from_ns(history: History) -> int:
    """Return the moment from which on there may be requests without a row; `NEVER_NS` when all are known."""
    return min((part.known_until_ns for part in history.parts), default=NEVER_NS)


def perhaps_sent(history: History) -> NDArray[Any]:
    """Return rows of what each known machine of a lost part may have sent: a heartbeat and a rotation, without answer.

    One of each says all that bounds need: that it may take effect at any time from then on, or never. How many there
    may have been they do not say. Machines that have no row at all were not surely registered, so no bound needs them.
    """
    found = [np.empty(0, dtype=ROW)]
    machines = np.unique(history.rows()["machine"])
    for part in lost_parts(history):
        own = machines[(machines >= part.first_machine) & (machines < part.first_machine + part.machines)]
        own = own[own != NO_MACHINE]
        for operation, expected in (
            (Operation.HEARTBEAT, Answer.EITHER),
            (Operation.CERTIFICATE, Answer.ACCEPTED),
        ):
            rows = np.zeros(len(own), dtype=ROW)
            rows["planned_ns"] = rows["sent_ns"] = part.known_until_ns
            rows["answered_ns"] = NEVER_NS
            rows["machine"], rows["operation"] = own, operation
            rows["expected"], rows["got"] = expected, Answer.LOST
            found.append(rows)
    return np.concatenate(found)


def undecided(history: History, verdict: Verdict) -> Verdict:
    """Make a pass inconclusive where the proof of the contrary may have been lost. What failed has failed."""
    lost = lost_parts(history)
    if verdict.status.is_problem or not lost or verdict.name in KNOWN_ANYWAY:
        return verdict
    machines = sum(
        any(part.first_machine <= number < part.first_machine + part.machines for part in lost)
        for number in history.machines
    )
    from_ns = lost[0].known_until_ns
    why = (
        f"What {plural(machines, 'machine')}, and whoever else was played by the processes that were lost, sent from "
        f"{from_ns / SECOND_NS:.3f}s on is not known"
    )
    finding = Finding(
        f"{verdict.name}.part-lost",
        why,
        from_ns,
        {"parts": [msgspec.to_builtins(part) for part in lost]},
    )
    return msgspec.structs.replace(
        verdict, status=Status.INCONCLUSIVE, summary=f"{why}. As far as it is: {verdict.summary}", findings=(finding,)
    )
