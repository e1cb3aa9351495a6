"""The attacks checker: what each attack claims over its several requests holds, and each campaign really happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simulator.checkers.excused import Excused
from simulator.checkers.judging import judge_answers
from simulator.checkers.keeping import kept, one_of_each_first
from simulator.checkers.unknown import lost_parts
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.answers import Answer
from simulator.history.losses import Loss, losses_of
from simulator.platform.wording import all_of, plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from simulator.checkers.facts import Facts
    from simulator.history.records import CampaignRecord, ClaimRecord
    from simulator.history.rows import History

FAULT = "fault"
"""The claim by which an attempt says that it met a fault of its own."""
NOT_TRIED = "not-tried"
"""The claim by which an attempt says that its target has nothing on which it could be tried."""
ENDED_EARLY = ("cut-off", "unsettled", FAULT)
"""Claims by which an attempt says that it could not play to its end."""
NEARLY_ALL = 0.9
"""The share of a plan from which on nobody needs to be told that it is not all."""


def check_attacks(history: History, _facts: Facts) -> Verdict:
    """Judge claims, and find campaigns that prove nothing. Single answers are judged by the answers checker."""
    names = {one.number: one.attack for one in history.campaigns}
    broken = [claim for claim in history.claims if claim.held is False]
    figures: dict[str, Any] = {
        "campaigns": len(history.campaigns),
        "claims_held": sum(claim.held is True for claim in history.claims),
        "claims_broken": len(broken),
        "claims_undecided": sum(claim.held is None for claim in history.claims),
        "not_tried": {one.attack: not_tried(history, one) for one in history.campaigns if not_tried(history, one)},
    }
    idle = [(one, why) for one in history.campaigns if (why := proved_nothing(history, one))]
    if broken:
        broken.sort(key=lambda claim: claim.at_ns)
        accused = (_finding(claim, names) for claim in broken)
        findings = kept(one_of_each_first(accused, lambda one: (one.evidence["campaign"], one.rule)))
        summary = f"{plural(len(broken), 'claim')} of attacks did not hold; {findings[0].message}."
        doubt = f"{idle[0][0].attack} proved nothing: {idle[0][1]}." if idle else ""
        return Verdict("attacks", Status.FAIL, summary, findings, figures, len(broken), doubt)
    if idle:
        findings = tuple(
            Finding("attacks.proved-nothing", f"{one.attack}: {why}", 0, {"campaign": one.number}) for one, why in idle
        )
        summary = (
            f"{len(idle):,} of {plural(len(history.campaigns), 'campaign')} proved nothing; {findings[0].message}."
        )
        return Verdict("attacks", Status.INCONCLUSIVE, summary, kept(findings), figures, len(findings))
    faults = [claim for claim in history.claims if claim.rule == FAULT]
    if faults:
        findings = kept(_finding(claim, names) for claim in faults)
        summary = f"{plural(len(faults), 'attempt')} of attacks met a fault of the harness itself; {faults[0].message}."
        return Verdict("attacks", Status.INCONCLUSIVE, summary, findings, figures, len(faults))
    if not history.campaigns:
        return Verdict("attacks", Status.NOT_APPLICABLE, "No attack was part of this run.", (), figures)
    tried = sum(not not_tried(history, one) for one in history.campaigns)
    held = figures["claims_held"]
    summary = f"{plural(tried, 'campaign')} ran" + (f", and {all_of(held, 'claim')} of theirs held." if held else ".")
    if figures["not_tried"]:
        summary += " Not tried: " + "; ".join(f"{name} ({why})" for name, why in figures["not_tried"].items()) + "."
    short = {f"{one.attack} (campaign {one.number})": why for one in history.campaigns if (why := short_of_plan(one))}
    if short:
        summary += " Less than planned: " + "; ".join(f"{name}: {why}" for name, why in short.items()) + "."
    return Verdict("attacks", Status.PASS if tried else Status.NOT_APPLICABLE, summary, (), figures)


def _finding(claim: ClaimRecord, names: dict[int, str]) -> Finding:
    attack = names.get(claim.campaign, "")
    evidence = {**claim.evidence, "campaign": claim.campaign, "attack": attack}
    return Finding(f"attacks.{claim.rule}", f"{attack}: {claim.message}", claim.at_ns, evidence)


def undecided(claims: Iterable[ClaimRecord]) -> list[ClaimRecord]:
    """Return the claims of one campaign that could not be known, of rules that no attempt of it has decided."""
    of_attempts = [one for one in claims if one.rule not in (*ENDED_EARLY, NOT_TRIED)]
    decided = {one.rule for one in of_attempts if one.held is not None}
    return [one for one in of_attempts if one.held is None and one.rule not in decided]


def _judged(history: History, campaign: CampaignRecord) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return which of a campaign's requests a server judged, and which of them are hostile: not sure to be granted.

    What a raw connection was left in silence for, only its attack can say: it claims what that means. To an attack that
    is there to come over a limit, to be over it is an answer.
    """
    rows = history.rows()
    own = rows[rows["campaign"] == campaign.number]
    silent = (own["got"] == Answer.LOST) & (losses_of(own["status"])[0] == Loss.UNKNOWN)
    judged, _ = judge_answers(own)
    if (own["expected"] == Answer.WITHIN_LIMIT).any():
        judged |= own["got"] == Answer.RATE_LIMITED
    return judged, (own["expected"] != Answer.ACCEPTED) & ~silent


def _kept_away(history: History, campaign: CampaignRecord, unjudged: NDArray[Any]) -> int:
    """Count which of a campaign's requests that were not judged the run's own faults kept from that."""
    rows = history.rows()
    sent_ns = rows["sent_ns"][rows["campaign"] == campaign.number][unjudged]
    return int(Excused(history).covers(sent_ns).sum())


def not_tried(history: History, campaign: CampaignRecord) -> str:
    """Return why an attack could not be tried on this target; nothing when it was, or should have been."""
    if campaign.not_tried:
        return campaign.not_tried
    claims = [claim for claim in history.claims if claim.campaign == campaign.number]
    untried = [claim for claim in claims if claim.rule == NOT_TRIED]
    if untried and not campaign.completed:
        return untried[0].message
    unknown = [claim for claim in claims if claim.held is None and claim.rule not in ENDED_EARLY]
    if unknown and len(unknown) == len(claims) and not _judged(history, campaign)[0].any():
        return unknown[0].message
    return ""


def proved_nothing(history: History, campaign: CampaignRecord) -> str:
    """Return why a campaign that was to be tried proved nothing; nothing when it did."""
    if not_tried(history, campaign):
        return ""
    if not campaign.attempts:
        lost = "what became of it was not told, as a process was lost"
        return lost if lost_parts(history) else "the run ended before it began"
    if campaign.scripted and not campaign.completed:
        early = [claim for claim in history.claims if claim.campaign == campaign.number and claim.rule in ENDED_EARLY]
        return early[-1].message if early else "no attempt played to its end"
    if not campaign.completed:
        return "no victim was ever ready for it"
    return _hardly_judged(history, campaign)


def short_of_plan(campaign: CampaignRecord) -> str:
    """Return how much less a campaign sent than was planned, and why; nothing where nearly all was, or none.

    It proves what it sent, and no more: how much is enough, `attacks.sent` of a scenario's thresholds says.
    """
    if not campaign.completed or campaign.completed >= NEARLY_ALL * campaign.planned:
        return ""
    what, sent = ("attempts", "played to their end") if campaign.scripted else ("shots", "sent")
    cut = campaign.attempts - campaign.completed - campaign.unready - campaign.held_up
    held_up = "were not begun while too many were under way" if campaign.scripted else "were held up by late answers"
    reasons = [
        (campaign.unready, "found no victim ready"),
        (campaign.held_up, held_up),
        (cut, "did not play to their end"),
        (campaign.planned - campaign.attempts, "were due after the run had ended"),
    ]
    why = ", ".join(f"{count:,} {reason}" for count, reason in reasons if count > 0)
    return f"of {campaign.planned:,} planned {what} {campaign.completed:,} were {sent}: {why}"


def _hardly_judged(history: History, campaign: CampaignRecord) -> str:
    """Return why the answers to a campaign prove nothing; nothing when enough of what is hostile in it was judged.

    That what an attempt sets up was granted says nothing about what it tries. Each hostile request of a script is
    another one, so that most of them must have been judged, of those that no fault of the run's own kept from it. Shots
    are all alike, and one of them is enough.
    """
    judged, hostile = _judged(history, campaign)
    if not judged.any():
        return "none of its requests got an answer that says anything"
    tried, answered = int(hostile.sum()), int((judged & hostile).sum())
    if not tried:
        unknown = undecided(one for one in history.claims if one.campaign == campaign.number)
        return unknown[0].message if unknown else ""
    if not answered:
        return f"of {plural(tried, 'hostile request')} none got an answer that says anything"
    if campaign.scripted and 2 * answered < (could := tried - _kept_away(history, campaign, hostile & ~judged)):
        return f"of {plural(could, 'hostile request')} only {answered:,} got an answer that says anything"
    return ""
