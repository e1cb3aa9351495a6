"""Failures naming unknown workers are counted apart (contract §10): exactly those, where a server shows the counter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.contract.answers import Answer
from simulator.contract.metrics import UNATTRIBUTED
from simulator.history.rows import NO_MACHINE
from tests.checkers.conftest import Story, metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

TOKEN = Answer.INVALID_TOKEN


def reported(story: Story, shown: float | None) -> Story:
    """One failure of a machine, two that name nobody, and a scrape."""
    story.register(0, 1)
    story.attack(0, 2, TOKEN)
    story.attack(NO_MACHINE, 3, TOKEN)
    story.attack(NO_MACHINE, 4, TOKEN)
    extra: Mapping[str, float] = {} if shown is None else {UNATTRIBUTED: shown}
    story.scrape(6, workers=1, unknown=1, recent=3, reasons={TOKEN: 3}, extra=extra)
    return story


@pytest.mark.parametrize(("shown", "rules"), [(2, []), (None, []), (3, ["unattributed"]), (1, ["unattributed"])])
def test_those_that_name_nobody_are_counted_and_no_others(story: Story, shown: float | None, rules: list[str]) -> None:
    assert reported(story, shown).rules() == rules


@pytest.mark.parametrize(("shown", "rules"), [(2, []), (3, []), (1, ["unattributed"]), (4, ["unattributed"])])
def test_one_without_an_answer_may_be_among_them(story: Story, shown: float, rules: list[str]) -> None:
    """One that named a machine may not."""
    story.attack(NO_MACHINE, 5, Answer.LOST, expected=TOKEN)
    story.attack(0, 5, Answer.LOST, expected=TOKEN)
    assert reported(story, shown).rules() == rules


def test_what_was_counted_before_the_run_stays(story: Story) -> None:
    other = Story(baseline={**metrics(100), UNATTRIBUTED: 7.0})
    assert reported(other, 9).rules() == []
    assert reported(story, 9).rules() == ["unattributed"]


@pytest.mark.parametrize(("shown", "rules"), [(0, []), (3, []), (4, ["unattributed"])])
def test_a_server_that_started_anew_may_have_forgotten_counts_and_workers(
    story: Story, shown: float, rules: list[str]
) -> None:
    story = reported(story, 2)
    story.scrape(7, uptime=0.5, workers=1, unknown=1, recent=3, reasons={TOKEN: 3}, extra={UNATTRIBUTED: shown})
    assert story.rules() == rules
