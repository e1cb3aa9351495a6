"""Causes before consequences: which findings follow from another one, of the same checker or not.

A pure function of the verdicts, after all checkers. Only what is certain is linked: findings about one request, what
was accepted after a consent that must not have been given again, and one state of a metric that lasted.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

    from simulator.checkers.verdict import Finding, Verdict

CAUSES_FIRST = ("durability", "nonces", "revocation", "credentials", "replay", "answers")
"""Checkers that may accuse one request: the earlier one says why it must not have been accepted."""
CONSENTED_AGAIN = "revocation.consented-again"
SILENCE = ("alerts.silent", "alerts.stale-gauge", "alerts.auth-gauge")
"""An alert that stayed silent, and each scrape at which it contradicted its count."""
ACCEPTED_BELOW = 300


def reference(finding: Finding) -> str:
    """Return what other findings call this one: its rule and moment."""
    return f"{finding.rule} at {finding.at_ns / SECOND_NS:.3f} s"


def causes_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts with each finding linked to its cause, and those that stand by themselves first."""
    cause_of = _causes(verdicts)
    explained = Counter(map(id, cause_of.values()))
    ordered = []
    for verdict in verdicts:
        linked = [
            msgspec.structs.replace(
                finding,
                follows_from=reference(cause_of[id(finding)]) if id(finding) in cause_of else "",
                explains=explained[id(finding)],
            )
            for finding in verdict.findings
        ]
        linked.sort(key=lambda finding: bool(finding.follows_from))
        ordered.append(msgspec.structs.replace(verdict, findings=tuple(linked)))
    return ordered


def _causes(verdicts: Sequence[Verdict]) -> dict[int, Finding]:
    """Find the cause of each finding that has one, by identity; a cause has none itself."""
    first: dict[Hashable, Finding] = {}
    cause_of: dict[int, Finding] = {}
    rank = {name: at for at, name in enumerate(CAUSES_FIRST)}
    again = [one for verdict in verdicts for one in verdict.findings if one.rule == CONSENTED_AGAIN]
    for verdict in sorted(verdicts, key=lambda one: rank.get(one.name, len(rank))):
        for finding in verdict.findings:
            cause = next((one for one in again if _is_after(finding, one)), None)
            for key in _subjects(finding):
                known = first.setdefault(key, finding)
                # Copies of one request are requests of their own: one checker accuses each for itself.
                if known is not finding and (_checker(known) == "alerts" or _checker(known) != _checker(finding)):
                    cause = cause or cause_of.get(id(known), known)
            if cause is not None:
                cause_of[id(finding)] = cause
    return cause_of


def _subjects(finding: Finding) -> Iterator[Hashable]:
    """Name what a finding is about; the first one about the same is the cause of the others."""
    evidence = finding.evidence
    checker = _checker(finding)
    if finding.rule in SILENCE:
        yield SILENCE, evidence.get("metric")
    elif checker == "alerts":
        yield finding.rule, evidence.get("metric")
    elif checker in CAUSES_FIRST:
        for request in evidence.get("requests") or [evidence]:
            machine, nonce = request.get("machine"), str(request.get("nonce", ""))
            accepted = checker != "answers" or request.get("status", ACCEPTED_BELOW) < ACCEPTED_BELOW
            if machine is not None and nonce.strip("0") and accepted:
                yield "request", machine, nonce


def _is_after(finding: Finding, consent: Finding) -> bool:
    """Return whether an answer is that consent's own, or one to a heartbeat that it let through."""
    evidence, root = finding.evidence, consent.evidence
    if not finding.rule.startswith("answers.") or evidence.get("status", ACCEPTED_BELOW) >= ACCEPTED_BELOW:
        return False
    if evidence.get("machine") != root["machine"]:
        return False
    sent_ns = evidence.get("sent_ns", 0)
    own = sent_ns == root["consented_sent_ns"]
    return bool(own or (sent_ns >= root["first_accepted_sent_ns"] and str(evidence.get("nonce", "")).strip("0")))


def _checker(finding: Finding) -> str:
    return finding.rule.partition(".")[0]
