"""The replay checker: two acceptances that were seen, of one nonce of one machine, and nothing less."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.checkers.replay import check_replay
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

NONCE = bytes(range(12))


def judged(story: Story) -> Verdict:
    return check_replay(story.history, story.facts)


def test_a_nonce_accepted_twice_is_proven_by_both_its_requests(story: Story) -> None:
    story.heartbeat(3, 1, nonce=NONCE)
    story.heartbeat(3, 2)
    story.attack(3, 4, Answer.ACCEPTED, expected=Answer.NONCE_REPLAYED, nonce=NONCE, campaign=2, took=0.5)
    verdict = judged(story)
    (finding,) = verdict.findings
    assert verdict.status is Status.FAIL
    assert finding.rule == "replay.accepted-twice"
    assert finding.message == f"machine 3 had nonce {NONCE.hex()} accepted 2 times"
    assert finding.at_ns == 4_500_000_000
    assert finding.evidence == {
        "machine": 3,
        "nonce": NONCE.hex(),
        "sent_ns": [1_000_000_000, 4_000_000_000],
        "answered_ns": [1_010_000_000, 4_500_000_000],
        "campaign": [0, 2],
    }
    assert verdict.figures == {"accepted": 3, "accepted_twice": 1}
    assert finding.message in verdict.summary


@pytest.mark.parametrize("got", [answer for answer in Answer if answer is not Answer.ACCEPTED])
@pytest.mark.parametrize("first", [True, False], ids=["first-copy", "second-copy"])
def test_a_copy_that_was_not_seen_accepted_accuses_nobody(story: Story, got: Answer, first: bool) -> None:  # noqa: FBT001 - a column of the table
    """A lost first copy may never have arrived, so that the second was new to the server."""
    copies = [got, Answer.ACCEPTED] if first else [Answer.ACCEPTED, got]
    for second, answer in enumerate(copies):
        story.heartbeat(0, second, answer, nonce=NONCE)
    assert judged(story).status is Status.PASS


def test_another_machine_may_use_the_same_nonce(story: Story) -> None:
    story.heartbeat(0, 1, nonce=NONCE)
    story.heartbeat(1, 1, nonce=NONCE)
    assert judged(story).status is Status.PASS


def test_requests_without_a_nonce_are_no_replays(story: Story) -> None:
    """Control-plane rows all carry the same empty nonce."""
    for second in range(3):
        story.request(Operation.REGISTER, 0, second, nonce=bytes(12))
        story.request(Operation.POLICY_FETCH, 0, second, nonce=bytes(12))
    assert judged(story).status is Status.NOT_APPLICABLE


@pytest.mark.parametrize("index", range(12))
def test_nonces_that_differ_in_one_byte_are_different(story: Story, index: int) -> None:
    """Whichever byte it is, and though it is zero in one of them."""
    for value in (0, 1, 255):
        story.heartbeat(0, value, nonce=NONCE[:index] + bytes([value]) + NONCE[index + 1 :])
    assert judged(story).status is Status.PASS


def test_many_replays_are_counted_and_all_are_listed(story: Story) -> None:
    for number in range(50):
        for second in (1, 2, 3):
            story.heartbeat(number, second, nonce=NONCE)
    verdict = judged(story)
    assert (verdict.figures["accepted_twice"], len(verdict.findings), verdict.found) == (50, 50, 50)
    assert "50 nonces were accepted more than once" in verdict.summary
    assert all("accepted 3 times" in finding.message for finding in verdict.findings)


@settings(deadline=None, max_examples=examples(150))
@given(
    st.lists(
        st.tuples(
            st.integers(-1, 2),
            st.sampled_from([bytes(12), bytes(11) + b"\1", b"\1" + bytes(11), b"\xff" * 12]),
            st.sampled_from([Answer.ACCEPTED, Answer.ACCEPTED, Answer.LOST, Answer.NONCE_REPLAYED]),
        ),
        max_size=12,
    ),
)
def test_it_agrees_with_counting(new_story: type[Story], sent: list[tuple[int, bytes, Answer]]) -> None:
    story = new_story()
    for second, (machine, nonce, got) in enumerate(sent):
        story.heartbeat(machine, second, got, nonce=nonce)
    counts = Counter((machine, nonce) for machine, nonce, got in sent if got is Answer.ACCEPTED)
    twice = {key: count for key, count in counts.items() if count > 1}
    verdict = judged(story)
    assert verdict.status is (Status.FAIL if twice else Status.PASS if counts else Status.NOT_APPLICABLE)
    assert verdict.figures["accepted_twice"] == len(twice)
    found = {(one.evidence["machine"], bytes.fromhex(one.evidence["nonce"])): one for one in verdict.findings}
    assert {key: len(finding.evidence["sent_ns"]) for key, finding in found.items()} == twice
