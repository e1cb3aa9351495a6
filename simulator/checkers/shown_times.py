"""Whether times that answers show are when it was done: between the sending and the answer, by the server's clock."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.checkers.audit_expected import FAILURE_EVENT
from simulator.checkers.audit_lists import HEARTBEAT_EVENT, gather
from simulator.checkers.bounds import faulty_clocks_ns
from simulator.checkers.clock import AGREEMENT_NS
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, History

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts

NEW = frozenset({"machine.created_at", "policy.created_at", "certificate.issued_at"})
"""Times of what the request itself brought about; other times may be of an earlier one, within the run."""
TIMES = NEW | {"consent.effective_at", "fetched.effective_at", "consent.revoked_at"}
_FRACTION = re.compile(r"\.([0-9]{1,9})")


class ServerClock(msgspec.Struct, frozen=True):
    """What the server's wall clock shows beyond the run's time: a lower and an upper bound, in nanoseconds."""

    low_ns: int
    high_ns: int

    def between(self, shown: str) -> tuple[int, int] | None:
        """Return the first and the last moment of the run at which it may have shown a time; None for no time.

        What is shown is cut off after its last digit.
        """
        shown_ns = parse_timestamp(shown)
        if shown_ns is None:
            return None
        fraction = _FRACTION.search(shown)
        cut_ns = SECOND_NS // 10 ** (len(fraction[1]) if fraction else 0)
        return shown_ns - self.high_ns, shown_ns + cut_ns - self.low_ns


def server_clock(history: History, facts: Facts) -> ServerClock | None:
    """Return the bounds of the server's clock over the whole run; None where it, or this machine's, is not known."""
    offsets = [(one.unix_ns - one.answered_ns, one.unix_ns - one.sent_ns) for one in history.wall_readings]
    if not offsets:
        return None
    low_ns, high_ns = min(low for low, _ in offsets), max(high for _, high in offsets)
    if facts.clock is not None:
        if facts.clock.before is None:
            return None
        known = [bounds for bounds in (facts.clock.before, facts.clock.after) if bounds is not None]
        low_ns += min(low for low, _ in known)
        high_ns += max(high for _, high in known)
    faulty_low_ns, faulty_high_ns = faulty_clocks_ns(history)
    return ServerClock(low_ns + faulty_low_ns - AGREEMENT_NS, high_ns + faulty_high_ns + AGREEMENT_NS)


def check_shown_times(history: History, clock: ServerClock) -> Iterator[Finding]:
    """Find times in answers to requests that were not when the request was done."""
    times = [one for one in history.shown if one.field in TIMES]
    began_ns = min((one.sent_ns for one in times), default=0)
    wrong: dict[str, list[Finding]] = defaultdict(list)
    for one in times:
        moments = clock.between(one.value)
        from_ns = one.sent_ns if one.field in NEW else began_ns
        if moments is None or (moments[1] >= from_ns and moments[0] <= one.answered_ns):
            continue
        off = _off(moments, from_ns, one.answered_ns)
        span = f"{_seconds(from_ns)} and {_seconds(one.answered_ns)}"
        message = f"{one.field} of {one.subject} was shown as {one.value}, {off} what was done between {span}"
        evidence = {"sent_ns": one.sent_ns, "answered_ns": one.answered_ns, "shown": one.value, "subject": one.subject}
        evidence |= {"campaign": one.campaign} if one.campaign else {}
        wrong[one.field].append(Finding("contents.times", message, one.sent_ns, evidence))
    for found in wrong.values():
        yield _counted(found)


def check_event_times(history: History, clock: ServerClock) -> Iterator[Finding]:
    """Find audit events that are stamped with another time than any request that can have left them."""
    if lost_parts(history):
        return
    done = _done(history)
    wrong: dict[str, list[Finding]] = defaultdict(list)
    for owner in gather(history).values():
        for event in owner.events or ():
            shown = event.raw.get("created_at")
            moments = clock.between(shown) if isinstance(shown, str) else None
            spans = done.get((event.type, event.actor))
            if moments is None or (spans is not None and spans.meet(*moments)):
                continue
            if spans is None and moments[0] <= owner.answered_ns:
                continue  # what explains it is judged elsewhere
            message = (
                f"{owner.owner_id}: {event.type} by {event.actor} is stamped {shown}, when nothing was done for it"
            )
            if moments[0] > owner.answered_ns:
                message += f", {_length(moments[0] - owner.answered_ns)} after the list was read"
            evidence = {
                "owner": owner.owner_id,
                "event": event.raw,
                "read_from_ns": owner.sent_ns,
                "read_to_ns": owner.answered_ns,
            }
            wrong[event.type].append(Finding("contents.event-times", message, owner.sent_ns, evidence))
    for found in wrong.values():
        yield _counted(found)


class Spans:
    """Spans of time in which something of one kind was done."""

    def __init__(self, sent_ns: NDArray[np.int64], answered_ns: NDArray[np.int64]) -> None:
        self._sent_ns = np.sort(sent_ns)
        self._answered_ns = np.sort(answered_ns)

    def meet(self, from_ns: int, to_ns: int) -> bool:
        """Return whether any of them has a moment in common with another span."""
        return bool(self._sent_ns.searchsorted(to_ns, "right") > self._answered_ns.searchsorted(from_ns, "left"))


def _done(history: History) -> dict[tuple[str, str], Spans]:
    """Return when events of each type may have been left by each actor."""
    spans: dict[tuple[str, str], Spans] = {}
    rows = history.rows()
    rows = rows[
        np.isin(rows["operation"], [Operation.HEARTBEAT, Operation.POLICY_FETCH]) & (rows["machine"] != NO_MACHINE)
    ]
    rows = rows[np.argsort(rows["machine"], kind="stable")]
    # What was not answered as it should be may have been done at any time after.
    sure = (rows["got"] == Answer.ACCEPTED) | ((rows["status"] >= 400) & (rows["status"] < 500))  # noqa: PLR2004 - refusals
    answered = np.where(sure, rows["answered_ns"], NEVER_NS)
    accepted = (rows["operation"] == Operation.HEARTBEAT) & ((rows["got"] == Answer.ACCEPTED) | ~sure)
    numbers = np.array([*history.machines], dtype=np.int64)
    machines = rows["machine"].astype(np.int64)
    places = zip(np.searchsorted(machines, numbers), np.searchsorted(machines, numbers + 1), strict=True)
    for record, (first, last) in zip(history.machines.values(), places, strict=True):
        part, done = rows[first:last], accepted[first:last]
        actor = f"worker:{record.worker_id}"
        if done.any():
            spans[HEARTBEAT_EVENT, actor] = Spans(part["sent_ns"][done], answered[first:last][done])
        if len(part):
            spans[FAILURE_EVENT, actor] = Spans(part["sent_ns"], answered[first:last])
    effects: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for one in history.effects:
        effects[one.type, one.actor].append((one.sent_ns, one.answered_ns if one.sure else NEVER_NS))
    for key, ends in effects.items():
        both: Any = np.array(ends, dtype=np.int64)
        spans[key] = Spans(both[:, 0], both[:, 1])
    return spans


def _counted(found: list[Finding]) -> Finding:
    """Return the first finding, with how many there are."""
    first = found[0]
    if len(found) == 1:
        return first
    return msgspec.structs.replace(
        first, message=f"{first.message} ({len(found):,} such times)", evidence={**first.evidence, "count": len(found)}
    )


def _off(moments: tuple[int, int], from_ns: int, to_ns: int) -> str:
    if moments[0] > to_ns:
        return f"{_length(moments[0] - to_ns)} or more after"
    return f"{_length(from_ns - moments[1])} or more before"


def _length(length_ns: int) -> str:
    return f"{length_ns / SECOND_NS:.0f} s"


def _seconds(moment_ns: int) -> str:
    return f"{moment_ns / SECOND_NS:.3f}s"
