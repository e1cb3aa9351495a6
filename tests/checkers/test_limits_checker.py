"""The limits checker: more than a token bucket can have held, or a refusal it cannot have given, and nothing less."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.checkers.facts import SHARED, UNKNOWN
from simulator.checkers.limits import check_limits
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.contract.profiles import Profile
from simulator.judging.advisories import judge_by
from tests.support.tiers import examples

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

CLIENT, OTHER = 127 << 16 | 5, 16 << 16 | 6
BURST, REFILL = 20, 5.0


@pytest.fixture
def limited(new_story: type[Story]) -> Story:
    """A server with the contract's limit, and nobody else who asks it anything."""
    return new_story(rate_limit_burst=BURST, rate_limit_refill_per_second=REFILL, only_client=True)


def judged(story: Story) -> Verdict:
    return check_limits(story.history, story.facts)


def rules(story: Story) -> list[str]:
    return [finding.rule.removeprefix("limits.") for finding in judged(story).findings]


def send(story: Story, *moments: float, took: float = 0.01, source: int = CLIENT, **more: Any) -> None:
    for at in moments:
        story.heartbeat(1, at, took=took, source=source, **more)


def burst(at: float, count: int) -> list[float]:
    return [at + number / 1000 for number in range(count)]


def test_one_more_than_a_burst_is_proven_by_its_span(limited: Story) -> None:
    send(limited, *burst(10, BURST))
    assert rules(limited) == []
    send(limited, 10.02)
    verdict = judged(limited)
    (finding,) = verdict.findings
    assert (verdict.status, finding.rule) == (Status.FAIL, "limits.too-many")
    assert finding.evidence == {
        "client": "127.127.0.5",
        "first_sent_ns": 10_000_000_000,
        "last_answered_ns": 10_030_000_000,
        "passed": 21,
        "allowed": 20,
        "campaigns": [0],
        "campaign": 0,
    }
    assert verdict.figures == {
        "violations": 1,
        "passed": 21,
        "rate_limited": 0,
        "burst": BURST,
        "refill_per_second": REFILL,
    }
    assert finding.message in verdict.summary
    assert "20 at once and 5 a second" in verdict.summary


def test_what_was_refilled_meanwhile_is_allowed(limited: Story) -> None:
    """A full burst and the refill of ten seconds; one more in the same time is too many."""
    send(limited, *burst(10, BURST), *(10 + number / REFILL for number in range(1, 51)))
    assert rules(limited) == []
    send(limited, 19.5)
    assert rules(limited) == ["too-many"]
    assert judged(limited).findings[0].evidence["passed"] in range(69, 72)


def test_two_bursts_around_the_edge_of_a_window_are_too_many(limited: Story) -> None:
    """As a limiter with fixed windows of one second would let through."""
    send(limited, *burst(10.9, BURST), *burst(11.05, BURST))
    assert rules(limited) == ["too-many"]


@pytest.mark.parametrize("took", [5, 8])
def test_requests_that_waited_may_have_been_let_through_late(limited: Story, took: float) -> None:
    """Sent at once, but nobody knows when within their seconds they took effect: 25 more were refilled by then."""
    send(limited, *burst(10, 45), took=took)
    assert rules(limited) == []


def test_slow_answers_among_them_hide_nothing(limited: Story) -> None:
    send(limited, *burst(10, 22))
    send(limited, *burst(10, 22), took=30)
    assert rules(limited) == ["too-many"]


def test_each_client_has_a_bucket_of_its_own(limited: Story) -> None:
    for source in range(1, 30):
        send(limited, *burst(10, BURST), source=source)
    assert rules(limited) == []
    send(limited, *burst(10.02, 1), source=4)
    send(limited, *burst(10.02, 1), source=9)
    assert rules(limited) == ["too-many"] * 2


def test_those_that_share_an_address_are_one_client(limited: Story) -> None:
    for machine in range(BURST + 1):
        limited.heartbeat(machine, 10 + machine / 1000)
    assert rules(limited) == ["too-many"]
    assert "the address that all share" in judged(limited).summary


def test_a_network_of_ipv6_is_one_client_too(limited: Story) -> None:
    send(limited, *burst(10, BURST + 1), source=-2)
    assert "one IPv6 network got 21 requests through" in judged(limited).summary


@pytest.mark.parametrize("status", [0, 408, 413, 414, 426, 429, 431, 500, 503])
def test_what_may_never_have_reached_the_limiter_is_not_counted(limited: Story, status: int) -> None:
    got = Answer.RATE_LIMITED if status == 429 else Answer.UNAVAILABLE
    send(limited, *burst(10, BURST))
    send(limited, *burst(10.05, BURST), got=got, status=status)
    assert rules(limited) == []


def test_a_lost_answer_accuses_nobody(limited: Story) -> None:
    send(limited, *burst(10, BURST))
    send(limited, *burst(10, BURST), got=Answer.LOST)
    assert rules(limited) == []


def test_requests_without_a_name_count_only_when_their_sender_knew_that_they_do(limited: Story) -> None:
    """They may be preflight requests, which are not limited, or bytes that are no request."""
    for at in burst(10, 2 * BURST):
        limited.request(Operation.OTHER, -1, at, source=CLIENT)
    assert rules(limited) == []
    for at in burst(10, BURST + 1):
        limited.request(Operation.OTHER, -1, at, Answer.ACCEPTED, expected=Answer.WITHIN_LIMIT, source=CLIENT)
    assert rules(limited) == ["too-many"]


def test_a_client_far_below_its_rate_must_not_be_refused(limited: Story) -> None:
    send(limited, *range(0, 40, 2))
    send(limited, 41, got=Answer.RATE_LIMITED, status=429)
    verdict = judged(limited)
    (finding,) = verdict.findings
    assert finding.rule == "limits.too-few"
    assert finding.evidence == {
        "client": "127.127.0.5",
        "machine": 1,
        "campaign": 0,
        "sent_ns": 41_000_000_000,
        "answered_ns": 41_010_000_000,
        "used_at_most": 1,
        "burst": BURST,
        "wrongly_refused": 1,
    }


def refused_after(story: Story, requests: int, gap: float = 0.1, **more: Any) -> list[str]:
    send(story, *burst(10, requests), **more)
    send(story, 10 + gap, got=Answer.RATE_LIMITED, status=429)
    return rules(story)


def test_whoever_may_have_used_its_bucket_up_may_be_refused(limited: Story) -> None:
    assert refused_after(limited, BURST) == []


def test_whoever_surely_had_a_token_left_may_not(limited: Story) -> None:
    assert refused_after(limited, BURST - 1) == ["too-few"]


@pytest.mark.parametrize(("gap", "found"), [(3.9, []), (4.1, ["too-few"])], ids=["not yet full", "full again"])
def test_a_bucket_is_full_again_after_its_time(limited: Story, gap: float, found: list[str]) -> None:
    assert refused_after(limited, BURST, gap=gap) == found


@pytest.mark.parametrize("got", [Answer.LOST, Answer.UNAVAILABLE, Answer.INVALID_TOKEN])
def test_whatever_may_have_taken_a_token_counts(limited: Story, got: Answer) -> None:
    assert refused_after(limited, BURST, got=got, status=0) == []


def test_a_fetch_may_have_been_sent_twice(limited: Story) -> None:
    for at in burst(10, BURST // 2):
        limited.request(Operation.POLICY_FETCH, 1, at, source=CLIENT)
    assert refused_after(limited, 0) == []


def test_a_refusal_takes_no_token(limited: Story) -> None:
    send(limited, *burst(10, BURST - 1))
    send(limited, *burst(10.05, 50), got=Answer.RATE_LIMITED, status=429)
    verdict = judged(limited)
    assert rules(limited) == ["too-few"]
    assert verdict.findings[0].evidence["wrongly_refused"] == 50
    assert verdict.figures["rate_limited"] == 50


@pytest.mark.parametrize("why", ["shared address", "requests without a name", "other clients", "answer lost"])
def test_refusals_are_only_judged_where_every_request_is_known(new_story: type[Story], why: str) -> None:
    others = {"only_client": False, "addresses": SHARED} if why == "other clients" else {"only_client": True}
    story = new_story(rate_limit_burst=BURST, rate_limit_refill_per_second=REFILL, **others)
    source = -1 if why == "shared address" else CLIENT
    if why == "requests without a name":
        story.request(Operation.OTHER, -1, 1, source=source)
    send(story, 10, got=Answer.LOST if why == "answer lost" else Answer.RATE_LIMITED, status=429, source=source)
    assert rules(story) == []


@pytest.mark.parametrize(("at", "found"), [(3.9, []), (4.1, ["too-few"])])
def test_a_target_that_others_have_started_is_judged_once_its_buckets_are_full(
    new_story: type[Story], at: float, found: list[str]
) -> None:
    """What its clients used before the run nobody here knows."""
    story = new_story(rate_limit_burst=BURST, rate_limit_refill_per_second=REFILL)
    send(story, at, got=Answer.RATE_LIMITED, status=429)
    assert rules(story) == found


def test_a_target_that_may_see_all_at_one_address_is_in_doubt(new_story: type[Story]) -> None:
    """By a profile that asks for no such rate, it is no more than an advisory."""
    story = new_story(rate_limit_burst=BURST, rate_limit_refill_per_second=REFILL, addresses=UNKNOWN)
    send(story, 10, got=Answer.RATE_LIMITED, status=429)
    verdict = judged(story)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.findings[0].message.startswith("if the server tells addresses apart: 127.")
    published, hardened = (judge_by(profile, [verdict], {}, ()) for profile in Profile)
    assert [one.status for one in published.checkers] == [Status.PASS]
    assert [one.finding for one in published.advisories] == ["limits.too-few"]
    assert (hardened.checkers, hardened.advisories) == ([verdict], [])


@pytest.mark.parametrize("unknown", ["rate_limit_burst", "rate_limit_refill_per_second"])
def test_nothing_is_known_without_the_servers_settings(new_story: type[Story], unknown: str) -> None:
    known: dict[str, Any] = {"rate_limit_burst": BURST, "rate_limit_refill_per_second": REFILL, unknown: None}
    story = new_story(**known)
    send(story, *burst(10, 100))
    verdict = judged(story)
    assert (verdict.status, verdict.figures) == (Status.INCONCLUSIVE, {})


def test_a_run_without_answers_proves_nothing(limited: Story) -> None:
    send(limited, 1, got=Answer.LOST)
    assert judged(limited).status is Status.INCONCLUSIVE


def test_a_run_within_its_limits_says_what_was_refused(limited: Story) -> None:
    send(limited, *burst(10, BURST))
    send(limited, 10.1, got=Answer.RATE_LIMITED, status=429)
    verdict = judged(limited)
    assert verdict.status is Status.PASS
    assert "1 requests were refused as too many" in verdict.summary


@settings(deadline=None, max_examples=examples(200))
@example(requests=[(0, 0), (0, 0), (0, 4), (4, 0)], bucket_size=2)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=14), st.integers(1, 3))
def test_it_finds_what_looking_at_every_span_finds(
    new_story: type[Story], requests: list[tuple[int, int]], bucket_size: int
) -> None:
    """All that was sent and answered within a span, for every span: but for one token, or those of half a request.

    That is the price of being quick.
    """
    story = new_story(rate_limit_burst=bucket_size, rate_limit_refill_per_second=1.0)
    for at, took in requests:
        send(story, at / 4, took=took / 4)
    ends = [(at / 4, (at + took) / 4) for at, took in requests]
    starts = [sent for sent, _ in ends]
    excess = max(
        sum(first <= sent and answered <= last for sent, answered in ends) - bucket_size - max(0, last - first) * 1.0005
        for first in starts
        for last in (answered for _, answered in ends)
        if last >= first
    )
    found = bool(rules(story))
    assert not (found and excess <= 0)
    longest = max(answered - sent for sent, answered in ends)
    assert found or excess <= max(1.0, longest / 2) + 0.001
