"""What the server had seen before the run, and what it may have forgotten when it started anew, accuses nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from simulator.history.records import Fault

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

FORGED, REPLAYED = Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED


@pytest.fixture
def used(new_story: type[Story], page: Any) -> Story:
    """A run against a server with five workers, one never heard from, and seven failures, two of them recent."""
    figures = {"workers": 5, "unknown": 1, "stale": 2, "recent": 2, "reasons": {FORGED: 4, REPLAYED: 3}}
    story = new_story(baseline=page(100, **figures))
    story.register(0, 1)
    story.heartbeat(0, 2)
    story.attack(0, 3, FORGED)
    return story


@pytest.mark.parametrize("unknown", [0, 1])
@pytest.mark.parametrize("stale", [0, 5])
@pytest.mark.parametrize("recent", [1, 3])
def test_workers_and_failures_from_before_may_still_change(used: Story, unknown: int, stale: int, recent: int) -> None:
    """Old workers fall silent or come back as they like, and old failures leave the window at a time of their own."""
    used.scrape(5, workers=6, unknown=unknown, stale=stale, recent=recent, reasons={FORGED: 5, REPLAYED: 3})
    assert used.rules() == []


@pytest.mark.parametrize(
    ("wrong", "rules"),
    [
        ({"workers": 5}, {"workers"}),
        ({"workers": 7}, {"workers"}),
        ({"unknown": 2}, {"unknown"}),
        ({"stale": 6}, {"stale"}),
        ({"recent": 0}, {"recent"}),
        ({"recent": 4}, {"recent"}),
        ({"reasons": {FORGED: 4, REPLAYED: 3}}, {"failures", "by-reason"}),
        ({"reasons": {FORGED: 5, REPLAYED: 2}}, {"failures", "by-reason", "backwards"}),
    ],
)
def test_what_was_before_does_not_excuse_what_is_wrong(used: Story, wrong: dict[str, Any], rules: set[str]) -> None:
    right = {"workers": 6, "unknown": 1, "stale": 2, "recent": 1, "reasons": {FORGED: 5, REPLAYED: 3}}
    used.scrape(5, **{**right, **wrong})
    assert set(used.rules()) == rules


def eventful(story: Story) -> None:
    """Two workers, one of them stale at 15 s, and three recent failures."""
    for machine in (0, 1):
        story.register(machine, machine)
        story.heartbeat(machine, 2 + machine)
    story.heartbeat(1, 9)
    for second in (10, 11, 12):
        story.attack(1, second, FORGED)
    story.scrape(15, workers=2, stale=1, recent=3, reasons={FORGED: 3})


@pytest.mark.parametrize(
    "remembered",
    [
        {},
        {"workers": 2, "stale": 1},
        {"workers": 2, "unknown": 2},
        {"workers": 2, "stale": 2},
        {"workers": 2, "recent": 3},
        {"workers": 2, "stale": 1, "recent": 3, "reasons": {FORGED: 3}},
    ],
)
@pytest.mark.parametrize("uptime", [0, 0.5, 3, 115.9])
def test_a_server_that_started_anew_may_have_forgotten(story: Story, uptime: float, remembered: dict[str, Any]) -> None:
    """Its uptime shows it; what a restart must not lose is not for this checker to say."""
    eventful(story)
    failures = sum(remembered.get("reasons", {}).values())
    story.scrape(18, uptime=uptime, **{"failures": failures, **remembered})
    verdict = story.alerts()
    assert (verdict.status, verdict.findings) == (Status.PASS, ())
    assert verdict.figures["restarts"] == 1
    assert "started anew before 18.000s" in verdict.summary


@pytest.mark.parametrize("uptime", [118, 117.02, 118.9])
def test_a_counter_reset_without_a_restart_is_proven(story: Story, uptime: float) -> None:
    """A server that shows its uptime in whole seconds is still known to be the same one."""
    eventful(story)
    story.scrape(18, uptime=uptime, workers=2, stale=1, recent=3)
    assert set(story.rules()) == {"failures", "by-reason", "backwards"}
    assert story.alerts().figures["restarts"] == 0


def test_an_uptime_that_grows_by_more_than_the_time_that_passed_is_proven(story: Story) -> None:
    """What a leap of the server's monotonic clock does to staleness and windows is told with its cause."""
    story.scrape(10, uptime=110)
    story.scrape(18, uptime=118.9)
    assert story.alerts().status is Status.PASS
    story.scrape(28, uptime=730)
    (finding,) = story.alerts().findings
    assert finding.rule == "alerts.leap"
    assert "grown by 611.1 within" in finding.message


def test_servers_behind_one_address_that_take_turns_are_not_said_to_leap(story: Story) -> None:
    for second, uptime in ((10, 110), (12, 5000), (14, 114), (16, 5004)):
        story.scrape(second, uptime=uptime)
    assert "leap" not in story.rules()


@pytest.mark.parametrize(("instances", "rules"), [(1, {"leap"}), (2, {"leap", "backwards"})])
def test_a_restart_of_another_instance_than_is_scraped_hides_nothing_of_this_one(
    story: Story, instances: int, rules: set[str]
) -> None:
    """Of one server alone a new process may be as old as the last when a scrape is answered, and counts anew."""
    story.facts = msgspec.structs.replace(story.facts, instances=instances, durable=True)
    eventful(story)
    at_ns = 18 * SECOND_NS
    story.history.faults.append(Fault("server.kill", at_ns, at_ns, at_ns + SECOND_NS, at_ns + SECOND_NS))
    story.scrape(20, uptime=120, workers=2, stale=2)
    story.scrape(21, uptime=180, workers=2, stale=2)
    assert {*story.rules()} & {"leap", "backwards"} == rules


def test_a_slow_clock_is_no_restart(story: Story) -> None:
    """After hours without a scrape a server's uptime may lag by what two clocks may differ."""
    eventful(story)
    story.scrape(10_000, uptime=100 + 10_000 * (1 - 500e-6), workers=2, stale=2)
    assert story.alerts().figures["restarts"] == 0
    assert "backwards" in story.rules()


def test_a_restarted_server_still_invents_nothing(story: Story) -> None:
    """Upper bounds, sums, gauges and later resets are judged as before."""
    eventful(story)
    story.scrape(18, uptime=1, workers=3, stale=1, stale_alert=0, recent=4, reasons={FORGED: 4}, failures=5)
    story.scrape(19, uptime=2, workers=2, reasons={FORGED: 2})
    rules = story.rules()
    assert {"workers", "recent", "failures", "by-reason", "sum", "stale-gauge", "backwards"} == set(rules)


def test_a_restart_that_its_own_uptime_outgrew_is_noticed(story: Story) -> None:
    """Nobody looked for a while; the new uptime is longer than the old one was, but shorter than it had to be."""
    eventful(story)
    story.scrape(400, uptime=300, workers=2)
    assert (story.rules(), story.alerts().figures["restarts"]) == ([], 1)


def test_a_restart_since_the_baseline_is_noticed(story: Story) -> None:
    """The page from before the run counts as read when the run began."""
    story.register(0, 1)
    story.scrape(30, uptime=120)
    assert (story.rules(), story.alerts().figures["restarts"]) == ([], 1)


def test_gauges_beside_the_counters_may_fall(story: Story) -> None:
    """Only what is named a total counts up; a server may publish more about auth failures than the contract has."""
    name = "hatchfarm_worker_auth_failures_last_minute"
    story.scrape(5, extra={name: 7.0})
    story.scrape(6, extra={name: 2.0})
    assert story.rules() == []


def test_an_additional_counter_must_not_fall(story: Story) -> None:
    name = "hatchfarm_worker_auth_failures_logged_total"
    story.scrape(5, extra={name: 7.0})
    story.scrape(6, extra={name: 2.0})
    assert story.rules() == ["backwards"]
