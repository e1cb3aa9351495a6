"""Whether audit streams are what they were: gapless chains that end in their heads, and of which nothing was lost."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.timestamps import parse_timestamp
from simulator.checkers.audit_lists import CHAIN_FIELDS, CHAINS, STREAMS
from simulator.checkers.verdict import Finding
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from simulator.checkers.audit_lists import Look, OwnerAudit, Shown

REQUIRED = ("id", "type", "actor", "object_id", "created_at")
"""What each event shows as a text, beside `metadata` (contract §3)."""


def event_hash(event: dict[str, Any]) -> str:
    """Compute a shown event's hash: SHA-256 over its canonical JSON without `hash` (contract §3). Empty if it has none.

    A number past any double has no canonical form.
    """
    try:
        return sha256(canonical_json({key: event[key] for key in event if key != "hash"}).encode()).hexdigest()
    except OverflowError:
        return ""


def check_list(owner: OwnerAudit) -> Iterator[Finding]:
    """Judge a whole list by itself: its shape, its order, its length, and that no event is in it twice."""
    events = owner.events or []
    for number, event in enumerate(events):
        missing = [name for name in REQUIRED if not isinstance(event.raw.get(name), str)]
        if missing or not isinstance(event.raw.get("metadata"), dict):
            missing = missing or ["metadata"]
            yield _finding(owner, "shape", f"event {number} of its list has no {', '.join(missing)}", event)
            break
    if owner.steady and owner.total != len(events):
        yield _finding(owner, "total", f"its list said {plural(owner.total, 'event')} and showed {len(events)}")
    twice = [identifier for identifier, count in Counter(_id(event) for event in events).items() if count > 1]
    if owner.steady and twice:
        yield _finding(owner, "duplicate", f"{len(twice)} events are in its list more than once, as {twice[0]!r}")


def check_chain(owner: OwnerAudit, events_max: int | None, bounded: Collection[str] = STREAMS) -> Iterator[Finding]:
    """Judge the chains of a whole list: numbers, links, hashes, the head, and what was evicted.

    `events_max` is how many of its newest events each of the streams `bounded` must keep, None when that is not known.
    Each kind of break is told once for each stream, with how often it occurs.
    """
    events = owner.events or []
    for event in events:
        lacks = [name for name in CHAIN_FIELDS if name not in event.raw]
        if lacks:
            yield _finding(owner, "chain", f"event {_id(event)} has no {', '.join(lacks)}", event)
            return
    for stream in CHAINS:
        mine = [event for event in events if event.stream == stream]
        yield from _check_links(owner, stream, mine)
        if owner.steady:
            yield from _check_ends(owner, stream, mine, events_max if stream in bounded else None)
    yield from _check_merge(owner, events)


def _check_links(owner: OwnerAudit, stream: str, events: list[Shown]) -> Iterator[Finding]:
    breaks: dict[str, list[tuple[str, Shown]]] = {"order": [], "chain": [], "hash": []}
    for event in events:
        if event.raw.get("stream") != stream:
            breaks["chain"].append((f"is of type {event.type} and in stream {event.raw.get('stream')!r}", event))
        if event.raw.get("hash") != event_hash(event.raw):
            breaks["hash"].append(("does not have the hash that it shows", event))
    for before, event in pairwise(events):
        if event.sequence <= before.sequence:
            breaks["order"].append((f"has number {event.sequence} and comes after {before.sequence}", event))
        elif event.sequence > before.sequence + 1:
            if owner.steady:  # else the list may have moved on between two pages
                breaks["chain"].append((f"has number {event.sequence} and follows {before.sequence}", event))
        elif event.raw.get("previous_hash") != before.raw.get("hash"):
            breaks["chain"].append(("does not hold the hash of the event before it", event))
    for rule, found in breaks.items():
        if found:
            what, event = found[0]
            more = f" ({len(found)} such events)" if len(found) > 1 else ""
            yield _finding(owner, rule, f"in its {stream} stream event {_id(event)} {what}{more}", event)


def _check_ends(owner: OwnerAudit, stream: str, events: list[Shown], events_max: int | None) -> Iterator[Finding]:
    head = owner.heads.get(stream)
    if head is None:
        if events:
            yield _finding(owner, "head", f"its {stream} stream has {plural(len(events), 'event')} and no head")
        return
    last = max(events, key=_number, default=None)
    if last is not None and (last.sequence, last.raw.get("hash")) != (head.sequence, head.hash):
        yield _finding(owner, "head", f"its {stream} stream ends with event {last.sequence}, its head is another", last)
    oldest = min(map(_number, events), default=head.sequence + 1)
    if events_max is not None and oldest > max(1, head.sequence - events_max + 1):
        message = (
            f"its {stream} stream has had {head.sequence} events and keeps none before {oldest}, "
            f"though the newest {events_max} must be kept"
        )
        yield _finding(owner, "evicted", message)


def _check_merge(owner: OwnerAudit, events: list[Shown]) -> Iterator[Finding]:
    """See that the streams are merged by time. Where a stream's own times go back, a clock did: nothing is judged."""
    times = [parse_timestamp(str(event.raw.get("created_at"))) for event in events]
    latest: dict[str, int] = {}
    newest_ns = 0
    mixed = None
    for event, moment_ns in zip(events, times, strict=True):
        if moment_ns is None or moment_ns < latest.get(event.stream, 0):
            return
        latest[event.stream] = moment_ns
        if moment_ns < newest_ns and mixed is None:
            mixed = event
        newest_ns = max(newest_ns, moment_ns)
    if mixed is not None:
        yield _finding(owner, "order", f"its list is not merged by time: event {_id(mixed)} comes too late", mixed)


def check_looks(owner: OwnerAudit) -> Iterator[Finding]:
    """Judge a stream's heads over time: they only go forward, and what they named is still there as it was."""
    for before, after in pairwise(owner.looks):
        if before.answered_ns > after.sent_ns:
            continue
        for stream, head in before.heads.items():
            now = after.heads.get(stream)
            if now is None or now.sequence < head.sequence:
                shown = "gone" if now is None else f"at {now.sequence}"
                yield _looked(owner, "head", f"its {stream} stream was at {head.sequence} and later {shown}", before)
            elif now.sequence == head.sequence and now.hash != head.hash:
                yield _looked(owner, "rewritten", f"event {head.sequence} of its {stream} stream was changed", before)
    if owner.events is None:
        return
    kept = {(event.stream, event.sequence - 1): event.raw.get("previous_hash") for event in owner.events}
    kept |= {(event.stream, event.sequence): event.raw.get("hash") for event in owner.events}
    for look in owner.looks:
        if look.sent_ns >= owner.sent_ns:
            return
        for stream, head in look.heads.items():
            if kept.get((stream, head.sequence), head.hash) != head.hash:
                message = f"event {head.sequence} of its {stream} stream is not the one that was its head before"
                yield _looked(owner, "rewritten", message, look)
                return


def _number(event: Shown) -> int:
    return event.sequence


def _id(event: Shown) -> str:
    return str(event.raw.get("id"))


def _looked(owner: OwnerAudit, rule: str, message: str, look: Look) -> Finding:
    evidence = {"owner": owner.owner_id, "looked_from_ns": look.sent_ns, "looked_to_ns": look.answered_ns}
    return Finding(f"audit.{rule}", f"{owner.owner_id}: {message}", look.sent_ns, evidence)


def _finding(owner: OwnerAudit, rule: str, message: str, event: Shown | None = None) -> Finding:
    evidence: dict[str, Any] = {
        "owner": owner.owner_id,
        "read_from_ns": owner.sent_ns,
        "read_to_ns": owner.answered_ns,
        **({} if event is None else {"event": event.raw}),
    }
    return Finding(f"audit.{rule}", f"{owner.owner_id}: {message}", owner.sent_ns, evidence)
