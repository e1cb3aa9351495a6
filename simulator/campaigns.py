"""What became of each attack campaign: one line of the attack matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers.answers import judge_answers
from simulator.checkers.verdict import Status
from simulator.history import HONEST, Answer
from simulator.report.verdict_file import AttackSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from simulator.history import History
    from simulator.records import Claim


def summarise_campaigns(history: History, attacks: Sequence[str]) -> list[AttackSummary]:
    """Summarise every campaign, in the scenario's order. `attacks` name those that the history does not."""
    names = dict(enumerate(attacks, HONEST + 1))
    not_tried = {}
    for campaign in history.campaigns:
        names[campaign.number] = campaign.attack
        not_tried[campaign.number] = campaign.not_tried
    rows = history.rows()
    judged, allowed = judge_answers(rows)
    summaries = []
    for number, attack in sorted(names.items()):
        mine = rows["campaign"] == number
        claims = [claim for claim in history.claims if claim.campaign == number]
        summaries.append(
            _summary(number, attack, rows[mine], judged[mine], allowed[mine], claims, not_tried.get(number, ""))
        )
    return summaries


def _summary(
    number: int,
    attack: str,
    rows: NDArray[Any],
    judged: NDArray[Any],
    allowed: NDArray[Any],
    claims: list[Claim],
    not_tried: str,
) -> AttackSummary:
    accepted = rows["got"] == Answer.ACCEPTED
    wrong = int((judged & ~allowed).sum())
    broken = [claim.message for claim in claims if claim.held is False]
    open_ones = [claim.message for claim in claims if claim.held is None]
    proven = bool(judged.any()) or any(claim.held for claim in claims)
    if wrong or broken:
        status = Status.FAIL
    elif open_ones or not_tried or not proven:
        status = Status.INCONCLUSIVE
    else:
        status = Status.PASS
    notes = [not_tried] if not_tried else broken or open_ones
    if not notes and not proven:
        notes = ["nothing was sent" if not len(rows) else "no answer says anything"]
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
