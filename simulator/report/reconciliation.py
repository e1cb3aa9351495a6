"""What the server counted against what was sent: its metrics at the end, and its audit lists over the run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from simulator.checkers.audit_expected import DENIALS, expect
from simulator.checkers.audit_lists import NOTABLE, REFUSED, ROUTINE, chained, gather, kept_from_the_first, stream_of
from simulator.contract.metrics import BY_REASON, FAILURES, RECENT, STALE, UNKNOWN, WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from simulator.checkers.bounds import Range, ScrapeBounds
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History


_BEFORE_REASON, _, _AFTER_REASON = BY_REASON.format("\0").partition("\0")


class MetricLine(msgspec.Struct, frozen=True):
    """One figure of the metrics page: as last shown, what it could be then, and at how many scrapes it was wrong."""

    name: str
    shown: float | None
    low: int
    high: int
    wrong: int
    scrapes: int

    @property
    def short(self) -> str:
        """Return its name without what all of them share."""
        if self.name.startswith(_BEFORE_REASON):
            return f"auth failures: {self.name.removeprefix(_BEFORE_REASON).removesuffix(_AFTER_REASON)}"
        return self.name.removeprefix("hatchfarm_")

    @property
    def idle(self) -> bool:
        """Return whether there is nothing to see: zero, as it had to be, and never wrong."""
        return not (self.wrong or self.shown or self.low or self.high)


class AuditLine(msgspec.Struct, frozen=True):
    """One type of audit event: how many there must and may be, and how many the lists of so many owners showed.

    Of further owners `cut` the list begins later: their server keeps so many events only.
    """

    type: str
    low: int
    high: int
    shown: int
    owners: int
    cut: int
    wrong: bool


def metric_lines(bounds: Sequence[ScrapeBounds]) -> list[MetricLine]:
    """Reconcile every metric that has bounds. A metric that a scrape does not show counts as wrong there."""
    if not bounds:
        return []
    reasons = list(bounds[-1].by_reason)

    def of_reason(reason: str) -> Callable[[ScrapeBounds], Range]:
        return lambda one: one.by_reason[reason]

    wanted: list[tuple[str, Callable[[ScrapeBounds], Range]]] = [
        (WORKERS, lambda one: one.workers),
        (UNKNOWN, lambda one: one.unknown),
        (STALE, lambda one: one.stale),
        (FAILURES, lambda one: one.failures),
        (RECENT, lambda one: one.recent),
        *((BY_REASON.format(reason), of_reason(reason)) for reason in reasons),
    ]
    lines = []
    for name, bound_of in wanted:
        last = bound_of(bounds[-1])
        # A reason that never occurred may be left out of the page.
        missing = 0.0 if "{" in name else float("nan")
        wrong = sum(one.scrape.samples.get(name, missing) not in bound_of(one) for one in bounds)
        lines.append(MetricLine(name, bounds[-1].scrape.samples.get(name), last.low, last.high, wrong, len(bounds)))
    return lines


def audit_lines(history: History, facts: Facts, wrong: Collection[str]) -> list[AuditLine]:
    """Reconcile the audit lists that were read whole, by type of event, over the owners whose events are all there.

    `wrong` are the types that the audit checker has something to say about.
    """
    owners = {owner_id: owner for owner_id, owner in gather(history).items() if owner.events is not None}
    if not owners:
        return []
    settled_ns = min(owner.sent_ns for owner in owners.values())
    expected = expect(history, facts, owners, settled_ns, max(owner.answered_ns for owner in owners.values()))
    is_chained, events_max = chained(owners.values()), facts.audit_events_per_stream
    lines = []
    for stream in (NOTABLE, REFUSED, ROUTINE):
        whole = [
            owner
            for owner in owners.values()
            if kept_from_the_first(owner, stream, chained=is_chained, events_max=events_max)
        ]
        low: Counter[str] = Counter()
        high: Counter[str] = Counter()
        for owner in whole:
            for kind, due in expected.of(owner.owner_id).types.items():
                if stream_of(kind) == stream:
                    counts = (*due.exact.values(), *due.open.values())
                    low[kind] += sum(count.low for count in counts)
                    high[kind] += sum(count.high for count in counts)
        for kind in low:
            # Events the history cannot explain, but no correct server is to blame for: counted once, not by owner.
            changes = expected.spare.changes
            high[kind] += sum(changes[owner.owner_id, kind] for owner in whole) + changes["", kind] + expected.spare.any
            high[kind] += expected.spare.denials if kind in DENIALS else 0
        shown = Counter(event.type for owner in whole for event in owner.events or () if event.stream == stream)
        cut = len(owners) - len(whole)
        lines += [
            AuditLine(kind, low[kind], high[kind], shown[kind], len(whole), cut, wrong=kind in wrong)
            for kind in sorted({*high, *shown})
        ]
    return lines
