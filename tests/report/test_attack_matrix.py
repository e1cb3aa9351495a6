"""What became of each attack campaign."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.history.records import ClaimRecord
from simulator.judging.campaigns import WEAKNESS, summarise_campaigns
from simulator.judging.verdict_file import AttackSummary
from tests.checkers.conftest import Story
from tests.report.runs import campaign

REPLAYED, ACCEPTED = Answer.NONCE_REPLAYED, Answer.ACCEPTED


def summary(status: Status, note: str = "", **counts: int) -> AttackSummary:
    zero = dict.fromkeys(("sent", "refused", "accepted", "wrong", "unjudged"), 0)
    return AttackSummary(campaign=1, attack="replay.exact", status=status, note=note, **{**zero, **counts})


def claim(*, held: bool | None, message: str = "it holds", rule: str = "claimed") -> ClaimRecord:
    return ClaimRecord(0, 1, rule, held, message)


@pytest.mark.parametrize(
    ("answers", "claims", "more", "expected"),
    [
        ([(REPLAYED, REPLAYED)] * 3, [], {}, summary(Status.PASS, sent=3, refused=3)),
        (
            [(REPLAYED, REPLAYED), (REPLAYED, ACCEPTED)],
            [],
            {},
            summary(
                Status.FAIL,
                "a correct server answers 401 invalid heartbeat auth",
                sent=2,
                refused=1,
                accepted=1,
                wrong=1,
            ),
        ),
        (
            [(Answer.EITHER, ACCEPTED), (ACCEPTED, ACCEPTED)],
            [],
            {},
            summary(Status.PASS, sent=2, accepted=2),
        ),
        (
            [(Answer.WITHIN_LIMIT, Answer.RATE_LIMITED), (Answer.RATE_LIMITED, Answer.RATE_LIMITED)],
            [],
            {},
            summary(Status.PASS, sent=2, refused=2),
        ),
        (
            [(REPLAYED, Answer.RATE_LIMITED), (REPLAYED, Answer.LOST), (REPLAYED, Answer.UNAVAILABLE)],
            [],
            {},
            summary(Status.INCONCLUSIVE, "none of its requests got an answer that says anything", sent=3, unjudged=3),
        ),
        (
            [(REPLAYED, REPLAYED)],
            [claim(held=False, message="one"), claim(held=False, message="two")],
            {},
            summary(Status.FAIL, "one (and 1 more)", sent=1, refused=1),
        ),
        (
            [(ACCEPTED, ACCEPTED), (REPLAYED, Answer.RATE_LIMITED)],
            [claim(held=True)],
            {"scripted": True},
            summary(
                Status.INCONCLUSIVE,
                "of 1 hostile request none got an answer that says anything",
                sent=2,
                accepted=1,
                unjudged=1,
            ),
        ),
        (
            [(REPLAYED, REPLAYED), *[(REPLAYED, Answer.RATE_LIMITED)] * 2],
            [],
            {"scripted": True},
            summary(
                Status.INCONCLUSIVE,
                "of 3 hostile requests only 1 got an answer that says anything",
                sent=3,
                refused=1,
                unjudged=2,
            ),
        ),
        (
            [(Answer.WITHIN_LIMIT, ACCEPTED), *[(REPLAYED, Answer.RATE_LIMITED)] * 2],
            [],
            {"scripted": True},
            summary(Status.PASS, sent=3, accepted=1, unjudged=2),
        ),
        (
            [(REPLAYED, REPLAYED), (Answer.MAY_BE_REFUSED, ACCEPTED), *[(REPLAYED, Answer.UNAVAILABLE)] * 2],
            [],
            {"scripted": True},
            summary(Status.PASS, sent=4, refused=1, accepted=1, unjudged=2),
        ),
        (
            [(REPLAYED, REPLAYED), *[(REPLAYED, Answer.RATE_LIMITED)] * 2],
            [],
            {},
            summary(Status.PASS, sent=3, refused=1, unjudged=2),
        ),
        (
            [(ACCEPTED, ACCEPTED)],
            [claim(held=None, message="nobody knows"), claim(held=True, rule="other")],
            {"scripted": True},
            summary(Status.INCONCLUSIVE, "nobody knows", sent=1, accepted=1, undecided=1),
        ),
        (
            [(ACCEPTED, ACCEPTED)],
            [claim(held=None), claim(held=True), claim(held=None, rule="cut-off", message="cut off")],
            {"scripted": True},
            summary(Status.PASS, "it holds (and 1 more)", sent=1, accepted=1),
        ),
        (
            [(REPLAYED, REPLAYED)],
            [claim(held=None, message="nobody knows"), claim(held=None, rule="cut-off")],
            {"scripted": True},
            summary(Status.PASS, "nobody knows", sent=1, refused=1, undecided=1),
        ),
        ([(REPLAYED, REPLAYED)], [claim(held=True)], {}, summary(Status.PASS, sent=1, refused=1)),
        (
            [],
            [],
            {"attempts": 0, "completed": 0, "not_tried": "there is one instance only"},
            summary(Status.NOT_TRIED, "there is one instance only"),
        ),
        (
            [],
            [],
            {"attempts": 0, "completed": 0},
            summary(Status.INCONCLUSIVE, "the run ended before it began"),
        ),
    ],
)
def test_a_campaign_is_as_good_as_its_answers_and_its_claims(
    answers: list[tuple[Answer, Answer]], claims: list[ClaimRecord], more: dict[str, Any], expected: AttackSummary
) -> None:
    story = Story()
    story.heartbeat(0, 1)
    for second, (wanted, got) in enumerate(answers):
        story.attack(0, second + 2, got, expected=wanted)
    story.history.claims += claims
    story.history.campaigns.append(campaign(1, "replay.exact", **more))
    assert summarise_campaigns(story.history, ["replay.exact"], story.facts) == [expected]


def test_a_known_weakness_of_the_protocol_is_named_and_never_failed() -> None:
    story = Story()
    story.attack(0, 1, ACCEPTED, expected=Answer.UNCOVERED)
    story.history.campaigns.append(campaign(1, "weakness.unsigned-metrics"))
    (one,) = summarise_campaigns(story.history, [], story.facts)
    assert (one.status, one.accepted, one.wrong, one.note) == (Status.PASS, 1, 0, WEAKNESS)


def test_campaigns_that_the_history_does_not_name_are_the_scenarios() -> None:
    """A run that was interrupted before its attacks began."""
    names = ["replay.exact", "skew.ahead"]
    assert [
        (one.campaign, one.attack, one.note) for one in summarise_campaigns(Story().history, names, Story().facts)
    ] == [
        (1, "replay.exact", "it never began"),
        (2, "skew.ahead", "it never began"),
    ]
