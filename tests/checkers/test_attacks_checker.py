"""What attacks claim is judged, and a campaign that proves nothing is never a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.attacks import check_attacks
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.history.records import CampaignRecord, ClaimRecord, Fault
from simulator.judging.campaigns import summarise_campaigns
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

SCRIPT = CampaignRecord(1, "revoke.race", scripted=True, attempts=1, completed=1)
SHOTS = CampaignRecord(1, "replay.exact", scripted=False, attempts=5, completed=5)


HELD = {"held": True, "broken": False, "unknown": None}


def claim(state: str, rule: str = "stopped", **more: Any) -> ClaimRecord:
    fields = {"at_ns": 5, "campaign": 1, "rule": rule, "held": HELD[state], "message": f"{rule} {state}", **more}
    return ClaimRecord(**fields)


def test_without_attacks_there_is_nothing_to_check(story: Story) -> None:
    assert check_attacks(story.history, story.facts).status is Status.NOT_APPLICABLE


def test_a_claim_that_did_not_hold_fails_with_its_evidence(story: Story) -> None:
    """The finding names the attack, and carries what the script saw."""
    story.history.campaigns = [SCRIPT]
    story.history.claims = [claim("held"), claim("broken", evidence={"accepted_after_ns": 7})]
    verdict = check_attacks(story.history, story.facts)
    assert verdict.status is Status.FAIL
    (finding,) = verdict.findings
    assert (finding.rule, finding.at_ns) == ("attacks.stopped", 5)
    assert finding.message == "revoke.race: stopped broken"
    assert finding.evidence == {"campaign": 1, "attack": "revoke.race", "accepted_after_ns": 7}


def test_each_kind_of_broken_claim_is_shown_before_more_of_the_same(story: Story) -> None:
    story.history.campaigns = [SCRIPT]
    story.history.claims = [
        *(claim("broken", "often", at_ns=number) for number in range(40)),
        claim("broken", "seldom", at_ns=999),
    ]
    verdict = check_attacks(story.history, story.facts)
    assert len(verdict.findings) == verdict.found == 41
    assert [finding.rule for finding in verdict.findings[:2]] == ["attacks.often", "attacks.seldom"]
    assert verdict.figures["claims_broken"] == 41


@pytest.mark.parametrize("state", ["held", "unknown"])
def test_claims_that_hold_or_could_not_be_known_accuse_nobody(story: Story, state: str) -> None:
    story.history.campaigns = [SCRIPT]
    story.history.claims = [claim(state)]
    story.attack(0, 1, Answer.NONCE_REPLAYED)
    assert check_attacks(story.history, story.facts).status is Status.PASS


@pytest.mark.parametrize(("others", "status"), [([], Status.NOT_APPLICABLE), ([SHOTS], Status.PASS)])
def test_an_attack_that_cannot_be_tried_here_is_named_and_counts_for_nothing(
    story: Story, others: list[CampaignRecord], status: Status
) -> None:
    """Where no attack could be tried there is nothing to check."""
    why = "the target has no IPv6 address"
    campaign = CampaignRecord(2, "limit.ipv6-rotate", scripted=True, attempts=0, completed=0, not_tried=why)
    story.history.campaigns = [*others, campaign]
    story.attack(0, 1, Answer.NONCE_REPLAYED)
    verdict = check_attacks(story.history, story.facts)
    assert verdict.status is status
    assert verdict.summary.startswith(f"{plural(len(others), 'campaign')} ran.")
    assert "limit.ipv6-rotate (the target has no IPv6 address)" in verdict.summary


def test_an_attack_that_only_finds_that_it_cannot_know_counts_as_not_tried(story: Story) -> None:
    story.history.campaigns = [SCRIPT]
    story.history.claims = [claim("unknown", "expiry", message="no certificate expires within this run")]
    verdict = check_attacks(story.history, story.facts)
    assert verdict.status is Status.NOT_APPLICABLE
    assert verdict.figures["not_tried"] == {"revoke.race": "no certificate expires within this run"}


@pytest.mark.parametrize(
    ("campaign", "claims", "why"),
    [
        (CampaignRecord(1, "a", scripted=True, attempts=0, completed=0), [], "before it began"),
        (CampaignRecord(1, "a", scripted=False, attempts=9, completed=0), [], "no victim was ever ready"),
        (
            CampaignRecord(1, "a", scripted=True, attempts=2, completed=0),
            [claim("unknown", "cut-off")],
            "cut-off unknown",
        ),
        (
            CampaignRecord(1, "a", scripted=True, attempts=2, completed=0),
            [claim("unknown", "unsettled")],
            "unsettled unknown",
        ),
        (SHOTS, [], "none of its requests got an answer"),
    ],
)
def test_a_campaign_that_proves_nothing_is_inconclusive_and_says_why(
    story: Story, campaign: CampaignRecord, claims: list[ClaimRecord], why: str
) -> None:
    story.history.campaigns = [campaign]
    story.history.claims = claims
    story.attack(0, 1, Answer.LOST, expected=Answer.NONCE_REPLAYED)
    verdict = check_attacks(story.history, story.facts)
    assert verdict.status is Status.INCONCLUSIVE
    assert why in verdict.summary


def test_one_attempt_that_played_to_its_end_is_enough(story: Story) -> None:
    """The end of the run cuts off the last attempts of every campaign."""
    story.history.campaigns = [CampaignRecord(1, "a", scripted=True, attempts=3, completed=1)]
    story.history.claims = [claim("unknown", "cut-off"), claim("unknown", "cut-off")]
    story.attack(0, 1, Answer.NONCE_REPLAYED)
    assert check_attacks(story.history, story.facts).status is Status.PASS


@pytest.mark.parametrize("in_fault", [False, True])
def test_a_campaign_is_held_to_what_no_fault_of_the_runs_own_kept_from_an_answer(
    story: Story, *, in_fault: bool
) -> None:
    """As after a flush of Redis, when a right server refuses for three minutes."""
    story.history.campaigns = [SCRIPT]
    if in_fault:
        at_ns = 10 * SECOND_NS
        story.history.faults.append(Fault("redis.flush", at_ns, at_ns, at_ns, at_ns))
    for at in range(1, 4):
        story.attack(0, at, Answer.NONCE_REPLAYED, expected=Answer.NONCE_REPLAYED)
    for at in range(12, 22):
        story.attack(0, at, Answer.UNAVAILABLE, expected=Answer.NONCE_REPLAYED, status=503)
    verdict = check_attacks(story.history, story.facts)
    assert verdict.status is (Status.PASS if in_fault else Status.INCONCLUSIVE), verdict.summary
    assert in_fault or "of 13 hostile requests only 3 got an answer" in verdict.summary
    for at in (5, 6, 7, 8):
        story.attack(0, at, Answer.UNAVAILABLE, expected=Answer.NONCE_REPLAYED, status=503)
    assert check_attacks(story.history, story.facts).status is Status.INCONCLUSIVE


SHORT = CampaignRecord(1, "replay.exact", scripted=False, attempts=30, completed=9, planned=40, held_up=1, unready=20)


@pytest.mark.parametrize(
    ("campaign", "wording"),
    [
        (
            SHORT,
            (
                "of 40 planned shots 9 were sent: 20 found no victim ready, 1 were held up by late answers, "
                "10 were due after the run had ended"
            ),
        ),
        (
            CampaignRecord(1, "a", scripted=True, attempts=10, completed=3, planned=10, held_up=5),
            (
                "of 10 planned attempts 3 were played to their end: 5 were not begun while too many were under way, "
                "2 did not play to their end"
            ),
        ),
        (CampaignRecord(1, "a", scripted=False, attempts=40, completed=36, planned=40, unready=4), ""),
        (SHOTS, ""),
    ],
    ids=["shots", "attempts", "nearly all", "of before plans were noted"],
)
def test_a_campaign_that_sent_less_than_planned_passes_and_says_how_much_and_why(
    story: Story, campaign: CampaignRecord, wording: str
) -> None:
    """In the checker's line and in the campaign's own: it proves what it sent."""
    story.history.campaigns = [campaign]
    story.attack(0, 1, Answer.NONCE_REPLAYED)
    verdict = check_attacks(story.history, story.facts)
    (line,) = summarise_campaigns(story.history, [campaign.attack], story.facts)
    assert (verdict.status, line.status) == (Status.PASS, Status.PASS)
    assert verdict.summary == (
        "1 campaign ran." + (f" Less than planned: {campaign.attack} (campaign 1): {wording}." * bool(wording))
    )
    assert line.note == wording
