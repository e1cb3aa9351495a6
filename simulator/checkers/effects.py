"""What took effect though no answer said so: requests that were refused, or lost, and are in the audit all the same.

Each acceptance leaves exactly one event (contract §3). So a worker that has more of them than acceptances was heard
without being told, and an owner that has more of a kind of change has changed something without being told.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.checkers.audit_lists import HEARTBEAT_EVENT, NOTABLE, ROUTINE, chained, gather, kept_from_the_first
from simulator.checkers.incarnations import each_incarnation, restarts_of
from simulator.checkers.judging import UNSURE
from simulator.checkers.unknown import lost_parts
from simulator.contract.answers import Answer, Operation
from simulator.fleet.requests import EVENT_OF
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from simulator.checkers.audit_lists import OwnerAudit
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History


OPERATIONS = {event: operation for operation, event in EVENT_OF.items()}
"""The change that leaves each event."""


class Heard(msgspec.Struct, frozen=True):
    """Heartbeats of one worker, or of all of an owner's, that took effect without an acceptance; or an owner's changes.

    `events` is how many are in the audit, `accepted` how many were accepted. Of the `refused` ones, and those whose
    answer was `lost`, the difference took effect; `machines` are those whose heartbeats they are. `what` is the type of
    the events of changes, of which perhaps none took effect.
    """

    who: str
    machines: tuple[int, ...]
    events: int
    accepted: int
    refused: int
    lost: int
    what: str = ""

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
        what = f"events {self.what}" if self.what else "heartbeats"
        shown = f"the audit shows {self.events} {what} of {self.who}, and {self.accepted} were accepted"
        if self.effects <= 0:
            return f"it took no effect: {shown}"
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
    *_, (history, facts) = each_incarnation(history, facts)
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
        if _is_whole(owner, facts, ROUTINE, is_chained=is_chained):
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


def done_unanswered(history: History, facts: Facts) -> dict[tuple[Operation, int], Heard]:
    """Return which owners' changes without an acceptance took effect, or did not, as far as audit lists prove it.

    By operation and moment of sending. A list proves it that was read whole and has lost no change; of several such
    changes of one kind it only shows how many of them did.
    """
    if not history.audit_readings or lost_parts(history) or (restarts_of(history) and not facts.durable):
        return {}
    open_effects = [one for one in history.effects if not one.sure and one.type in OPERATIONS]
    if not open_effects:
        return {}
    owners = gather(history)
    is_chained = chained(owners.values())
    sure = Counter((one.type, one.actor) for one in history.effects if one.sure)
    known: dict[tuple[str, str], Heard] = {}
    found = {}
    for one in open_effects:
        key = one.type, one.actor
        owner = owners.get(one.owners[0]) if one.owners else None
        if owner is None or not _is_whole(owner, facts, NOTABLE, is_chained=is_chained):
            continue
        if key not in known:
            events = sum(event.type == one.type and event.actor == one.actor for event in owner.events or ())
            same = [other for other in open_effects if (other.type, other.actor) == key]
            lost = sum(other.answered_ns == NEVER_NS for other in same)
            known[key] = Heard(owner.owner_id, (), events, sure[key], len(same) - lost, lost, one.type)
        found[OPERATIONS[one.type], one.sent_ns] = known[key]
    return found


def _is_whole(owner: OwnerAudit, facts: Facts, stream: str, *, is_chained: bool) -> bool:
    """Return whether an owner's list was read whole, and still has every event of a stream that it ever had."""
    if owner.events is None or owner.refusals:
        return False
    return kept_from_the_first(owner, stream, chained=is_chained, events_max=facts.audit_events_per_stream)


def _numbered(owner: OwnerAudit) -> int:
    """Return how many heartbeats an owner's workers had accepted, by the number of the last one that was shown."""
    return max((look.heads[ROUTINE].sequence for look in owner.looks if ROUTINE in look.heads), default=0)
