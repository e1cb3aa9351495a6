"""Runs of another implementation by a scenario's command: all that a run does to its own server is done to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
import trio

from reference_server.about import setting_names
from simulator.attacks.script import SandboxOptions
from simulator.client.checking import check_target
from simulator.client.target import TargetError
from simulator.commands.cli import main as hatchfarm
from simulator.deployment.sandbox import OF_SERVERS, obstacle_to, open_sandbox
from simulator.deployment.server_watch import SandboxGauges, ServerWatch
from simulator.platform.ending import Ending
from simulator.scenario.values import ServerOptions
from tests.simulator.conftest import API_TOKEN
from tests.support.environment import ROOT, without_settings
from tests.support.trials import Result, make_trials, run_trial

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = Path(__file__).parent / "foreign_server.py"
SCENARIO = """
version = 1
name = "{name}"
seed = 3
duration = "{seconds}s"

[server]
command = ["{python}", "{program}", "--port", "{{port}}"{words}]
env = {{ FARM_KEY = "{{hatchfarm_api_token}}" }}
{server}

[server.settings]
WORKER_AUTH_FAIL_ALERT_WINDOW_SECONDS = 5

[fleet]
machines = 20
owners = 2
heartbeat_interval = "500ms"
stages = [{{ duration = "1s", target = 20 }}]
"""
FAULT = '[[faults]]\nkind = "{0}"\nat = "{1}s"\nduration = "{2}ms"\n'
ATTACK = '[[attacks]]\nname = "{0}"\nstart = "1s"\nduration = "{1}s"\nrate = {2}\nshare = 1\n'
KEEPS = ', "--state", "{hatchfarm_state_file}"'
RUNS = {
    "keeps": (
        11,
        KEEPS,
        "durable = true",
        [("server.kill", 2, 100), ("disk.full", 4, 500), ("server.restart", 6, 0)],
        [("replay.exact", 9, 10), ("tls.spoofed-proto", 2, 1)],
    ),
    "forgets": (7, "", "durable = true", [("server.kill", 2, 0)], []),
    "redis": (
        10,
        "",
        "redis = true",
        [("redis.down", 2, 500), ("redis.pause", 5, 300), ("server.pause", 7, 300)],
        [("replay.exact", 8, 10), ("replay.clock-step-back", 1, 1)],
    ),
}
"""By name: length, more words, `[server]`, faults, attacks."""


def text_of(name: str) -> str:
    """Write a run's scenario."""
    seconds, words, server, faults, attacks = RUNS[name]
    text = SCENARIO.format(
        name=name, seconds=seconds, python=sys.executable, program=PROGRAM, words=words, server=server
    )
    return text + "".join(FAULT.format(*fault) for fault in faults) + "".join(ATTACK.format(*one) for one in attacks)


async def make_one(name: str, out: Path) -> Result:
    path = out.with_suffix(".toml")
    await trio.Path(path).write_text(text_of(name), encoding="utf-8")
    return await run_trial(hatchfarm, [], path, [], out, without_settings(PYTHONPATH=str(ROOT)), name)


async def make_all(folder: Path) -> dict[str, Result]:
    """Make all runs at once."""
    return await make_trials(list(RUNS), folder, make_one, at_once=len(RUNS))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Result]:
    """Every run, made once."""
    return trio.run(make_all, tmp_path_factory.mktemp("commands"))


def not_tried(result: Result) -> dict[str, str]:
    """Return the attacks that were not tried, and why."""
    return {one["attack"]: one["note"] for one in result.verdict["attacks"] if not one["sent"]}


def test_one_that_keeps_its_state_is_killed_restarted_and_filled_and_passes(results: Mapping[str, Result]) -> None:
    """So is one that an attack has beside it, with settings of its own."""
    result = results["keeps"]
    assert result.exit_code == 0, result.printed
    figures = {one["name"]: one["figures"] for one in result.verdict["checkers"]}["durability"]
    assert (figures["faults"], figures["restarts"], figures["machines_looked_at"]) == (3, 2, 20)
    assert not not_tried(result)


def test_one_that_forgets_what_it_acknowledged_fails(results: Mapping[str, Result]) -> None:
    result = results["forgets"]
    assert result.exit_code == 1, result.printed
    assert result.failed().keys() & {"durability", "audit", "alerts"}, result.printed


def test_one_whose_redis_is_cut_off_passes_and_what_it_cannot_be_made_to_do_is_said(
    results: Mapping[str, Result],
) -> None:
    result = results["redis"]
    assert result.exit_code == 0, result.printed
    figures = {one["name"]: one["figures"] for one in result.verdict["checkers"]}["nonces"]
    assert figures["faults"] == 2
    (left_out,) = not_tried(result).items()
    assert left_out[0] == "replay.clock-step-back"
    assert (
        "it sets the clock of the servers that it starts, which it cannot do to the scenario's command" in left_out[1]
    )


OPTIONS = ServerOptions(
    command=(sys.executable, str(PROGRAM), "--port", "{port}", "--state", "{hatchfarm_state_file}"),
    env={"FARM_KEY": "{hatchfarm_api_token}"},
    durable=True,
    redis=True,
    settings={"RATE_LIMIT_BURST": 50},
)


async def test_what_an_attack_stages_is_the_command_with_all_that_its_words_stand_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its state, its Redis and its settings too, beside those of the attack; and nobody else's."""
    monkeypatch.setenv("RATE_LIMIT_REFILL_PER_SECOND", "nonsense")
    wanted = SandboxOptions(redis=True, durable=False, settings={"REDIS_NONCE_FALLBACK": "true"})
    async with open_sandbox(wanted, OPTIONS, API_TOKEN, ServerWatch(SandboxGauges(0)), Ending()) as sandbox:
        await check_target(sandbox.target(0))
        server = psutil.Process(sandbox._servers[0].pid).environ()
        assert (server["RATE_LIMIT_BURST"], server["REDIS_NONCE_FALLBACK"]) == ("50", "true")
        assert server["REDIS_ADDR"].startswith("127.0.0.1:")
        assert server["HATCHFARM_STATE_FILE"].startswith(str(sandbox._folder))
        await sandbox.begin_fault("server.kill", 0)
        with pytest.raises(TargetError):
            await check_target(sandbox.target(0))
        await sandbox.end_fault("server.kill", 0)
        await check_target(sandbox.target(0))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (SandboxOptions(), ""),
        (SandboxOptions(redis=True), ""),
        (SandboxOptions(clock=True), "it sets the clock of the servers that it starts"),
    ],
)
def test_what_a_command_can_be_made_to_do_is_what_its_scenario_says(wanted: SandboxOptions, says: str) -> None:
    assert obstacle_to(wanted, OPTIONS, allowed=True).startswith(says)
    assert bool(obstacle_to(wanted, OPTIONS, allowed=True)) == bool(says)


@pytest.mark.parametrize(("without", "says"), [("redis", "keeps its nonces in Redis"), ("durable", "keeps its state")])
def test_an_attack_that_needs_more_than_a_command_is_said_to_do_is_not_tried(without: str, says: str) -> None:
    options = msgspec.structs.replace(OPTIONS, **{without: False})
    assert says in obstacle_to(SandboxOptions(redis=True), options, allowed=True)
    assert "over plain HTTP" in obstacle_to(SandboxOptions(), msgspec.structs.replace(OPTIONS, tls=True), allowed=True)


def test_no_setting_of_this_environment_reaches_what_is_staged() -> None:
    assert [name for name in setting_names() if not name.startswith(OF_SERVERS)] == []


def test_nothing_of_them_is_left(results: Mapping[str, Result]) -> None:
    assert results
    assert not [one.pid for one in psutil.process_iter() if str(PROGRAM) in " ".join(_words_of(one))]


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
