"""Running scenarios against the faulty servers that they must find, several at once, in processes of their own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from simulator.commands.cli import main as hatchfarm
from tests.planted_bugs import faulty_server
from tests.planted_bugs.faults import FAULTS
from tests.support.environment import without_settings
from tests.support.forked import ForkedServer
from tests.support.trials import Result, make_trials, run_trial

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent
SCENARIOS = {path.stem: path for path in sorted((FOLDER / "scenarios").glob("*.toml"))}
TOKEN = "owner-token-of-the-planted-bugs"
AT_ONCE = 10
"""Trials under way at a time: they mostly wait, and more of them would make the harness late on two cores."""
TRIAL_TIMEOUT_SECONDS = 120.0


class Trial(NamedTuple):
    """A scenario against a server with a fault; the empty name is the server as it is."""

    scenario: str
    fault: str


async def make_all(trials: Sequence[Trial], folder: Path) -> dict[Trial, Result]:
    """Make them all; gives each one's result."""
    of = {fault.name: (fault.caught_by, fault.evidence) for fault in FAULTS}
    caught_by = {trial: of[trial.fault] for trial in trials if trial.fault in of}
    return await make_trials(trials, folder, _try, at_once=AT_ONCE, caught_by=caught_by)


async def _try(trial: Trial, out: Path) -> Result:
    path = SCENARIOS[trial.scenario]
    settings = tomllib.loads(path.read_text(encoding="utf-8"))["server"]["settings"]
    environ = without_settings(HATCHFARM_API_TOKEN=TOKEN, WORKER_STATUS_STATE_FILE="")
    served = {**environ, **{name: str(value) for name, value in settings.items()}, "HOST": "127.0.0.1", "PORT": "0"}
    server = ForkedServer(faulty_server.main, [*filter(None, [trial.fault])], served)
    try:
        with trio.fail_after(TRIAL_TIMEOUT_SECONDS):
            line = await server.line()
        assert line.endswith("\n"), f"{trial} did not start"
        # The settings are certain, so what a target shows is wrong even if it fits others.
        how = ["--target", line.split()[-1], "--profile", "hardened", "--strict-settings"]
        return await run_trial(hatchfarm, [], path, how, out, environ)
    finally:
        await server.aclose()
