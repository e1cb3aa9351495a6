"""Which audit events a run had to leave behind, and which it may have left, by owner and type (contract §3).

What machines asked for is in the history's rows, what owners asked for in its effects. Both have two-ended times: when
the lists were read, an answered request had surely left its event, a lost one perhaps.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from simulator.checkers.audit_lists import HEARTBEAT_EVENT, REFUSALS, REFUSED, ROUTINE, STREAMS, stream_of
from simulator.checkers.bounds import UNBOUNDED, may_fail_as, perhaps_replaced
from simulator.checkers.forgotten import perhaps_forgotten
from simulator.checkers.judging import UNSURE, judge_answers
from simulator.checkers.unknown import lost_parts, perhaps_sent, unknown_from_ns
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.fleet.requests import EVENT_OF
from simulator.history.rows import NEVER_NS, NO_MACHINE, History

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import Effect

FAILURE_EVENT = "worker_auth_failed"
DENIALS = ("owner_access_denied", "machine_certificate_issue_denied")
CREATING = frozenset({"machine_registered", "policy_created"})
"""Each request that succeeds makes another object, so each leaves an event."""
LASTING = frozenset({"policy_activated", "consent_created", "consent_revoked"})
"""Done again to the same object they change nothing, so at least one request in all leaves an event."""
AUDITED_AGAIN = frozenset({"policy_activated", "consent_created"})
"""Of those, the ones that a server may audit again: the contract says only of revokes that repeating is nothing."""
TYPES = frozenset({HEARTBEAT_EVENT, "machine_certificate_issued"}) | REFUSALS | CREATING | LASTING
"""The audit types of contract §3."""


class Key(NamedTuple):
    """What tells events of one type and owner apart. `reason` is empty for types that have none."""

    actor: str
    object_id: str
    reason: str = ""


class Count(msgspec.Struct, gc=False):
    """How many events there must be at least, and may be at most."""

    low: int = 0
    high: int = 0

    def add(self, low: int, high: int) -> None:
        """Add to both bounds."""
        self.low += low
        self.high += high


class Due(msgspec.Struct):
    """The events of one type that an owner must and may see. In `open` an empty object or reason fits any."""

    exact: dict[Key, Count]
    open: dict[Key, Count]


class OwnerDue(msgspec.Struct):
    """What an owner must and may see: by type, and in all by stream."""

    types: dict[str, Due]
    totals: dict[str, Count]

    def of(self, kind: str) -> Due:
        """Return what is due of a type."""
        due = self.types.get(kind)
        if due is None:
            due = self.types[kind] = Due({}, {})
        return due


class Spare(msgspec.Struct):
    """Events that the history cannot explain but that no correct server is to blame for.

    Requests that were cut off before they could be noted, by owner and type, with no owner where it is not known;
    denials, where the contract does not say which refusals are audited; and any, after wrong answers, which are judged
    elsewhere, and after a process was lost with what it had sent.
    """

    changes: Counter[tuple[str, str]]
    denials: int = 0
    any: int = 0

    def of(self, owner_id: str, kind: str) -> int:
        """Return how many events of a type an owner may be shown for nothing."""
        changes = self.changes[owner_id, kind] + self.changes["", kind]
        return changes + self.any + (self.denials if kind in DENIALS else 0)

    def in_all(self, owner_id: str, stream: str) -> int:
        """Return how many events of a stream, not the heartbeats', an owner may be shown for nothing."""
        if stream == REFUSED:
            return self.denials + self.any
        return self.any + sum(count for (whose, _), count in self.changes.items() if whose in {owner_id, ""})


class Expected(msgspec.Struct):
    """What all owners must and may see."""

    owners: dict[str, OwnerDue]
    spare: Spare

    def of(self, owner_id: str) -> OwnerDue:
        """Return what one owner must and may see."""
        return self.owners[owner_id]


def expect(history: History, facts: Facts, owner_ids: Iterable[str], settled_ns: int, until_ns: int) -> Expected:
    """Work out what must and may be in the lists of some owners that were read between two moments.

    What was answered before the first has surely left its event; what was sent after the second, none.
    """
    owners = {owner_id: OwnerDue({}, {stream: Count() for stream in STREAMS}) for owner_id in owner_ids}
    rows = history.rows()
    rows = rows[rows["sent_ns"] <= until_ns]
    by_machine = (rows["operation"] == Operation.HEARTBEAT) | (rows["operation"] == Operation.POLICY_FETCH)
    named = rows[by_machine & (rows["machine"] != NO_MACHINE)]
    late = named["answered_ns"] >= settled_ns
    _add_heartbeats(history, owners, named, late | perhaps_forgotten(history, named, facts))
    _add_failures(history, owners, named, late, perhaps_replaced(named, np.concatenate([rows, perhaps_sent(history)])))
    spare = _spare(history, rows[~by_machine])
    effects: dict[tuple[str, str], list[tuple[Effect, bool]]] = defaultdict(list)
    made = _made(history, spare)
    for one in history.effects:
        if one.sent_ns <= until_ns:
            for owner_id in one.owners:
                perhaps, surely = made[owner_id].seen_by(one)
                if owner_id in owners and perhaps:
                    sure = surely and one.sure and one.answered_ns < settled_ns
                    effects[owner_id, one.type].append((one, sure))
    for (owner_id, kind), done in effects.items():
        _add_effects(owners[owner_id], kind, done)
    if unknown_from_ns(history) <= until_ns:
        spare.any += UNBOUNDED
        for owner in owners.values():
            owner.totals[ROUTINE].high += UNBOUNDED
    return Expected(owners, spare)


class _Made(msgspec.Struct):
    """When an owner came to be, at the earliest and at the latest. Nobody is one before something was granted to it."""

    first_ns: int = NEVER_NS
    last_ns: int = NEVER_NS

    def seen_by(self, one: Effect) -> tuple[bool, bool]:
        """Return whether what a request leaves may have been left with this owner, and whether it surely was."""
        if one.type not in REFUSALS:
            return True, True
        return self.first_ns != NEVER_NS and one.answered_ns >= self.first_ns, one.sent_ns > self.last_ns


def _made(history: History, spare: Spare) -> dict[str, _Made]:
    """Return since when each owner is one. What is refused to others leaves events with the owners that it concerns."""
    made: dict[str, _Made] = defaultdict(_Made)
    for one in history.effects:
        if one.type in CREATING:
            for owner_id in one.owners:
                owner = made[owner_id]
                owner.first_ns = min(owner.first_ns, one.sent_ns)
                if one.sure:
                    owner.last_ns = min(owner.last_ns, one.answered_ns)
    unnoted = {owner_id for (owner_id, kind), count in spare.changes.items() if kind in CREATING and count}
    for owner_id in {one for effect in history.effects for one in effect.owners}:
        if unnoted & {owner_id, ""}:
            made[owner_id].first_ns = 0
    return made


def _by_machine(rows: NDArray[Any], machines: int) -> NDArray[np.int64]:
    return np.bincount(rows["machine"], minlength=machines)


def _add(
    history: History, owners: dict[str, OwnerDue], kind: str, reason: str, low: NDArray[Any], high: NDArray[Any]
) -> None:
    """Add events of a type to what is due, for machines by their numbers."""
    for number in np.flatnonzero(high).tolist():
        record = history.machines.get(number)
        if record is not None and record.owner_id in owners:
            key = Key(f"worker:{record.worker_id}", record.worker_id, reason)
            due = owners[record.owner_id].of(kind).exact
            if key not in due:
                due[key] = Count()
            due[key].add(int(low[number]), int(high[number]))


def _add_total(
    history: History, owners: dict[str, OwnerDue], stream: str, low: NDArray[Any], more: NDArray[Any]
) -> None:
    for number in np.flatnonzero(low + more).tolist():
        record = history.machines.get(number)
        if record is not None and record.owner_id in owners:
            owners[record.owner_id].totals[stream].add(int(low[number]), int(low[number] + more[number]))


def _add_heartbeats(history: History, owners: dict[str, OwnerDue], rows: NDArray[Any], late: NDArray[np.bool_]) -> None:
    """Each accepted heartbeat leaves one event; one that must not have been accepted is judged elsewhere."""
    machines = int(rows["machine"].max(initial=-1)) + 1
    heartbeat = rows["operation"] == Operation.HEARTBEAT
    accepted = heartbeat & (rows["got"] == Answer.ACCEPTED)
    _, allowed = judge_answers(rows)
    surely = accepted & allowed & ~late
    perhaps = (accepted & ~surely) | (heartbeat & np.isin(rows["got"], UNSURE))
    low, more = _by_machine(rows[surely], machines), _by_machine(rows[perhaps], machines)
    _add(history, owners, HEARTBEAT_EVENT, "", low, low + more)
    _add_total(history, owners, ROUTINE, low, more)


def _add_failures(
    history: History,
    owners: dict[str, OwnerDue],
    rows: NDArray[Any],
    late: NDArray[np.bool_],
    replaced: NDArray[np.bool_],
) -> None:
    """Each refusal that counts as an auth failure leaves one event with its reason."""
    machines = int(rows["machine"].max(initial=-1)) + 1
    failed, unsure = np.isin(rows["got"], list(REASONS)), np.isin(rows["got"], UNSURE)
    surely = rows[failed & ~late & ~replaced]
    for answer, reason in REASONS.items():
        perhaps = (unsure & may_fail_as(rows, answer)) | (failed & (late | replaced) & (rows["got"] == answer))
        if answer in {Answer.INVALID_CERTIFICATE, Answer.POLICY_INVALID_CERTIFICATE}:
            perhaps |= replaced
        low = _by_machine(surely[surely["got"] == answer], machines)
        _add(history, owners, FAILURE_EVENT, reason, low, low + _by_machine(rows[perhaps], machines))
    more = rows[unsure | (failed & (late | replaced))]
    _add_total(history, owners, REFUSED, _by_machine(surely, machines), _by_machine(more, machines))


def _add_effects(owner: OwnerDue, kind: str, done: list[tuple[Effect, bool]]) -> None:
    """Add the events of an owner's requests of one type to what is due."""
    due = owner.of(kind)
    total = owner.totals[stream_of(kind)]
    before = _sum(due)
    for one, sure in done:
        key = Key(one.actor, one.object_id, one.reason)
        is_open = not one.object_id or (kind in REFUSALS and not one.reason)
        table = due.open if is_open else due.exact
        if key not in table:
            table[key] = Count()
        count = table[key]
        count.add(int(sure), 1)
        if kind in CREATING | LASTING and not is_open:
            count.low = min(1, count.low)
            count.high = 1 if kind not in AUDITED_AGAIN else count.high
    if kind in LASTING:
        for key, count in due.open.items():
            # Which object it was is not known: perhaps one whose event is due already.
            done_to_known = any(exact.low and at.actor == key.actor for at, exact in due.exact.items())
            count.low = 0 if done_to_known else min(1, count.low)
    after = _sum(due)
    total.add(after.low - before.low, after.high - before.high)


def _sum(due: Due) -> Count:
    counts = (*due.exact.values(), *due.open.values())
    return Count(sum(count.low for count in counts), sum(count.high for count in counts))


def _spare(history: History, rows: NDArray[Any]) -> Spare:
    """Count the events that other requests than machines' may have left without a note."""
    noted = np.isin(rows["sent_ns"], np.array([one.sent_ns for one in history.effects], dtype=np.int64))
    judged, allowed = judge_answers(rows)
    got = rows["got"]
    unsure = np.isin(got, [Answer.LOST, Answer.UNAVAILABLE, Answer.FAILED])
    changes: Counter[tuple[str, str]] = Counter()
    unnoted = rows[~noted & (unsure | (got == Answer.ACCEPTED))]
    for operation, kind in EVENT_OF.items():
        for number in unnoted["machine"][unnoted["operation"] == operation].tolist():
            record = history.machines.get(number)
            changes["" if record is None else record.owner_id, kind] += 1
    refused = (rows["status"] >= 400) & (got != Answer.RATE_LIMITED)  # noqa: PLR2004 - where refusals begin
    # A request whose answer was lost may have come too late to be granted, and have been denied.
    denials = int((unsure | (refused & ~noted)).sum())
    return Spare(changes, denials, int((judged & ~allowed).sum()))


def single_policies(history: History) -> dict[str, str]:
    """Return the policy of each worker that can only ever have been under one; heartbeats must be audited with it.

    Where an owner may have given consents that the history does not name, none of its workers is sure. Nor is anybody's
    where a lost process may have given some.
    """
    if lost_parts(history):
        return {}
    known = {one.consent_id for one in history.consents}
    unsure = {
        owner_id
        for effect in history.effects
        if effect.type == "consent_created" and effect.object_id not in known
        for owner_id in effect.owners
    }
    policies: dict[str, set[str]] = defaultdict(set)
    for consent in history.consents:
        record = history.machines.get(consent.machine)
        if record is not None and record.owner_id not in unsure:
            policies[record.worker_id].add(consent.policy_id)
    return {
        worker_id: next(iter(found)) for worker_id, found in policies.items() if len(found) == 1 and "" not in found
    }
