"""Live runs in which things go wrong: a right server passes, and one that is only right in peace is found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio

from simulator.checkers import CHECKERS
from tests.faults import run_with_bug
from tests.faults.planted import PLANTED
from tests.planted_bugs.trials import TOKEN
from tests.support.environment import ROOT, without_settings
from tests.support.trials import Result, make_trials, run_trial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.planted_bugs.faults import Fault

FOLDER = Path(__file__).parent
SCENARIOS = {path.stem: path for path in sorted((FOLDER / "scenarios").glob("*.toml"))}
AT_ONCE = 4
"""Runs under way at a time: each waits most of the time, and starts servers now and then."""


class Trial(NamedTuple):
    """A scenario, and the bug of the server that it runs; none for an empty name."""

    scenario: str
    bug: str


TRIALS = [*(Trial(name, "") for name in SCENARIOS), *(Trial(bug.scenario, bug.name) for bug in PLANTED)]


async def make_one(trial: Trial, out: Path) -> Result:
    environ = without_settings(PYTHONPATH=str(ROOT), HATCHFARM_API_TOKEN=TOKEN)
    return await run_trial(run_with_bug.main, [trial.bug], SCENARIOS[trial.scenario], [], out, environ)


async def make_all(folder: Path) -> dict[Trial, Result]:
    """Make them all, several at a time."""
    return await make_trials(TRIALS, folder, make_one, at_once=AT_ONCE)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Trial, Result]:
    """Every trial, made once."""
    return trio.run(make_all, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_right_server_passes(scenario: str, results: Mapping[Trial, Result]) -> None:
    result = results[Trial(scenario, "")]
    assert result.exit_code == 0, result.printed


@pytest.mark.parametrize("bug", PLANTED, ids=[bug.name for bug in PLANTED])
def test_a_bug_that_shows_only_in_a_fault_is_found(bug: Fault, results: Mapping[Trial, Result]) -> None:
    """The run fails, by a checker that is meant to find this bug, with a finding that names it."""
    result = results[Trial(bug.scenario, bug.name)]
    result.assert_caught(bug.caught_by, bug.evidence)


def test_what_was_killed_and_kept_is_counted(results: Mapping[Trial, Result]) -> None:
    """So that a pass cannot come of nothing having happened."""
    checkers = {one["name"]: one["figures"] for one in results[Trial("durable", "")].verdict["checkers"]}
    figures = checkers["durability"]
    assert (figures["faults"], figures["restarts"], figures["machines_looked_at"]) == (3, 2, 30)
    assert figures["nonces_tried_again"] > 0
    checkers = {one["name"]: one["figures"] for one in results[Trial("shared", "")].verdict["checkers"]}
    assert checkers["nonces"]["faults"] == 3
    assert checkers["nonces"]["refused"] > 0


def test_only_checkers_that_exist_are_meant_to_find_them() -> None:
    assert all(bug.caught_by <= CHECKERS.keys() and bug.scenario in SCENARIOS for bug in PLANTED)
