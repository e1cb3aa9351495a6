"""What became of each attack campaign: one line of the attack matrix, and a finding for each that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from simulator.attacks import CATALOGUE
from simulator.checkers.attacks import not_tried, proved_nothing, short_of_plan, undecided
from simulator.checkers.judging import Ruling, judge, judge_answers
from simulator.checkers.outage import blamed
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.rows import HONEST
from simulator.judging.verdict_file import AttackSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import CampaignRecord, ClaimRecord
    from simulator.history.rows import History


WEAKNESS = "accepted, which is a known weakness of the published protocol and no fault of this server"


def campaign_names(history: History, attacks: Sequence[str]) -> dict[int, str]:
    """Return each campaign's attack by its number. `attacks` are the scenario's, in order."""
    return {**dict(enumerate(attacks, HONEST + 1)), **{one.number: one.attack for one in history.campaigns}}


def summarise_campaigns(
    history: History, attacks: Sequence[str], facts: Facts, checkers: Sequence[Verdict] = ()
) -> list[AttackSummary]:
    """Summarise every campaign, in the scenario's order. `attacks` name those that the history does not.

    What `checkers` found of a campaign says why it failed.
    """
    accusing = findings_of_campaigns(checkers)
    campaigns = {one.number: one for one in history.campaigns}
    names = campaign_names(history, attacks)
    rows = history.rows()
    judged, _ = judge_answers(rows)
    # That answers were lost is the answers checker's matter: it says nothing about what a campaign tried.
    wrong = np.isin(judge(history, facts)[0], (Ruling.WRONG, Ruling.FAILED))
    stopped = blamed(history)
    summaries = []
    for number, attack in sorted(names.items()):
        mine = rows["campaign"] == number
        campaign = campaigns.get(number)
        idle = _idle(history, campaign)
        if campaign is None and not mine.any():
            idle = Status.INCONCLUSIVE, "it never began"
        claims = [claim for claim in history.claims if claim.campaign == number]
        found = [one.message.removeprefix(f"{attack}: ") for one in accusing.get(number, ())]
        stop = stopped.get(number, "")
        summary = _summary(number, attack, rows[mine], judged[mine], wrong[mine], claims, found, idle, stop)
        short = "" if campaign is None or summary.status is Status.NOT_TRIED else short_of_plan(campaign)
        summaries.append(_with_note(summary, short))
    return summaries


def findings_of_campaigns(checkers: Sequence[Verdict]) -> dict[int, list[Finding]]:
    """Return what proves that a campaign succeeded, by its number."""
    found: dict[int, list[Finding]] = {}
    for finding in (one for verdict in checkers if verdict.status is Status.FAIL for one in verdict.findings):
        campaign = finding.evidence.get("campaign")
        if isinstance(campaign, int) and campaign != HONEST:
            found.setdefault(campaign, []).append(finding)
    return found


def accuse(checkers: Sequence[Verdict], attacks: Sequence[AttackSummary]) -> list[Verdict]:
    """Return verdicts in which every attack that failed has a finding, also where no room was left for one."""
    known = findings_of_campaigns(checkers)
    missing = tuple(
        Finding("attacks.failed", f"{one.attack}: {one.note}", 0, {"campaign": one.campaign, "attack": one.attack})
        for one in attacks
        if one.status is Status.FAIL and one.campaign not in known
    )
    if not missing:
        return list(checkers)
    return [
        msgspec.structs.replace(
            one,
            status=Status.FAIL,
            summary=one.summary if one.status is Status.FAIL else f"{missing[0].message}. {one.summary}",
            findings=(*missing, *one.findings),
            found=one.findings_total + len(missing),
        )
        if one.name == "attacks"
        else one
        for one in checkers
    ]


def _idle(history: History, campaign: CampaignRecord | None) -> tuple[Status, str]:
    """Return why a campaign proved nothing, and what it is called then; nothing when it did prove something."""
    if campaign is None:
        return Status.PASS, ""
    if why := not_tried(history, campaign):
        return Status.NOT_TRIED, why
    why = proved_nothing(history, campaign)
    return (Status.INCONCLUSIVE if why else Status.PASS), why


def _with_note(summary: AttackSummary, note: str) -> AttackSummary:
    return msgspec.structs.replace(summary, note="; ".join(filter(None, (summary.note, note)))) if note else summary


def _summary(
    number: int,
    attack: str,
    rows: NDArray[Any],
    judged: NDArray[Any],
    proven: NDArray[Any],
    claims: list[ClaimRecord],
    found: list[str],
    idle: tuple[Status, str],
    stopped: str,
) -> AttackSummary:
    accepted = rows["got"] == Answer.ACCEPTED
    wrong = int(proven.sum())
    broken = [f"the target stopped answering: {stopped}"] if stopped else []
    broken += [claim.message for claim in claims if claim.held is False]
    status, why = idle
    unknown = undecided(claims)
    if wrong or broken:
        status = Status.FAIL
        right = getattr(CATALOGUE.get(attack), "verdict", "otherwise")
        notes = broken or found[:1] or [f"a correct server answers {right}"]
    elif why:
        notes = [why]
    else:
        notes = [claim.message for claim in unknown] or [claim.message for claim in claims if claim.held is None]
        if accepted.any() and getattr(CATALOGUE.get(attack), "weakness", False):
            notes = [WEAKNESS]
    more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
    return AttackSummary(
        campaign=number,
        attack=attack,
        status=status,
        sent=len(rows),
        refused=int((judged & ~accepted).sum()),
        accepted=int(accepted.sum()),
        wrong=wrong,
        unjudged=int((~judged).sum()),
        note=f"{notes[0]}{more}" if notes else "",
        undecided=len(unknown),
    )
