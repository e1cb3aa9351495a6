"""The audit checker: each change and each refused attempt has its event, the chains hold, and nobody lost one.

Owners' lists are read through the API alone, so any target can be judged. What an owner sees is held against what the
history says was done, within the bounds that two-ended times leave.
"""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from simulator.checkers.audit_chain import check_chain, check_list, check_looks
from simulator.checkers.audit_dropped import dropped
from simulator.checkers.audit_events import check_deniers, check_events, check_policies, check_totals, compare_events
from simulator.checkers.audit_expected import TYPES, Expected, expect, single_policies
from simulator.checkers.audit_lists import (
    MARKET,
    OK,
    REFUSED,
    STREAMS,
    OwnerAudit,
    chained,
    gather,
    kept_from_the_first,
)
from simulator.checkers.audit_market import check_market_events
from simulator.checkers.incarnations import each_incarnation
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.market_view import stories_of
from simulator.checkers.possible import unexplained
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.features import Feature
from simulator.limits import REFUSALS_KEPT_MIN
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulator.checkers.audit_dropped import Compared
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

NO_ROUTE = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
UNCHAINED = "whether any was changed is not tried, as the target shows no hash chain"
UNREAD = "No owner's audit list could be read."
LAST = frozenset(f"audit.{what}{which}" for what in ("missing", "unexplained") for which in ("", "-refusal"))
"""Rules whose findings come last: what the others find says why something is missing, or there."""


def check_audit(history: History, facts: Facts, refusals_kept_min: int = REFUSALS_KEPT_MIN) -> Verdict:
    """Hold every audit list that was read against the history and against itself (contract §3).

    Of a server that forgets, the streams of its last incarnation. One that refused at least `refusals_kept_min` times
    may have dropped some early.
    """
    *_, (history, facts) = each_incarnation(history, facts)
    if not history.owners and not history.audit_readings:
        return Verdict("audit", Status.NOT_APPLICABLE, "No owner did anything in this run.", (), {"errors": 0})
    owners = gather(history)
    readable = {owner_id: owner for owner_id, owner in owners.items() if owner.looks}
    malformed = [
        Finding("audit.no-list", f"{owner_id} was shown, with HTTP 200, what is no audit list", 0, {"owner": owner_id})
        for owner_id, owner in owners.items()
        if OK in owner.refusals
    ]
    if malformed:
        summary = f"{len(malformed)} owners' lists are none; {malformed[0].message}."
        return Verdict(
            "audit", Status.FAIL, summary, kept(malformed), {"errors": len(malformed)}, len(malformed), UNREAD
        )
    if not readable:
        return Verdict("audit", Status.INCONCLUSIVE, _why_unread(owners))
    judged = _Judged(history, facts, readable, refusals_kept_min)
    findings = sorted(judged.findings(), key=lambda finding: finding.rule in LAST)
    figures: dict[str, Any] = {
        "errors": len(findings),
        "owners": len(history.owners),
        "owners_read": len(judged.whole),
        "owners_counted": len(judged.counted),
        "events": sum(len(owner.events or ()) for owner in judged.whole.values()),
        "looks": sum(len(owner.looks) for owner in owners.values()),
        "chained": judged.chained,
    }
    problem = judged.problem(owners)
    if findings:
        shown = one_of_each_first(findings, lambda finding: finding.rule)
        summary = (
            f"{plural(len(findings), 'error')} in the audit of {plural(len(readable), 'owner')}; {shown[0].message}."
        )
        return Verdict("audit", Status.FAIL, summary, kept(shown), figures, len(findings), problem)
    read = f"None of {plural(figures['events'], 'event')} due to {plural(len(judged.whole), 'owner')} is missing"
    if problem:
        return Verdict("audit", Status.INCONCLUSIVE, f"{problem} Else all holds: {read}.", (), figures)
    more = f"; of {plural(len(judged.counted), 'more owner')} the number of events is right" if judged.counted else ""
    chains = "their chains hold" if judged.chained or not figures["events"] else UNCHAINED
    summary = f"{read}; {chains}{more}."
    return Verdict("audit", Status.PASS, summary, (), figures)


class _Judged:
    """What there is to judge by: which owners' lists were read whole, whose events only counted, and what was due."""

    def __init__(self, history: History, facts: Facts, owners: dict[str, OwnerAudit], refusals_kept_min: int) -> None:
        self._history = history
        self._facts = facts
        self._owners = owners
        self.chained = chained(owners.values())
        self.restarted = bool(unexplained(history, facts))
        self.dropped: set[str] = set()
        self.whole = {owner_id: owner for owner_id, owner in owners.items() if owner.events is not None}
        settled_ns = min(
            (owner.sent_ns for owner in self.whole.values()),
            default=min(owner.looks[-1].sent_ns for owner in owners.values()),
        )
        self.counted = {
            owner_id: owner
            for owner_id, owner in owners.items()
            if self.chained and owner_id not in self.whole and owner.looks[-1].sent_ns >= settled_ns
        }
        latest = [owner.looks[-1].heads for owner in owners.values()]
        refusals = sum(heads[REFUSED].sequence for heads in latest if REFUSED in heads)
        self._bounded = STREAMS if refusals < refusals_kept_min else tuple(name for name in STREAMS if name != REFUSED)
        until_ns = max(owner.looks[-1].answered_ns for owner in owners.values())
        self._stories = stories_of(history)
        read = [*self.whole, *self.counted]
        self._expected: Expected = expect(history, facts, read, settled_ns, until_ns)

    def findings(self) -> Iterator[Finding]:
        """Find all that is provably wrong."""
        whose = {record.worker_id: record.owner_id for record in self._history.machines.values()}
        policy_of = single_policies(self._history)
        closed = bool(self.whole) and all(
            event.type in TYPES for owner in self.whole.values() for event in owner.events or ()
        )
        compared = {
            owner.owner_id: list(compare_events(owner, self._expected, self._complete(owner)))
            for owner in self.whole.values()
        }
        self.dropped = set() if self.chained else dropped(self._history, compared)
        for owner in self._owners.values():
            if self.chained and not self.restarted:
                yield from check_looks(owner)
            if owner.owner_id in self.whole:
                yield from self._whole_list(owner, compared[owner.owner_id], whose, policy_of, closed=closed)
                if self._has_all(owner, MARKET):
                    yield from check_market_events(owner, self._stories.values(), whose)
            elif owner.owner_id in self.counted and not self.restarted:
                yield from check_totals(owner, self._expected, STREAMS, closed=closed)

    def _complete(self, owner: OwnerAudit) -> list[str]:
        """Name the streams of a list that were kept from their first event on."""
        return [stream for stream in STREAMS if self._has_all(owner, stream)]

    def _has_all(self, owner: OwnerAudit, stream: str) -> bool:
        """Return whether a list has all that was ever in a stream."""
        most = self._facts.audit_events_per_stream
        return not self.restarted and kept_from_the_first(owner, stream, chained=self.chained, events_max=most)

    def _whole_list(
        self,
        owner: OwnerAudit,
        compared: list[Compared],
        whose: Mapping[str, str],
        policy_of: Mapping[str, str],
        *,
        closed: bool,
    ) -> Iterator[Finding]:
        yield from check_list(owner)
        if self.chained:
            yield from check_chain(owner, self._facts.audit_events_per_stream, self._bounded)
        yield from check_events(owner, compared, whose, dropped=owner.owner_id in self.dropped)
        yield from check_policies(owner, policy_of)
        yield from check_deniers(owner)
        if self.chained and not self.restarted:
            others = [stream for stream in STREAMS if stream not in self._complete(owner)]
            yield from check_totals(owner, self._expected, others, closed=closed)

    def problem(self, owners: Mapping[str, OwnerAudit]) -> str:
        """Return why a list without errors proves too little; nothing when it does not."""
        if self.restarted:
            return "The server started anew, and what it forgot then cannot be told from what it lost."
        if (
            not self.chained
            and Feature.CHAIN not in (self._facts.lacks or ())
            and any(owner.events for owner in self.whole.values())
        ):
            return "The target shows no hash chain (contract §3), so nothing proves that no event was changed."
        refused = Counter(status for owner in owners.values() if not owner.looks for status in owner.refusals)
        if refused:
            return f"{refused.total()} owners' lists were answered with HTTP {refused.most_common(1)[0][0]}."
        if not self.whole and not self.counted:
            return "No list could be read at the end of the run."
        restless = sum(not owner.steady for owner in self.whole.values())
        if restless == len(self.whole) and restless:
            return "Every list changed while it was read."
        return ""


def _why_unread(owners: Mapping[str, OwnerAudit]) -> str:
    refusals = Counter(status for owner in owners.values() for status in owner.refusals)
    if not refusals:
        return UNREAD
    status = refusals.most_common(1)[0][0]
    if status in NO_ROUTE:
        return f"The target has no audit list: it answered HTTP {status}."
    return f"No owner's audit list could be read: the target answered HTTP {status}."
