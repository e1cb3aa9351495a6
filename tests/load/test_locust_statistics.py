"""Tallies in Locust's own statistics: what it shows is what it would show had it logged every request by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.judging.tally import UNKNOWN
from tests.load.locust_side import LocustSide, locust_side
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES = [("POST", "heartbeat"), ("GET", "policy fetch"), ("ATTACK", "replay.exact"), ("GET", "heartbeat")]
FAILURES = ["", "", "refused: rate limited", "accepted: accepted"]
SHOWN_BY_LOCUST = [*range(100), *range(100, 1000, 10), *range(1000, 10_000, 100), *range(10_000, 60_001, 1000)]
"""Milliseconds as Locust rounds them."""


def requests_of(milliseconds: st.SearchStrategy[float]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """Make up pieces of requests."""
    one = st.builds(
        lambda line, time, failure: {"method": line[0], "name": line[1], "milliseconds": time, "failure": failure},
        st.sampled_from(LINES),
        st.none() | milliseconds,
        st.sampled_from(FAILURES),
    )
    return st.lists(st.lists(one, min_size=1, max_size=25), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def locust() -> Iterator[LocustSide]:
    with locust_side() as side:
        yield side


@settings(deadline=None)
@given(pieces=requests_of(st.sampled_from(SHOWN_BY_LOCUST).map(float)))
def test_everything_that_locust_shows_is_as_if_it_had_logged_each_request(
    locust: LocustSide, pieces: list[list[dict[str, Any]]]
) -> None:
    """Counts, failures and their texts, shortest, longest, mean, median and percentiles, by line and in total."""
    reported = locust.ask("merge", pieces=pieces)
    assert reported["merged"] == reported["logged"]


@settings(deadline=None)
@given(pieces=requests_of(st.integers(0, 60_000_000_000).map(lambda ns: ns / 1e6)))
def test_times_between_those_that_locust_shows_are_rounded_as_it_does_or_up_by_one(
    locust: LocustSide, pieces: list[list[dict[str, Any]]]
) -> None:
    """A histogram's durations are up to 1/1024 too high, which at the edge of a rounding is the next number."""
    reported = locust.ask("merge", pieces=pieces)
    for ours, theirs in [
        (reported["merged"]["total"], reported["logged"]["total"]),
        *(
            (reported["merged"]["lines"][line], reported["logged"]["lines"][line])
            for line in reported["logged"]["lines"]
        ),
    ]:
        for name in ("requests", "lost", "failures", "least", "most"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-6), name
        assert ours["mean"] == pytest.approx(theirs["mean"], abs=1e-5)
        for shown, exact in zip(ours["percentiles"], theirs["percentiles"], strict=True):
            assert exact <= shown <= next((one for one in SHOWN_BY_LOCUST if one > exact), exact + 1000)


@settings(deadline=None, max_examples=examples(30))
@given(pieces=requests_of(st.sampled_from(SHOWN_BY_LOCUST).map(float)))
def test_counts_by_line_are_those_that_go_to_the_history(
    locust: LocustSide, pieces: list[list[dict[str, Any]]]
) -> None:
    reported = locust.ask("merge", pieces=pieces)
    every = [one for piece in pieces for one in piece]
    assert sorted(map(tuple, reported["counts"])) == sorted(
        (
            method,
            name,
            sum((one["method"], one["name"]) == (method, name) for one in every),
            sum(
                (one["method"], one["name"]) == (method, name) and (one["milliseconds"] is None or bool(one["failure"]))
                for one in every
            ),
        )
        for method, name in {(one["method"], one["name"]) for one in every}
    )


def test_each_report_counts_in_its_second() -> None:
    """So Locust's charts show when it was, and a second without failures has none."""
    request = {"method": "POST", "name": "heartbeat", "milliseconds": 3.0, "failure": ""}
    lost = {**request, "milliseconds": None}
    with locust_side() as side:
        reported = side.ask("merge", pieces=[[request, request], [request, lost, lost]])
    first, second = 1_700_000_000, 1_700_000_001
    assert reported["by_second"] == [[first, 2], [second, 3]]
    assert reported["failed_by_second"] == [[second, 2]]
    assert reported["last"] == second + 0.5
    assert reported["merged"]["errors"] == [["POST", "heartbeat", UNKNOWN, 2]]
