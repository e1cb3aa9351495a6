"""Live runs in which things go wrong: a right server passes, and one that is only right in peace is found."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
import trio

from reference_server.app import setting_names
from simulator.checkers import CHECKERS
from tests.faults import run_with_bug
from tests.faults.planted import PLANTED
from tests.planted_bugs.trials import ROOT, TOKEN, Result
from tests.support.forked import run_forked
from tests.support.trying import try_all

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


async def make_trials(folder: Path) -> dict[Trial, Result]:
    """Make them all, several at a time, and those again that said nothing because this machine was too busy."""
    numbers = {trial: number for number, trial in enumerate(TRIALS)}

    async def make(trial: Trial, attempt: int) -> Result:
        return await make_one(trial, folder / f"{numbers[trial]}-{attempt}")

    return await try_all(TRIALS, make, Result.says_something, at_once=AT_ONCE)


async def make_one(trial: Trial, out: Path) -> Result:
    path = SCENARIOS[trial.scenario]
    known = set(setting_names())
    environ = {name: value for name, value in os.environ.items() if name not in known}
    environ |= {"PYTHONPATH": str(ROOT), "HATCHFARM_API_TOKEN": TOKEN}
    printed = out.with_suffix(".txt")
    command = [trial.bug, "run", str(path), "--no-reports", "--out", str(out)]
    code = await run_forked(run_with_bug.main, command, environ, printed)
    written = out / path.stem / "latest" / "verdict.json"
    verdict = msgspec.json.decode(written.read_bytes()) if written.exists() else {}
    return Result(code, verdict, printed.read_text("utf-8", "replace"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Trial, Result]:
    """Every trial, made once."""
    return trio.run(make_trials, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_right_server_passes(scenario: str, results: Mapping[Trial, Result]) -> None:
    result = results[Trial(scenario, "")]
    assert result.exit_code == 0, result.printed


@pytest.mark.parametrize("bug", PLANTED, ids=[bug.name for bug in PLANTED])
def test_a_bug_that_shows_only_in_a_fault_is_found(bug: Fault, results: Mapping[Trial, Result]) -> None:
    """The run fails, by a checker that is meant to find this bug, with a finding that names it."""
    result = results[Trial(bug.scenario, bug.name)]
    assert result.exit_code == 1, result.printed
    findings = {name: output for name, output in result.failed().items() if name in bug.caught_by}
    assert findings, f"failed: {[*result.failed()]}, not {sorted(bug.caught_by)}\n{result.printed}"
    assert any(re.search(bug.evidence, output) for output in findings.values()), findings


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
