"""How often an alert fired and cleared, how fast, and how right it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from simulator.contract.answers import Answer

if TYPE_CHECKING:
    from tests.checkers.conftest import Story

FORGED = Answer.INVALID_SIGNATURE


def silent_from_one_to_twenty(story: Story) -> None:
    """Surely stale from 11.02 s, and from 30.02 s again; surely not before 10.99 s, and from 20.01 s to 29.99 s."""
    story.register(0, 0)
    story.heartbeat(0, 1)
    story.heartbeat(0, 20)


def stale_alert(story: Story, shown: dict[float, int], took: float = 0.0) -> dict[str, Any]:
    silent_from_one_to_twenty(story)
    for at, stale in shown.items():
        story.scrape(at, took=took, workers=1, stale=stale)
    figures: dict[str, Any] = story.alerts().figures["stale_workers"]
    return figures


def test_an_alert_in_time_fires_and_clears_between_two_scrapes(story: Story) -> None:
    """Its delay is zero at the least; at the most, the time from the last scrape before the turn to the first after."""
    figures = stale_alert(story, {10: 0, 12: 1, 19: 1, 21: 0, 29: 0})
    assert (figures["fired"], figures["cleared"]) == (1, 1)
    assert (figures["precision"], figures["recall"]) == (1.0, 1.0)
    assert figures["time_to_fire_s"] == [(0.0, 2.0)]
    assert figures["time_to_clear_s"] == [(0.0, 2.0)]


def test_a_late_alert_is_late_by_at_least_what_was_seen(story: Story) -> None:
    """It had to be on from 12 s, and was off at 15 s still; it had to be off from 21 s, and was on at 24 s still."""
    figures = stale_alert(story, {10: 0, 12: 0, 15: 0, 16: 1, 19: 1, 21: 1, 24: 1, 25: 0})
    assert figures["time_to_fire_s"] == [(3.0, 6.0)]
    assert figures["time_to_clear_s"] == [(3.0, 6.0)]
    assert figures["precision"] == pytest.approx(2 / 4)
    assert figures["recall"] == pytest.approx(2 / 4)


def test_delays_include_the_length_of_the_scrapes(story: Story) -> None:
    figures = stale_alert(story, {9: 0, 12: 0, 15: 1}, took=0.5)
    assert figures["time_to_fire_s"] == [(0.0, 6.5)]


def test_each_delay_belongs_to_its_own_episode(story: Story) -> None:
    """An alert that fires while the truth is open, and is proven right later, does not lend its delay to the next."""
    figures = stale_alert(story, {10: 0, 11: 1, 12: 1, 19: 1, 21: 0, 29: 0, 31: 1})
    assert (figures["fired"], figures["cleared"]) == (2, 1)
    assert figures["time_to_fire_s"] == [(0.0, 1.0), (0.0, 2.0)]
    assert figures["time_to_clear_s"] == [(0.0, 2.0)]


def test_a_false_alarm_has_no_delay(story: Story) -> None:
    """It answers to nothing: only the alert that comes with the truth is timed."""
    figures = stale_alert(story, {5: 0, 6: 1, 7: 0, 10: 0, 12: 1})
    assert (figures["fired"], figures["cleared"]) == (2, 1)
    assert figures["time_to_fire_s"] == [(0.0, 2.0)]
    assert figures["time_to_clear_s"] == []
    assert (figures["precision"], figures["recall"]) == (0.5, 1.0)


def test_an_alert_that_flaps_while_it_must_be_on_is_timed_once(story: Story) -> None:
    figures = stale_alert(story, {10: 0, 12: 1, 13: 0, 14: 1})
    assert (figures["fired"], figures["cleared"]) == (2, 1)
    assert figures["time_to_fire_s"] == [(0.0, 2.0)]
    assert figures["time_to_clear_s"] == []
    assert figures["recall"] == pytest.approx(2 / 3)


def test_an_alert_that_was_on_before_the_run_did_not_fire(new_story: type[Story], page: Any) -> None:
    story = new_story(baseline=page(100, workers=1, stale=1))
    for at, stale in ((1, 1), (2, 1), (3, 0), (4, 1)):
        story.scrape(at, workers=1, stale=stale)
    figures = story.alerts().figures["stale_workers"]
    assert (figures["fired"], figures["cleared"]) == (1, 1)
    assert (figures["precision"], figures["recall"]) == (None, None)


def test_nothing_to_fire_for_is_neither_precise_nor_imprecise(story: Story) -> None:
    story.scrape(5)
    for alert in ("stale_workers", "worker_auth_failures"):
        assert story.alerts().figures[alert] == {
            "fired": 0,
            "cleared": 0,
            "precision": None,
            "recall": None,
            "time_to_fire_s": [],
            "time_to_clear_s": [],
        }


def test_the_auth_alert_is_followed_against_its_threshold(story: Story) -> None:
    """Recent from 3 s to 21 s; failures in flight leave the truth open."""
    for second in (1, 2, 3):
        story.attack(0, second, FORGED)
    for at, recent, counted in ((2.5, 2, 2), (3.5, 3, 3), (20, 3, 3), (21.5, 2, 3)):
        story.scrape(at, took=0, recent=recent, reasons={FORGED: counted})
    figures = story.alerts().figures["worker_auth_failures"]
    assert story.rules() == []
    assert (figures["fired"], figures["cleared"], figures["precision"], figures["recall"]) == (1, 1, 1.0, 1.0)
    assert figures["time_to_fire_s"] == [(0.0, 1.0)]
    assert figures["time_to_clear_s"] == [(0.0, 1.5)]
