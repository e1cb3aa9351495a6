"""A server that a run has started and that ends by itself is a failure, which says how, when and at what."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from simulator.commands.cli import main as hatchfarm
from tests.commands.mortal_server import DEATHS
from tests.planted_bugs.faulty_server import edited
from tests.support.environment import ROOT, without_settings
from tests.support.trials import Result, make_trials, run_trial

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(__file__).parent / "mortal_server.py"
SCENARIO = """
version = 1
name = "{when}"
seed = 3
duration = "20s"

[server]
command = ["{python}", "{program}", "{when}"]

[fleet]
machines = 10
owners = 2
heartbeat_interval = "500ms"

[[attacks]]
name = "signature.forged"
start = "1s"
duration = "10s"
rate = 5
share = 1
"""


async def make_one(when: str, out: Path) -> Result:
    path = out.with_suffix(".toml")
    await trio.Path(path).write_text(SCENARIO.format(when=when, python=sys.executable, program=PROGRAM), "utf-8")
    return await run_trial(hatchfarm, [], path, [], out, without_settings(PYTHONPATH=str(ROOT)), when)


async def make_all(folder: Path) -> dict[str, Result]:
    """Make a run for each death, all at once."""
    return await make_trials(list(DEATHS), folder, make_one, at_once=len(DEATHS))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    """A run for each death."""
    return trio.run(make_all, tmp_path_factory.mktemp("deaths"))


@pytest.mark.parametrize("when", DEATHS)
def test_each_death_still_has_its_place(when: str) -> None:
    assert edited(DEATHS[when])


def test_the_attack_at_which_a_server_dies_has_failed(results: Mapping[str, Result]) -> None:
    result = results["at-forgery"]
    assert result.exit_code == 1, result.printed
    (outage,) = [one for one in result.verdict["checkers"] if one["name"] == "outage"]
    (finding,) = outage["findings"]
    assert finding["rule"] == "outage.server-died"
    assert finding["evidence"]["signal"] == "SIGSEGV"
    assert finding["evidence"]["attack"] == "signature.forged"
    assert 0.8e9 < finding["evidence"]["died_from_ns"] <= finding["evidence"]["died_to_ns"]
    assert ": killed by SIGSEGV" in result.verdict["interrupted"]
    (attack,) = result.verdict["attacks"]
    assert attack["status"] == "fail"
    assert "the server ended by itself between" in attack["note"]


def test_a_server_that_dies_before_the_run_has_begun_has_failed(results: Mapping[str, Result]) -> None:
    """What it said last is shown without what a terminal would obey."""
    result = results["at-set-up"]
    assert result.exit_code == 1, result.printed
    (outage,) = [one for one in result.verdict["checkers"] if one["name"] == "outage"]
    finding = outage["findings"][0]
    assert finding["rule"] == "outage.server-died"
    assert (finding["evidence"]["exit_code"], finding["evidence"]["signal"]) == (7, "")
    assert finding["evidence"]["last_words"][-1] == r"fatal: \x1b[31mred\x07"
    assert finding["message"].endswith(r"(exit code 7); its last words: fatal: \x1b[31mred\x07")
    assert "\x1b" not in result.printed
    assert "\x07" not in result.printed
