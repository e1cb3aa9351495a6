"""Hand-written histories in which the server errs, each beside the same history with a server that is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checkers.conftest import Story

FORGED, REPLAYED, TOKEN = Answer.INVALID_SIGNATURE, Answer.NONCE_REPLAYED, Answer.INVALID_TOKEN


def one_falls_silent(story: Story) -> None:
    """Machine 0 beats at 1 s and comes back at 20 s; machine 1 beats throughout."""
    story.register(0, 0)
    story.register(1, 0.5)
    story.heartbeat(0, 1)
    for second in range(1, 30, 2):
        story.heartbeat(1, second)
    story.heartbeat(0, 20)


def a_machine_that_never_beats(story: Story) -> None:
    story.register(0, 0)
    story.register(1, 0.5)
    story.heartbeat(1, 1)


def four_attacks(story: Story) -> None:
    """Failures at 1, 2, 3 and 4 s against a threshold of 3 and a window of 20 s: recent until 21 to 24 s."""
    story.register(0, 0)
    story.heartbeat(0, 0.5)
    for second in range(2, 30, 2):
        story.heartbeat(0, second)
    for second, reason in enumerate((FORGED, REPLAYED, FORGED, FORGED), 1):
        story.attack(0, second, reason)


def an_unclear_answer(story: Story) -> None:
    """An answer that leaves open whether a failure was counted, and under which reason."""
    story.register(0, 0)
    story.attack(0, 1, Answer.UNEXPECTED, expected=FORGED)


TWO = {"workers": 2}
ONE = {"workers": 1}
ALL_FOUR = {**ONE, "recent": 4, "reasons": {FORGED: 3, REPLAYED: 1}}


@dataclass(frozen=True)
class Fault:
    """What a server that errs shows in its scrapes, where one that is right shows something else."""

    name: str
    tell: Callable[[Story], None]
    rule: str
    wrong: dict[float, dict[str, Any]]
    right: dict[float, dict[str, Any]]
    first_wrong_at: float
    numbers: tuple[str, ...]
    others: frozenset[str] = field(default=frozenset())
    """Rules that the same error breaks besides."""


FAULTS = (
    Fault(
        "a stale alert that never fires",
        one_falls_silent,
        "stale",
        wrong={5: TWO, 12: TWO, 15: TWO, 19: TWO},
        right={5: TWO, 12: {**TWO, "stale": 1}, 15: {**TWO, "stale": 1}, 19: {**TWO, "stale": 1}},
        first_wrong_at=12,
        numbers=("was 0", "1 to 1"),
        others=frozenset({"silent"}),
    ),
    Fault(
        "a stale alert that fires late",
        one_falls_silent,
        "stale",
        wrong={10: TWO, 12: TWO, 14: {**TWO, "stale": 1}},
        right={10: TWO, 12: {**TWO, "stale": 1}, 14: {**TWO, "stale": 1}},
        first_wrong_at=12,
        numbers=("was 0", "1 to 1"),
    ),
    Fault(
        "a stale alert that fires early",
        one_falls_silent,
        "stale",
        wrong={10: {**TWO, "stale": 1}, 12: {**TWO, "stale": 1}},
        right={10: TWO, 12: {**TWO, "stale": 1}},
        first_wrong_at=10,
        numbers=("was 1", "0 to 0"),
    ),
    Fault(
        "a stale alert that does not clear",
        one_falls_silent,
        "stale",
        wrong={19: {**TWO, "stale": 1}, 21: {**TWO, "stale": 1}},
        right={19: {**TWO, "stale": 1}, 21: TWO},
        first_wrong_at=21,
        numbers=("was 1", "0 to 0"),
    ),
    Fault(
        "a worker that was never heard from counted as stale",
        a_machine_that_never_beats,
        "unknown",
        wrong={5: {**TWO, "stale": 1}},
        right={5: {**TWO, "unknown": 1}},
        first_wrong_at=5,
        numbers=("was 0", "1 to 1"),
        others=frozenset({"stale"}),
    ),
    Fault(
        "a worker that stays unknown though it was heard from",
        one_falls_silent,
        "unknown",
        wrong={5: {**TWO, "unknown": 1}},
        right={5: TWO},
        first_wrong_at=5,
        numbers=("was 1", "0 to 0"),
    ),
    Fault(
        "a registration that is not counted",
        one_falls_silent,
        "workers",
        wrong={5: ONE},
        right={5: TWO},
        first_wrong_at=5,
        numbers=("was 1", "2 to 2"),
    ),
    Fault(
        "a failure counted twice",
        four_attacks,
        "failures",
        wrong={5: {**ONE, "recent": 4, "reasons": {FORGED: 4, REPLAYED: 1}}},
        right={5: ALL_FOUR},
        first_wrong_at=5,
        numbers=("was 5", "4 to 4"),
        others=frozenset({"by-reason"}),
    ),
    Fault(
        "a failure counted not at all",
        four_attacks,
        "failures",
        wrong={5: {**ONE, "recent": 4, "reasons": {FORGED: 2, REPLAYED: 1}}},
        right={5: ALL_FOUR},
        first_wrong_at=5,
        numbers=("was 3", "4 to 4"),
        others=frozenset({"by-reason"}),
    ),
    Fault(
        "a failure counted under another reason",
        four_attacks,
        "by-reason",
        wrong={5: {**ONE, "recent": 4, "reasons": {FORGED: 3, TOKEN: 1}}},
        right={5: ALL_FOUR},
        first_wrong_at=5,
        numbers=("was 1", "0 to 0"),
    ),
    Fault(
        "a total that is not the sum of its reasons",
        an_unclear_answer,
        "sum",
        wrong={5: {**ONE, "unknown": 1, "failures": 1}},
        right={5: {**ONE, "unknown": 1, "failures": 1, "recent": 1, "reasons": {TOKEN: 1}}},
        first_wrong_at=5,
        numbers=("was 1", "add up to 0"),
    ),
    Fault(
        "a counter that goes backwards within its bounds",
        an_unclear_answer,
        "backwards",
        wrong={5: {**ONE, "unknown": 1, "reasons": {FORGED: 1}}, 6: {**ONE, "unknown": 1}},
        right={5: {**ONE, "unknown": 1, "reasons": {FORGED: 1}}, 6: {**ONE, "unknown": 1, "reasons": {FORGED: 1}}},
        first_wrong_at=6,
        numbers=("from 1", "to 0"),
    ),
    Fault(
        "a window that never slides",
        four_attacks,
        "recent",
        wrong={5: ALL_FOUR, 22.5: ALL_FOUR, 26: ALL_FOUR},
        right={5: ALL_FOUR, 22.5: {**ALL_FOUR, "recent": 2}, 26: {**ALL_FOUR, "recent": 0}},
        first_wrong_at=22.5,
        numbers=("was 4", "2 to 2"),
    ),
    Fault(
        "a window that slides too soon",
        four_attacks,
        "recent",
        wrong={5: ALL_FOUR, 20: {**ALL_FOUR, "recent": 3}},
        right={5: ALL_FOUR, 20: ALL_FOUR},
        first_wrong_at=20,
        numbers=("was 3", "4 to 4"),
    ),
    Fault(
        "a stale alert that is on while nothing is stale",
        one_falls_silent,
        "stale-gauge",
        wrong={5: {**TWO, "stale_alert": 1}},
        right={5: {**TWO, "stale_alert": 0}},
        first_wrong_at=5,
        numbers=("was 1", "was 0", "begins at 1"),
    ),
    Fault(
        "a stale alert that is off while a worker is stale",
        one_falls_silent,
        "stale-gauge",
        wrong={15: {**TWO, "stale": 1, "stale_alert": 0}},
        right={15: {**TWO, "stale": 1, "stale_alert": 1}},
        first_wrong_at=15,
        numbers=("was 0", "was 1", "begins at 1"),
    ),
    Fault(
        "an auth alert that is off at its threshold",
        four_attacks,
        "auth-gauge",
        wrong={3.5: {**ONE, "recent": 3, "reasons": {FORGED: 2, REPLAYED: 1}, "auth_alert": 0}},
        right={3.5: {**ONE, "recent": 3, "reasons": {FORGED: 2, REPLAYED: 1}, "auth_alert": 1}},
        first_wrong_at=3.5,
        numbers=("was 0", "was 3", "begins at 3"),
    ),
    Fault(
        "an auth alert that is off above its threshold",
        four_attacks,
        "auth-gauge",
        wrong={5: {**ALL_FOUR, "auth_alert": 0}},
        right={5: {**ALL_FOUR, "auth_alert": 1}},
        first_wrong_at=5,
        numbers=("was 0", "was 4", "begins at 3"),
    ),
    Fault(
        "an auth alert that is on below its threshold",
        four_attacks,
        "auth-gauge",
        wrong={2.5: {**ONE, "recent": 2, "reasons": {FORGED: 1, REPLAYED: 1}, "auth_alert": 1}},
        right={2.5: {**ONE, "recent": 2, "reasons": {FORGED: 1, REPLAYED: 1}, "auth_alert": 0}},
        first_wrong_at=2.5,
        numbers=("was 1", "was 2", "begins at 3"),
    ),
    Fault(
        "a gauge that is neither on nor off",
        one_falls_silent,
        "stale-gauge",
        wrong={15: {**TWO, "stale": 1, "stale_alert": 0.5}},
        right={15: {**TWO, "stale": 1}},
        first_wrong_at=15,
        numbers=("was 0.5", "was 1"),
    ),
    Fault(
        "a published metric that is missing",
        one_falls_silent,
        "missing",
        wrong={5: {**TWO, "without": "hatchfarm_alert_stale_workers"}},
        right={5: TWO},
        first_wrong_at=5,
        numbers=("hatchfarm_alert_stale_workers",),
    ),
)
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=[fault.name.replace(" ", "-") for fault in FAULTS])


@each_fault
def test_a_server_that_errs_is_proven_wrong(story: Story, fault: Fault) -> None:
    """The finding names the rule, the first scrape that proves it, and numbers that show the fault to a reader."""
    fault.tell(story)
    for at, figures in fault.wrong.items():
        story.scrape(at, **figures)
    verdict = story.alerts()
    assert verdict.status is Status.FAIL
    assert set(story.rules()) == {fault.rule, *fault.others}
    finding = next(finding for finding in verdict.findings if finding.rule == f"alerts.{fault.rule}")
    assert finding.at_ns == round(fault.first_wrong_at * SECOND_NS)
    assert f"at {fault.first_wrong_at:.3f}s" in finding.message
    assert [number for number in fault.numbers if number not in finding.message] == []
    assert finding.evidence["scraped_from_ns"] == finding.at_ns
    assert finding.evidence["scraped_to_ns"] > finding.at_ns
    assert len(finding.evidence) > 2
    assert verdict.figures["errors"] == len(verdict.findings)
    assert verdict.findings[0].message in verdict.summary


@each_fault
def test_a_server_that_is_right_passes_with_the_same_history(story: Story, fault: Fault) -> None:
    fault.tell(story)
    for at, figures in fault.right.items():
        story.scrape(at, **figures)
    verdict = story.alerts()
    assert (verdict.status, verdict.findings, verdict.figures["errors"]) == (Status.PASS, (), 0)


@pytest.mark.parametrize(
    "name",
    [
        "hatchfarm_uptime_seconds",
        "hatchfarm_workers_total",
        "hatchfarm_workers_stale_total",
        "hatchfarm_workers_unknown_total",
        "hatchfarm_worker_auth_failures_total",
        "hatchfarm_worker_auth_failures_recent",
        "hatchfarm_alert_stale_workers",
        "hatchfarm_alert_worker_auth_failures",
    ],
)
def test_every_published_metric_must_be_there(story: Story, name: str) -> None:
    story.scrape(5, without=name)
    (finding,) = story.alerts().findings
    assert (finding.rule, finding.evidence["missing"]) == ("alerts.missing", [name])


def test_every_failing_policy_fetch_counts(story: Story) -> None:
    story.request(Operation.POLICY_FETCH, 0, 1, Answer.POLICY_INVALID_TOKEN, status=401)
    story.scrape(2)
    assert set(story.rules()) == {"failures", "recent", "by-reason"}


def test_findings_come_by_kind_and_then_in_the_order_of_time(story: Story) -> None:
    """Hundreds of errors are counted and listed, and none hides one of another kind."""
    for second in range(1, 101):
        story.scrape(second, workers=1, stale_alert=1)
    story.scrape(101, workers=0, recent=1)
    verdict = story.alerts()
    (workers, gauge, recent), rest = verdict.findings[:3], verdict.findings[3:]
    assert [one.rule for one in (workers, gauge, recent)] == ["alerts.workers", "alerts.stale-gauge", "alerts.recent"]
    moments = [finding.at_ns for finding in rest]
    assert moments == sorted(moments)
    assert moments[0] == 2 * SECOND_NS
    assert len(verdict.findings) == verdict.found == verdict.figures["errors"] == 201
    assert verdict.figures["errors_by_rule"] == {"alerts.workers": 100, "alerts.stale-gauge": 100, "alerts.recent": 1}


def test_an_alert_that_was_silent_all_along_is_a_finding_of_its_own(story: Story) -> None:
    """Through thousands of replays: said once and first, with what was due and from when to when."""
    for number in range(2000):
        story.attack(0, 1 + number / 1000, REPLAYED)
    for second in range(4, 10):
        story.scrape(second, reasons={REPLAYED: 2000}, recent=2000, auth_alert=0)
    silent, *others = story.alerts().findings
    assert {one.rule for one in others} == {"alerts.auth-gauge"}
    assert silent.rule == "alerts.silent"
    assert silent.message == (
        "hatchfarm_alert_worker_auth_failures stayed 0 through 6 scrapes from 4.000s to 9.000s at which it had to be "
        "1: hatchfarm_worker_auth_failures_recent had to be 2000 or more, and the alert begins at 3"
    )
    assert (silent.evidence["due"], silent.evidence["scrapes"], silent.evidence["shown_at_most"]) == (2000, 6, 2000.0)


@pytest.mark.parametrize("fires_at", [4, 9])
def test_an_alert_that_fired_once_was_not_silent(story: Story, fires_at: int) -> None:
    for number in range(4):
        story.attack(0, 1 + number / 10, REPLAYED)
    for second in range(4, 10):
        story.scrape(second, reasons={REPLAYED: 4}, recent=4, auth_alert=float(second == fires_at))
    assert set(story.rules()) == {"auth-gauge"}


@pytest.mark.parametrize("millions", [1_234_567, 123_456_789])
def test_large_counts_are_shown_to_the_last_digit(story: Story, millions: int) -> None:
    """A reader sees by how much a count of millions is off."""
    story.scrape(5, reasons={FORGED: millions})
    story.scrape(6, reasons={FORGED: millions - 1})
    backwards = next(finding for finding in story.alerts().findings if finding.rule == "alerts.backwards")
    assert f"from {millions} to {millions - 1}" in backwards.message
    assert (backwards.evidence["before"], backwards.evidence["value"]) == (millions, millions - 1)


def test_without_a_scrape_nothing_is_known(story: Story) -> None:
    story.heartbeat(0, 1)
    assert story.alerts().status is Status.INCONCLUSIVE
