"""Whether audit events that are missing were dropped or never written, where a server shows no numbers that say it.

A server that keeps so many events, of one owner or over all of them, drops the oldest: all that is missing was done
before all that is shown. What was never written is missing among what is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from simulator.checkers.audit_expected import CREATING, FAILURE_EVENT, LASTING, Key
from simulator.checkers.audit_lists import HEARTBEAT_EVENT
from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.rows import NEVER_NS, History
from simulator.limits import AUDIT_KEPT_MIN

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping

    from simulator.checkers.audit_expected import Due


class Compared(msgspec.Struct):
    """One type of events of one owner: what was due, what was shown, what is missing, and what is too many."""

    kind: str
    due: Due
    seen: Counter[Key]
    missing: list[tuple[Key, int]]
    extra: list[tuple[Key, int]]


class _Span(msgspec.Struct):
    """Of one owner: the newest of what is missing was sent then, the oldest of what is shown was answered then."""

    missing_ns: int = -1
    shown_ns: int = NEVER_NS
    shown: int = 0


def dropped(history: History, compared: Mapping[str, Iterable[Compared]]) -> set[str]:
    """Return the owners of whose events only the oldest are missing, by owners' names; none where too few are shown."""
    spans = {owner_id: _span(history, owner_id, kinds) for owner_id, kinds in compared.items()}
    lacking = {owner_id: one for owner_id, one in spans.items() if one.missing_ns >= 0}
    newest_ns = max((one.missing_ns for one in lacking.values()), default=-1)
    in_all = sum(one.shown for one in spans.values())
    if in_all >= AUDIT_KEPT_MIN and newest_ns <= min(one.shown_ns for one in spans.values()):
        return set(lacking)
    return {
        owner_id for owner_id, one in lacking.items() if one.shown >= AUDIT_KEPT_MIN and one.missing_ns <= one.shown_ns
    }


def _span(history: History, owner_id: str, kinds: Iterable[Compared]) -> _Span:
    span = _Span()
    for one in kinds:
        span.shown += one.seen.total()
        for key, count in one.missing:
            sent_ns, _ = _moments(history, owner_id, one.kind, key)
            if not sent_ns:
                span.missing_ns = NEVER_NS  # nobody knows when it was done
            else:
                span.missing_ns = max(span.missing_ns, sent_ns[min(count, len(sent_ns)) - 1])
        for key, count in one.seen.items():
            _, answered_ns = _moments(history, owner_id, one.kind, key)
            if answered_ns:
                # Of what leaves one event, however often it is done, the first; of all else the newest are shown.
                at = 0 if one.kind in CREATING | LASTING else max(0, len(answered_ns) - count)
                span.shown_ns = min(span.shown_ns, answered_ns[at])
    return span


def _moments(history: History, owner_id: str, kind: str, key: Key) -> tuple[list[int], list[int]]:
    """Return when requests were sent that left such an event, and when they were answered, each in order."""
    if kind not in {HEARTBEAT_EVENT, FAILURE_EVENT}:
        mine = [
            one
            for one in history.effects
            if one.type == kind
            and owner_id in one.owners
            and one.actor == key.actor
            and (not one.object_id or key.object_id in {"", one.object_id})
            and (not one.reason or key.reason in {"", one.reason})
        ]
        return sorted(one.sent_ns for one in mine), sorted(one.answered_ns for one in mine)
    rows = history.rows()
    numbers = [number for number, record in history.machines.items() if record.worker_id == key.object_id]
    rows = rows[np.isin(rows["machine"], numbers)]
    if kind == HEARTBEAT_EVENT:
        rows = rows[(rows["operation"] == Operation.HEARTBEAT) & (rows["got"] == Answer.ACCEPTED)]
    else:
        rows = rows[np.isin(rows["got"], [answer for answer, reason in REASONS.items() if reason == key.reason])]
    return sorted(rows["sent_ns"].tolist()), sorted(rows["answered_ns"].tolist())
