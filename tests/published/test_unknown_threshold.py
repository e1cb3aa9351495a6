"""Nothing is proven from an assumption: of a target that shows no threshold nobody knows how many must be stale."""

from __future__ import annotations

import msgspec
import pytest

from simulator.judging.facts import facts_of
from tests.checkers.conftest import Story
from tests.checkers.test_verdict_of_a_run import request


@pytest.mark.parametrize(("stale", "wrong"), [(0, []), (1, []), (2, ["alerts.stale"])])
def test_any_worker_that_was_heard_of_may_be_stale_and_none_must(stale: int, wrong: list[str]) -> None:
    story = Story(stale_seconds=10)
    story.facts = msgspec.structs.replace(story.facts, stale_seconds=None)
    for machine in (0, 1):
        story.register(machine, 0.1)
    story.heartbeat(0, 1)
    story.scrape(30, workers=2, unknown=1, stale=stale)
    assert [one.rule for one in story.alerts().findings] == wrong


def test_a_targets_threshold_is_not_taken_from_the_scenario() -> None:
    scenario = request().scenario
    assert facts_of(scenario, {}, None, only_client=False).stale_seconds is None
    assert facts_of(scenario, {}, 20.0, only_client=False).stale_seconds == 20
    assert facts_of(scenario, {}, None, only_client=True).stale_seconds == 60
