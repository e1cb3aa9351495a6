"""The contents checker: everything that an answer says is what the contract lets it say, not only its status.

What one answer shows by itself was looked at when it came (`Deviation`). Here it is held against clocks, against the
published keys, against other answers, and against what the history says was done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.shown_certificates import check_certificates
from simulator.checkers.shown_statuses import check_last_heartbeats, check_statuses
from simulator.checkers.shown_times import check_event_times, check_shown_times, server_clock
from simulator.checkers.shown_values import check_values
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.features import Feature
from simulator.history.evidence import shown
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

FOLLOWING: Mapping[str, tuple[tuple[str, str], ...]] = {
    Feature.JSON_404: (("contents.refusal-envelope", ""), ("contents.refusal-content-type", "")),
    Feature.RETRY_AFTER: (("contents.retry-after", ""),),
    Feature.STALE_THRESHOLD: (("contents.fields", "stale_threshold"),),
    Feature.HEALTH: (("contents.health", ""),),
    Feature.KEYS: (("contents.keys", ""),),
}
"""Which rules, and what of them, is broken wherever a target lacks something altogether."""


def check_contents(history: History, facts: Facts) -> Verdict:
    """Hold what answers said against the contract, the clocks, the keys and one another."""
    findings = [*_deviations(history), *check_certificates(history, facts), *check_values(history, facts)]
    clock = server_clock(history, facts)
    if clock is not None:
        findings += [*check_shown_times(history, clock), *check_event_times(history, clock)]
        findings += check_last_heartbeats(history, clock)
    findings += check_statuses(history, facts)
    findings = [one for one in findings if not _repeats_a_missing_feature(one, facts)]
    figures: dict[str, Any] = {
        "errors": sum(int(finding.evidence.get("count", 1)) for finding in findings),
        "certificates": len(history.certificates_shown),
        "keys": max((len(one.keys) for one in history.key_readings), default=0),
        "times_judged": clock is not None,
        "status_lists": len(history.status_readings),
    }
    if findings:
        ordered = one_of_each_first(findings, lambda one: (one.rule, str(one.evidence.get("campaign"))))
        kinds = "one kind" if len(findings) == 1 else f"{len(findings)} kinds"
        summary = f"Answers said what no right server says, in {kinds}; {findings[0].message}."
        return Verdict("contents", Status.FAIL, summary, kept(ordered), figures, len(findings))
    if not history.certificates_shown and not history.shown and not history.status_readings:
        return Verdict("contents", Status.NOT_APPLICABLE, "No answer showed anything.", (), figures)
    untimed = "" if clock is not None else " Times were not judged: the target's clock is not known."
    issued = plural(len(history.certificates_shown), "certificate was", "certificates were")
    summary = f"Every answer said what it must; {issued} issued.{untimed}"
    return Verdict("contents", Status.PASS, summary, (), figures)


def _repeats_a_missing_feature(finding: Finding, facts: Facts) -> bool:
    """Return whether a finding only repeats what the target lacks altogether, which the features checker says once."""
    follows = (pair for feature in facts.lacks or () for pair in FOLLOWING.get(feature, ()))
    return any(finding.rule == rule and words in finding.message for rule, words in follows)


def _deviations(history: History) -> Iterator[Finding]:
    exchanges = {(one.sent_ns, one.campaign, one.reasoning): one for one in history.exchanges}
    attacks = {one.number: one.attack for one in history.campaigns}
    for one in sorted(history.deviations, key=lambda one: one.sent_ns):
        evidence: dict[str, Any] = {"count": one.count, "sent_ns": one.sent_ns, "answered_ns": one.answered_ns}
        exchange = exchanges.get((one.sent_ns, one.campaign, f"{one.rule}: {one.message}"))
        if exchange is not None:
            evidence |= {"request": shown(exchange.request), "answer": shown(exchange.answer)}
        if one.campaign in attacks:
            evidence["attack"] = attacks[one.campaign]
        more = f" ({one.count:,} such answers)" if one.count > 1 else ""
        yield Finding(one.rule, f"{one.route}: {one.message}{more}", one.sent_ns, evidence)
