"""What took effect though no answer said so: heartbeats that were refused, or lost, and are in the audit all the same.

Each acceptance leaves exactly one event (contract §3). So a worker that has more of them than acceptances was heard
without being told.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.checkers.audit_lists import HEARTBEAT_EVENT, ROUTINE, chained, gather, kept_from_the_first
from simulator.checkers.judging import UNSURE
from simulator.checkers.lives import each_life, restarts_of
from simulator.checkers.unknown import lost_parts
from simulator.history import HONEST, NO_MACHINE, Answer, Operation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.audit_lists import OwnerAudit
    from simulator.checkers.facts import Facts
    from simulator.history import History


class Heard(msgspec.Struct, frozen=True):
    """Heartbeats of one worker, or of all of an owner's, that took effect without an acceptance.

    `events` is how many are in the audit, `accepted` how many were accepted. Of the `refused` ones, and those whose
    answer was `lost`, the difference took effect; `machines` are those whose heartbeats they are.
    """

    who: str
    machines: tuple[int, ...]
    events: int
    accepted: int
    refused: int
    lost: int

    @property
    def effects(self) -> int:
        """How many took effect without an acceptance."""
        return self.events - self.accepted

    @property
    def refused_at_least(self) -> int:
        """How many of those that were refused did: a lost answer may have been an acceptance."""
        return min(self.refused, max(0, self.effects - self.lost))

    def __str__(self) -> str:
        silent = self.refused + self.lost
        shown = f"the audit shows {self.events} heartbeats of {self.who}, and {self.accepted} were accepted"
        if self.effects >= silent:
            return f"it took effect: {shown}"
        return f"{self.effects} of {silent} such took effect: {shown}"


def heard_unanswered(history: History, facts: Facts) -> dict[int, Heard]:
    """Return by machine who was heard without being told, as far as audit lists prove it.

    A list proves it where it was read whole and has lost no heartbeat; else the number of the stream's last event does,
    for all of its owner's workers together.
    """
    if not history.audit_readings or lost_parts(history) or (restarts_of(history) and not facts.durable):
        return {}
    *_, (history, facts) = each_life(history, facts)
    rows = history.rows()
    beats = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["machine"] != NO_MACHINE)]
    silent = beats[(beats["campaign"] == HONEST) & np.isin(beats["got"], UNSURE)]
    if not len(silent):
        return {}
    machines_of: dict[str, list[int]] = {}
    for number, machine in history.machines.items():
        machines_of.setdefault(machine.owner_id, []).append(number)
    owners = gather(history)
    is_chained = chained(owners.values())
    found: dict[int, Heard] = {}
    concerned = {
        record.owner_id
        for number in np.unique(silent["machine"]).tolist()
        if (record := history.machines.get(number)) is not None
    }
    counts = _Counts(beats)
    for owner_id in sorted(concerned & owners.keys()):
        owner = owners[owner_id]
        if _is_whole(owner, facts, is_chained=is_chained):
            events = Counter(one.object_id for one in owner.events or () if one.type == HEARTBEAT_EVENT)
            workers = [(number, history.machines[number].worker_id) for number in machines_of[owner_id]]
            several = [counts.heard(f"worker {one}", (number,), events[one]) for number, one in workers]
        else:
            several = [counts.heard(f"{owner_id}'s workers", tuple(machines_of[owner_id]), _numbered(owner))]
        for one in several:
            if one.effects > 0 and one.refused + one.lost:
                found.update(dict.fromkeys(one.machines, one))
    return found


class _Counts:
    """How many heartbeats of each machine were accepted, were refused as if nothing were known of them, and lost.

    What an attack sent in a machine's name counts as lost where it may have taken effect: that is judged elsewhere.
    """

    def __init__(self, beats: NDArray[Any]) -> None:
        machines = int(beats["machine"].max(initial=-1)) + 1
        honest, unsure = beats["campaign"] == HONEST, np.isin(beats["got"], UNSURE)
        lost = unsure & ((beats["got"] == Answer.LOST) | ~honest)
        self._of = [
            np.bincount(beats["machine"][which], minlength=machines)
            for which in (beats["got"] == Answer.ACCEPTED, unsure & ~lost, lost)
        ]

    def heard(self, who: str, machines: tuple[int, ...], events: int) -> Heard:
        """Return how machines were heard, of which the audit shows so many heartbeats."""
        known = [number for number in machines if number < len(self._of[0])]
        accepted, refused, lost = (int(count[known].sum()) for count in self._of)
        return Heard(who, machines, events, accepted, refused, lost)


def _is_whole(owner: OwnerAudit, facts: Facts, *, is_chained: bool) -> bool:
    """Return whether an owner's list was read whole, and still has every heartbeat that it ever had."""
    if owner.events is None or owner.refusals:
        return False
    return kept_from_the_first(owner, ROUTINE, chained=is_chained, events_max=facts.audit_events_per_stream)


def _numbered(owner: OwnerAudit) -> int:
    """Return how many heartbeats an owner's workers had accepted, by the number of the last one that was shown."""
    return max((look.heads[ROUTINE].sequence for look in owner.looks if ROUTINE in look.heads), default=0)
