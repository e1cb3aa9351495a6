"""A campaign's own time line: its requests by what they came to, and what it found out."""

from __future__ import annotations

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.history.records import ClaimRecord
from simulator.limits import CAMPAIGN_BARS_ALL_MAX, CAMPAIGN_BARS_MAX
from simulator.report.campaign_times import CLAIMS_SHOWN_MAX, HEIGHT, WIDTH, CampaignTime, campaign_times
from simulator.report.over_time import RunClock, clock_of
from tests.report.runs import broken, long_run, report_input, unknown


def of_broken() -> CampaignTime:
    made = report_input(broken())
    return campaign_times(made, clock_of(made))[1]


def test_it_says_when_it_sent_and_how_much_of_it_was_played() -> None:
    one = of_broken()
    assert one.first == "10.300 s, about 03:04:15.978 UTC"
    assert one.last == "14.300 s, about 03:04:19.978 UTC"
    assert one.shots == "1 of 1 shots played to their end"
    assert one.alternative == "replay.exact: 6 requests from 0:10 to 0:14, 1 of them wrong"


def test_bars_are_where_and_what_its_requests_were() -> None:
    bars = of_broken().bars
    assert {one.kind for one in bars} == {"refused", "wrong"}
    wrong = [one for one in bars if one.kind == "wrong"]
    assert len(wrong) == 1
    assert wrong[0].x / WIDTH == pytest.approx(12.7 / 40, abs=1 / CAMPAIGN_BARS_MAX)
    assert "1 wrong" in wrong[0].words
    assert all(one.y >= 0 and one.y + one.height <= HEIGHT + 1e-9 and one.x + one.width <= WIDTH + 1e-9 for one in bars)


def test_what_it_found_out_stands_with_its_moment_and_what_did_not_hold_is_never_left_out() -> None:
    run, history = broken()
    history.claims.extend(ClaimRecord(0, 1, "fine", held=True, message="as it must be") for _ in range(50))
    made = report_input((run, history))
    events = campaign_times(made, clock_of(made))[1].events
    assert len(events) == CLAIMS_SHOWN_MAX + 1
    assert ("12.000 s, about 03:04:17.678 UTC", "did not hold: what it claims") in events
    assert events[-1] == ("", "and 31 more in the history")


def test_a_campaign_that_never_began_has_none() -> None:
    made = report_input(unknown())
    assert set(campaign_times(made, RunClock(None))) == {1}


def test_bars_are_bounded_in_one_and_in_all() -> None:
    made = report_input(long_run(50, 600))
    (one,) = campaign_times(made, RunClock(None)).values()
    assert len({bar.x for bar in one.bars}) <= CAMPAIGN_BARS_MAX
    assert CAMPAIGN_BARS_MAX <= CAMPAIGN_BARS_ALL_MAX
    assert made.record.elapsed_ns == 600 * SECOND_NS
