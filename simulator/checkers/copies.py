"""Copies that a network made of accepted heartbeats, and that were refused because a consent or certificate had ended.

Whether one can have is known once the run is over: what ended it may have been under way when the copy was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import PATIENCE_NS
from simulator.checkers.incarnations import restarts_of
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import MIDDLEBOX, NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.history.rows import History

CLOCK_SPARE_NS = SECOND_NS
"""By how much sooner than it was asked for, and lasts, a certificate may end: it lasts for whole seconds."""
RENEWING = (Operation.CERTIFICATE, Operation.REGISTER)


def ended_for_nothing(history: History, rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are copies that were refused for a consent or certificate that cannot have ended.

    They had to be refused as replays.
    """
    ended = np.isin(rows["expected"], [Answer.NO_CONSENT, Answer.INVALID_CERTIFICATE])
    wrong: NDArray[np.bool_] = (rows["campaign"] == MIDDLEBOX) & ended & (rows["got"] == rows["expected"])
    for at in np.flatnonzero(wrong):
        wrong[at] = not _can_have_ended(history, rows[at])
    return wrong


def _can_have_ended(history: History, row: NDArray[Any]) -> bool:
    """Return whether a restart, or whoever may end what a copy's machine had, was at work since its original."""
    since_ns, until_ns, machine = int(row["sent_ns"]) - PATIENCE_NS, int(row["answered_ns"]), int(row["machine"])
    if row["expected"] == Answer.NO_CONSENT:
        ends = _revoked(history, machine)
    else:
        ends = _renewed(history, machine)
        held = int(row["certificate"])
        # Of one that is not known nobody can say when it ends.
        if held == NONE or _last_ns(history, held) <= until_ns + CLOCK_SPARE_NS:
            return True
    restarts = ((one.began_from_ns, one.ended_to_ns) for one in restarts_of(history))
    return any(from_ns <= until_ns and to_ns >= since_ns for some in (ends, restarts) for from_ns, to_ns in some)


def _last_ns(history: History, certificate: int) -> int:
    """Return until when a certificate was good at least."""
    record = history.certificates[certificate - 1]
    return record.sent_ns + record.life_ns


def _revoked(history: History, machine: int) -> Iterator[tuple[int, int]]:
    """Yield between which two moments each revoke of a machine's consents was done, if it was."""
    for one in history.revocations:
        if 0 < one.consent <= len(history.consents) and history.consents[one.consent - 1].machine == machine:
            yield one.sent_ns, one.answered_ns


def _renewed(history: History, machine: int) -> Iterator[tuple[int, int]]:
    """Yield between which two moments a machine was given another certificate, or may have been."""
    for one in history.certificates:
        if one.machine == machine:
            yield one.sent_ns, one.answered_ns
    rows = history.rows()
    mine = rows[(rows["machine"] == machine) & np.isin(rows["operation"], RENEWING)]
    yield from zip(mine["sent_ns"].tolist(), mine["answered_ns"].tolist(), strict=True)
