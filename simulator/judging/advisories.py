"""Judging by a profile: what a server does otherwise than a rule that its profile does not ask for is an advisory.

Checkers judge by the whole contract. Here alone it is decided, by each finding's rule, whether it counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from simulator.attacks import CATALOGUE
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.profiles import Basis, Profile, farthest
from simulator.history.rows import HONEST
from simulator.judging.rules import basis_of, rule_id
from simulator.judging.verdict_file import Advisory, AttackSummary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from simulator.history.records import FailedExchange

FailedExchanges = dict[tuple[int, int], "FailedExchange"]
"""By when each was sent, and by its campaign."""
COUNTS = ("errors", "violations", "accepted_twice")
"""Figures of checkers that count findings; thresholds judge them (`simulator/judging/thresholds.py`)."""
CLAIMS = "attacks."
SINGLE_ANSWERS = ("answers.", "replay.wrong", "replay.refused-otherwise")
"""Rules about one answer to one request of an attack."""
ACCEPTED_RULE = "answers.attack-accepted"


class Judged(msgspec.Struct, frozen=True):
    """What checkers found that counts under a profile, and what does not."""

    checkers: list[Verdict]
    advisories: list[Advisory]


def judge_by(
    profile: Profile, verdicts: Sequence[Verdict], attacks: Mapping[int, str], exchanges: Iterable[FailedExchange]
) -> Judged:
    """Take out of failed verdicts what the profile does not ask for. `attacks` are the campaigns' names by number."""
    known = {(one.sent_ns, one.campaign): one for one in exchanges}
    checkers, advisories = [], []
    for verdict in verdicts:
        if not verdict.status.is_problem:
            checkers.append(verdict)
            continue
        doubted = verdict.status is Status.INCONCLUSIVE
        bases = [_basis_of_all(finding, attacks, known) for finding in verdict.findings]
        if doubted and (not _says_what_it_doubts(verdict) or any(map(profile.asks_for, bases))):
            checkers.append(verdict)
            continue
        counting: list[Finding] = []
        for finding, basis in zip(verdict.findings, bases, strict=True):
            if profile.asks_for(basis):
                counting.append(finding)
            else:
                rule = rule_id(finding, attacks)
                advisories.append(
                    Advisory(verdict.name, rule, basis, finding.message, finding.at_ns, finding.evidence, finding.rule)
                )
        below = len(verdict.findings) - len(counting)
        checkers.append(_without(verdict, counting, below) if below else verdict)
    return Judged(checkers, advisories)


def _says_what_it_doubts(verdict: Verdict) -> bool:
    """Return whether each finding of an inconclusive verdict says which rules it leaves open, and none is missing."""
    named = all(finding.evidence.get("doubts") for finding in verdict.findings)
    return named and 0 < len(verdict.findings) == verdict.findings_total


def _basis_of_all(finding: Finding, attacks: Mapping[int, str], exchanges: FailedExchanges) -> Basis:
    """Return what a finding rests on, or of what it only leaves open, what most servers are asked for."""
    doubted = [
        finding_basis(Finding(one["rule"], "", finding.at_ns, one), attacks, exchanges)
        for one in finding.evidence.get("doubts", ())
    ]
    return min(doubted, key=list(Basis).index) if doubted else finding_basis(finding, attacks, exchanges)


def finding_basis(finding: Finding, attacks: Mapping[int, str], exchanges: FailedExchanges) -> Basis:
    """Return what a finding rests on: its rule, and what the attack does, one of its claims or one of its steps."""
    campaign = _campaign(finding.evidence)
    name = attacks.get(campaign) if campaign != HONEST else finding.evidence.get("attack")
    attack = CATALOGUE.get(str(name))
    if attack is None:
        return basis_of(finding.rule)
    if finding.rule.startswith(CLAIMS):
        return attack.claim_bases.get(finding.rule.removeprefix(CLAIMS), attack.basis)
    rule = basis_of(finding.rule)
    if not finding.rule.startswith(SINGLE_ANSWERS):
        return rule  # what other checkers hold is so for whoever asks
    exchange = exchanges.get((finding.at_ns, campaign))
    if exchange is None:
        # Without its bytes nobody knows which step of a mixed attack it was: nothing is proven by a guess.
        return farthest(rule, attack.basis, Basis.HARDENED if attack.mixed else attack.basis)
    return farthest(rule, Basis(exchange.basis) if exchange.basis else attack.basis)


def _campaign(evidence: Mapping[str, Any]) -> int:
    """Return the one campaign that evidence names; `HONEST` where it names none, or several."""
    campaign = evidence.get("campaign")
    return campaign if isinstance(campaign, int) else HONEST


def _without(verdict: Verdict, counting: list[Finding], below: int) -> Verdict:
    """Return the verdict by the findings that count: what it would have been had the others not been found."""
    beyond = f"{below} {'deviation goes' if below == 1 else 'deviations go'} beyond the profile: see the advisories"
    figures = _counted(verdict, counting, below)
    if counting:
        summary = f"{len(counting)} findings; {counting[0].message.rstrip('.')}. Besides, {beyond}."
        found = verdict.findings_total - below
        return msgspec.structs.replace(verdict, summary=summary, findings=tuple(counting), figures=figures, found=found)
    if verdict.doubt:
        summary = f"{verdict.doubt} Besides, {beyond}."
        return Verdict(verdict.name, Status.INCONCLUSIVE, summary, (), figures)
    return Verdict(verdict.name, Status.PASS, f"All that counts held; {beyond}.", (), figures)


def _counted(verdict: Verdict, counting: list[Finding], below: int) -> dict[str, Any]:
    """Return the figures without what does not count. Where nothing does, all that was not listed was of its kind."""
    figures = {**verdict.figures, "advisories": below}
    for name in COUNTS:
        if name in figures:
            figures[name] = figures[name] - below if counting else 0
    if "attacks_accepted" in figures:
        gone = sum(one.rule == ACCEPTED_RULE for one in verdict.findings)
        gone -= sum(one.rule == ACCEPTED_RULE for one in counting)
        left = any(one.rule == ACCEPTED_RULE for one in counting)
        figures["attacks_accepted"] = figures["attacks_accepted"] - gone if left else 0
    return figures


def summaries_by(profile: Profile, summaries: Sequence[AttackSummary], judged: Judged) -> list[AttackSummary]:
    """Return the lines of the attack matrix: what the profile does not ask for lets no campaign fail."""
    failed = [one for one in judged.checkers if one.status is Status.FAIL]
    counting = {_campaign(finding.evidence) for one in failed for finding in one.findings}
    below: dict[int, list[str]] = {}
    for advisory in judged.advisories:
        below.setdefault(_campaign(advisory.evidence), []).append(advisory.message)
    lines = []
    for line in summaries:
        deviating = below.get(line.campaign, [])
        if (
            line.status is Status.FAIL
            and line.campaign not in counting
            and (deviating or _all_below(profile, line.attack))
        ):
            note = f"beyond the {profile} profile: {deviating[0] if deviating else line.note}"
            lines.append(msgspec.structs.replace(line, status=Status.PASS, note=note))
        else:
            lines.append(line)
    return lines


def _all_below(profile: Profile, name: str) -> bool:
    """Return whether nothing of an attack is asked for."""
    attack = CATALOGUE.get(name)
    return attack is not None and not any(map(profile.asks_for, (attack.basis, *attack.claim_bases.values())))
