"""What became of each attack campaign: one line of the attack matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.attacks import CATALOGUE
from simulator.checkers.answers import judge_answers
from simulator.checkers.attacks import not_tried, proved_nothing
from simulator.checkers.outage import blamed
from simulator.checkers.verdict import Status
from simulator.history import HONEST, Answer
from simulator.report.verdict_file import AttackSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulator.history import History
    from simulator.records import CampaignRecord, Claim


WEAKNESS = "accepted, which is a known weakness of the published protocol and no fault of this server"


def summarise_campaigns(history: History, attacks: Sequence[str]) -> list[AttackSummary]:
    """Summarise every campaign, in the scenario's order. `attacks` name those that the history does not."""
    campaigns = {one.number: one for one in history.campaigns}
    names = {**dict(enumerate(attacks, HONEST + 1)), **{one.number: one.attack for one in history.campaigns}}
    rows = history.rows()
    judged, allowed = judge_answers(rows)
    stopped = blamed(history)
    summaries = []
    for number, attack in sorted(names.items()):
        mine = rows["campaign"] == number
        campaign = campaigns.get(number)
        idle = _idle(history, campaign) if campaign is not None else "" if mine.any() else "it never began"
        claims = [claim for claim in history.claims if claim.campaign == number]
        told = stopped.get(number, "")
        summaries.append(_summary(number, attack, rows[mine], judged[mine], allowed[mine], claims, idle, told))
    return summaries


def _idle(history: History, campaign: CampaignRecord) -> str:
    """Say why a campaign proved nothing; nothing when it did."""
    return not_tried(history, campaign) or proved_nothing(history, campaign)


def _summary(
    number: int,
    attack: str,
    rows: NDArray[Any],
    judged: NDArray[Any],
    allowed: NDArray[Any],
    claims: list[Claim],
    idle: str,
    stopped: str,
) -> AttackSummary:
    accepted = rows["got"] == Answer.ACCEPTED
    wrong = int((judged & ~allowed).sum())
    broken = [f"the target stopped answering: {stopped}"] if stopped else []
    broken += [claim.message for claim in claims if claim.held is False]
    if wrong or broken:
        status, notes = Status.FAIL, broken
    elif idle:
        status, notes = Status.INCONCLUSIVE, [idle]
    else:
        status, notes = Status.PASS, [claim.message for claim in claims if claim.held is None]
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
    )
