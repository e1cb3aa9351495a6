"""What was seen of the audit lists: each owner's events in order, and the heads of its streams over the run.

Everything here was said by the server under test, so nothing is taken to be of the type it should be.
"""

from __future__ import annotations

from http import HTTPStatus
from operator import is_not
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from simulator.history.records import AuditReading
    from simulator.history.rows import History

OK = HTTPStatus.OK
ROUTINE, NOTABLE, REFUSED = STREAMS = ("routine", "notable", "refused")
"""The streams of the control plane, whose events are all due to what the history holds."""
MARKET = "market"
CHAINS = (*STREAMS, MARKET)
"""Every stream that has a chain."""
HEARTBEAT_EVENT = "worker_heartbeat"
REFUSALS = frozenset({"worker_auth_failed", "machine_certificate_issue_denied", "owner_access_denied"})
"""Events of requests that were refused: what others can cause. Their metadata says why."""
MARKET_EVENTS = frozenset(
    {
        "agent_registered",
        "agent_updated",
        "agent_key_rotated",
        "job_created",
        "job_assigned",
        "job_started",
        "job_finished",
        "job_requeued",
        "withdrawal_requested",
        "withdrawal_settled",
        "withdrawal_returned",
        "login_succeeded",
        "login_denied",
        "logout",
    }
)
"""What agents, jobs, payouts and logins leave behind (contract: Audit types added)."""
CHAIN_FIELDS = ("stream", "sequence", "previous_hash", "hash")


class Head(msgspec.Struct, frozen=True):
    """The end of a stream: the number of its last event, and that event's hash."""

    sequence: int
    hash: str


class Look(msgspec.Struct, frozen=True):
    """The heads of an owner's streams at one moment between two times. A stream without events has none."""

    sent_ns: int
    answered_ns: int
    heads: dict[str, Head]


class Shown(msgspec.Struct, frozen=True, gc=False):
    """One event as it was shown. What is missing or of another type is empty; `raw` has it as it came.

    `stream` is the one that its type belongs to (contract §3). `sequence` is -1 where there is none.
    """

    type: str
    stream: str
    actor: str
    object_id: str
    reason: str
    sequence: int
    raw: dict[str, Any]


def stream_of(kind: str) -> str:
    """Return the stream that events of a type belong to (contract §3)."""
    if kind == HEARTBEAT_EVENT:
        return ROUTINE
    if kind in MARKET_EVENTS:
        return MARKET
    return REFUSED if kind in REFUSALS else NOTABLE


class OwnerAudit(msgspec.Struct):
    """All that was seen of one owner's audit.

    `events` is the whole list, oldest first, read between two times; None when it was never read whole. `looks` are in
    the order of time. `refusals` are statuses other than 200 that a reading got.
    """

    owner_id: str
    looks: list[Look]
    refusals: list[int]
    events: list[Shown] | None = None
    sent_ns: int = 0
    answered_ns: int = 0
    total: int = 0
    heads: dict[str, Head] = {}
    """As the list's last page showed them."""
    steady: bool = True
    """Whether the heads stayed the same while the list was read, so that its pages are one."""


_gathered: WeakKeyDictionary[History, tuple[list[AuditReading], Mapping[str, OwnerAudit]]] = WeakKeyDictionary()


def gather(history: History) -> Mapping[str, OwnerAudit]:
    """Put the readings together by owner, in the order in which the owners came.

    Half a dozen checkers ask for that of the same history. Lists are unpacked for the first of them, and kept as long
    as the history is: nobody may change what they get. Other readings than those that it was made of are read anew.
    """
    readings, owners = _gathered.get(history, ([], {}))
    if len(readings) != len(history.audit_readings) or any(map(is_not, readings, history.audit_readings)):
        owners = _by_owner(history.audit_readings)
        _gathered[history] = list(history.audit_readings), owners
    return owners


def _by_owner(readings: Iterable[AuditReading]) -> dict[str, OwnerAudit]:
    owners: dict[str, OwnerAudit] = {}
    pages_of: dict[str, list[AuditReading]] = {}
    for reading in sorted(readings, key=lambda one: one.sent_ns):
        owner = owners.setdefault(reading.owner_id, OwnerAudit(reading.owner_id, [], []))
        if reading.status != OK or reading.total < 0:
            owner.refusals.append(reading.status)
            continue
        owner.looks.append(Look(reading.sent_ns, reading.answered_ns, _heads(reading.heads)))
        if not reading.type:
            if reading.offset == 0:
                pages_of[reading.owner_id] = []
            pages_of.setdefault(reading.owner_id, []).append(reading)
    for owner_id, pages in pages_of.items():
        _join(owners[owner_id], pages)
    return owners


def _join(owner: OwnerAudit, pages: list[AuditReading]) -> None:
    """Take the last pages that were read from the first event on as one list."""
    events: list[Shown] = []
    for page in pages:
        if page.offset != len(events):
            return  # one of them was not answered
        events += map(_shown, page.events)
    first, last = pages[0], pages[-1]
    owner.events = events
    owner.sent_ns, owner.answered_ns, owner.total = first.sent_ns, last.answered_ns, last.total
    owner.heads = _heads(last.heads)
    owner.steady = all(page.heads == first.heads and page.total == first.total for page in pages)


def _heads(heads: dict[str, Any]) -> dict[str, Head]:
    """Read the heads, leaving out what is none."""
    read = {}
    for stream, head in heads.items():
        if isinstance(head, dict):
            sequence, digest = _number(head.get("sequence")), head.get("hash")
            if sequence >= 0 and isinstance(digest, str):
                read[stream] = Head(sequence, digest)
    return read


def _shown(event: dict[str, Any]) -> Shown:
    metadata, kind = event.get("metadata"), _text(event.get("type"))
    return Shown(
        type=kind,
        stream=stream_of(kind),
        actor=_text(event.get("actor")),
        object_id=_text(event.get("object_id")),
        reason=_text(metadata.get("reason")) if isinstance(metadata, dict) else "",
        sequence=_number(event.get("sequence")),
        raw=event,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else -1


def chained(owners: Iterable[OwnerAudit]) -> bool:
    """Return whether a server shows anything of a chain at all; one of the published API v0.3 does not."""
    return any(
        any(look.heads for look in owner.looks) or any("hash" in event.raw for event in owner.events or ())
        for owner in owners
    )


def kept_from_the_first(owner: OwnerAudit, stream: str, *, chained: bool, events_max: int | None) -> bool:
    """Return whether a list still has every event that a stream ever had, as far as its server tells."""
    if not owner.steady:
        return False
    events = [event for event in owner.events or () if event.stream == stream]
    if not chained:
        return events_max is None or len(events) < events_max
    if events:
        return min(event.sequence for event in events) <= 1
    head = owner.heads.get(stream)
    return head is None or head.sequence == 0
