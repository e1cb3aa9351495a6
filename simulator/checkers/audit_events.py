"""Whether each owner was shown the events that were due to it, and no others (contract §3)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from simulator.checkers.audit_dropped import Compared
from simulator.checkers.audit_expected import DENIALS, FAILURE_EVENT, TYPES, Count, Due, Expected, Key
from simulator.checkers.audit_lists import HEARTBEAT_EVENT, REFUSALS, ROUTINE, stream_of
from simulator.checkers.bounds import Range
from simulator.checkers.matching import unmatched
from simulator.checkers.verdict import Finding
from simulator.limits import AUDIT_MOVED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from simulator.checkers.audit_lists import OwnerAudit

    Counted = list[tuple[Key, int]]

NOTHING_DUE = Due({}, {})
ACCESS_DENIED = "owner_access_denied"
PUBLISHED_TYPES = frozenset({FAILURE_EVENT, "machine_certificate_issue_denied"})
"""The events that the published API promises; all others are the contract's."""


def compare_events(owner: OwnerAudit, expected: Expected, streams: Sequence[str]) -> Iterator[Compared]:
    """Compare a whole list with what was due. Only the streams named were kept from their first event on."""
    due_types = expected.of(owner.owner_id).types
    shown: dict[str, Counter[Key]] = {}
    for event in owner.events or ():
        reason = event.reason if event.type in REFUSALS else ""
        shown.setdefault(event.type, Counter())[Key(event.actor, event.object_id, reason)] += 1
    for kind in sorted(TYPES & {*due_types, *shown}):
        due, seen = due_types.get(kind, NOTHING_DUE), shown.get(kind, Counter())
        missing: Counted = []
        if stream_of(kind) in streams:
            missing = _missing(due, seen)
        extra = _without(_extra(due, seen), expected.spare.of(owner.owner_id, kind))
        yield Compared(kind, due, seen, missing, extra)


def check_events(
    owner: OwnerAudit, compared: Iterable[Compared], whose: Mapping[str, str], *, dropped: bool
) -> Iterator[Finding]:
    """Judge what a whole list has and lacks; where its oldest events were `dropped`, that is all that it lacks.

    `whose` gives the owner of each worker, to tell what belongs to somebody else.
    """
    if dropped:
        yield _dropped_finding(owner, list(compared))
    for one in compared:
        kind, due, missing, extra = one.kind, one.due, [] if dropped else list(one.missing), list(one.extra)
        moved = _moved(missing, extra)
        if moved:
            wrong, right, _ = moved[0]
            message = f"{kind} is shown {_words(wrong)}, and was due {_words(right)}"
            yield _finding(owner, kind, "misattributed", message, sum(one[2] for one in moved), right)
        if missing:
            key, count = missing[0]
            message = f"{kind} {_words(key)} is missing{_times(count)}"
            yield _finding(owner, kind, "missing", message, sum(count for _, count in missing), key)
        for rule, found in _by_rule(owner.owner_id, kind, extra, due, whose).items():
            key, count = found[0]
            message = f"{kind} {_words(key)} is shown{_times(count)}, though {_why(rule)}"
            yield _finding(owner, kind, rule, message, sum(count for _, count in found), key)


def _missing(due: Due, seen: Counter[Key]) -> Counted:
    """Count what had to be shown and was not, when everything that was shown is put where it fits best."""
    missing = [(key, count.low - seen[key]) for key, count in due.exact.items() if count.low > seen[key]]
    wanted = {key: count.low for key, count in due.open.items() if count.low}
    if wanted:
        free = {key: count - min(count, due.exact[key].low if key in due.exact else 0) for key, count in seen.items()}
        free = {key: count for key, count in free.items() if count}
        fits = [tuple(at for at, key in enumerate(free) if _fits(key, pattern)) for pattern in wanted]
        left = unmatched(list(wanted.values()), list(free.values()), fits)
        missing += [(key, count) for key, count in zip(wanted, left, strict=True) if count]
    return missing


def _extra(due: Due, seen: Counter[Key]) -> Counted:
    """Count what was shown and fits nothing that may have been due."""
    nothing = Count()
    over = {key: count - due.exact.get(key, nothing).high for key, count in seen.items()}
    over = {key: count for key, count in over.items() if count > 0}
    if over and due.open:
        fits = [tuple(at for at, pattern in enumerate(due.open) if _fits(key, pattern)) for key in over]
        left = unmatched(list(over.values()), [count.high for count in due.open.values()], fits)
        over = {key: count for key, count in zip(over, left, strict=True) if count}
    return list(over.items())


def _fits(key: Key, pattern: Key) -> bool:
    return (
        key.actor == pattern.actor
        and pattern.object_id in {"", key.object_id}
        and (not pattern.reason or pattern.reason == key.reason)
    )


def _without(extra: Counted, spare: int) -> Counted:
    """Leave out as many as nobody can be blamed for."""
    blamed = []
    for key, count in extra:
        forgiven = min(spare, count)
        spare -= forgiven
        if count > forgiven:
            blamed.append((key, count - forgiven))
    return blamed


def _moved(missing: Counted, extra: Counted) -> list[tuple[Key, Key, int]]:
    """Pair what is too many with what is missing, the most alike first, and take the pairs out of both."""
    pairs = []
    for alike in (2, 0):
        for at, (right, _) in enumerate(missing[:AUDIT_MOVED_MAX]):
            for other, (wrong, _) in enumerate(extra[:AUDIT_MOVED_MAX]):
                count = min(missing[at][1], extra[other][1])
                if count and sum(mine == its for mine, its in zip(right, wrong, strict=True)) >= alike:
                    pairs.append((wrong, right, count))
                    missing[at] = (right, missing[at][1] - count)
                    extra[other] = (wrong, extra[other][1] - count)
    missing[:] = [(key, count) for key, count in missing if count]
    extra[:] = [(key, count) for key, count in extra if count]
    return pairs


def _by_rule(owner_id: str, kind: str, extra: Counted, due: Due, whose: Mapping[str, str]) -> dict[str, Counted]:
    """Return for each event too many what is wrong with it. Denials alone show an owner what another one did."""
    rules: dict[str, Counted] = {}
    for key, count in extra:
        who, _, name = key.actor.partition(":")
        actor_owner_id = whose.get(name, owner_id) if who == "worker" else name
        if actor_owner_id != owner_id and kind not in DENIALS:
            rule = "foreign"
        elif key in due.exact and due.exact[key].high:
            rule = "duplicate"
        else:
            rule = "unexplained"
        rules.setdefault(rule, []).append((key, count))
    return rules


def _why(rule: str) -> str:
    return {
        "foreign": "it belongs to another owner",
        "duplicate": "less was done",
        "unexplained": "nothing that was done leaves it",
    }[rule]


def _times(count: int) -> str:
    return "" if count == 1 else f" {count} times"


def _words(key: Key) -> str:
    reason = f", reason {key.reason}" if key.reason else ""
    about = f" about {key.object_id}" if key.object_id and key.object_id != key.actor.partition(":")[2] else ""
    return f"by {key.actor}{about}{reason}"


def _finding(owner: OwnerAudit, kind: str, rule: str, message: str, count: int, key: Key) -> Finding:
    evidence: dict[str, Any] = {
        "owner": owner.owner_id,
        "type": kind,
        "events": count,
        "actor": key.actor,
        "object_id": key.object_id,
        "reason": key.reason,
        "read_from_ns": owner.sent_ns,
        "read_to_ns": owner.answered_ns,
    }
    return Finding(_rule(kind, rule), f"{owner.owner_id}: {message}", owner.sent_ns, evidence)


def _rule(kind: str, rule: str) -> str:
    """Return the rule's id: of the events that the published API promises, what is missing breaks one of its own."""
    promised = rule in {"missing", "unexplained"} and kind in PUBLISHED_TYPES
    return f"audit.{rule}-refusal" if promised else f"audit.{rule}"


def _dropped_finding(owner: OwnerAudit, compared: list[Compared]) -> Finding:
    lacking = {one.kind: sum(count for _, count in one.missing) for one in compared if one.missing}
    shown = sum(one.seen.total() for one in compared)
    kinds = ", ".join(f"{count} {kind}" for kind, count in lacking.items())
    message = (
        f"its list shows {shown} events and lacks the {sum(lacking.values())} oldest ({kinds}): they were dropped, "
        "though each of its streams keeps its own newest events, whatever others do"
    )
    evidence: dict[str, Any] = {
        "owner": owner.owner_id,
        "shown": shown,
        "dropped": lacking,
        "read_from_ns": owner.sent_ns,
        "read_to_ns": owner.answered_ns,
    }
    return Finding("audit.evicted", f"{owner.owner_id}: {message}", owner.sent_ns, evidence)


def check_totals(owner: OwnerAudit, expected: Expected, streams: Sequence[str], *, closed: bool) -> Iterator[Finding]:
    """Compare the number of a stream's last event, which is how many it ever had, with how many were due.

    `closed` says that a server has no events but the contract's, so that there can be too many.
    """
    totals = expected.of(owner.owner_id).totals
    look = owner.looks[-1]
    for stream in streams:
        head = look.heads.get(stream)
        had, due = 0 if head is None else head.sequence, totals[stream]
        most = due.high + (0 if stream == ROUTINE else expected.spare.in_all(owner.owner_id, stream))
        if due.low <= had <= most or (had > most and stream != ROUTINE and not closed):
            continue
        rule, what = ("missing", "too few") if had < due.low else ("unexplained", "too many")
        message = f"its {stream} stream has had {had} events, {what}: possible is {Range(due.low, most)}"
        evidence = {
            "owner": owner.owner_id,
            "stream": stream,
            "events": had,
            "low": due.low,
            "high": most,
            "looked_from_ns": look.sent_ns,
            "looked_to_ns": look.answered_ns,
        }
        yield Finding(f"audit.{rule}", f"{owner.owner_id}: {message}", look.sent_ns, evidence)


def check_policies(owner: OwnerAudit, policy_of: Mapping[str, str]) -> Iterator[Finding]:
    """See that accepted heartbeats name the policy that they came under, where it can only have been one."""
    wrong = []
    for event in owner.events or ():
        if event.type == HEARTBEAT_EVENT:
            metadata = event.raw.get("metadata")
            shown = metadata.get("policy_id") if isinstance(metadata, dict) else None
            if policy_of.get(event.object_id, shown) != shown:
                wrong.append((event, shown))
    if wrong:
        event, shown = wrong[0]
        right = policy_of[event.object_id]
        message = f"{HEARTBEAT_EVENT} names the policy {shown!r}, and not {right!r}{_times(len(wrong))}"
        key = Key(event.actor, event.object_id)
        yield _finding(owner, HEARTBEAT_EVENT, "metadata", message, len(wrong), key)


def check_deniers(owner: OwnerAudit) -> Iterator[Finding]:
    """See that denied actions name in their metadata the owner who tried, as their actor does."""
    wrong = []
    for event in owner.events or ():
        metadata = event.raw.get("metadata")
        shown = metadata.get("actor_owner_id") if isinstance(metadata, dict) else None
        if event.type == ACCESS_DENIED and event.actor != f"owner:{shown}":
            wrong.append((event, shown))
    if wrong:
        event, shown = wrong[0]
        message = f"{ACCESS_DENIED} by {event.actor} names {shown!r} as who tried{_times(len(wrong))}"
        yield _finding(owner, ACCESS_DENIED, "metadata", message, len(wrong), Key(event.actor, event.object_id))
