"""Running scenarios against the faulty servers that they must find, several at once, in processes of their own."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from reference_server.app import setting_names
from simulator.commands.cli import main as hatchfarm
from tests.planted_bugs import faulty_server
from tests.support.forked import ForkedServer, run_forked
from tests.support.trying import try_all

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
SCENARIOS = {path.stem: path for path in sorted((FOLDER / "scenarios").glob("*.toml"))}
TOKEN = "owner-token-of-the-planted-bugs"
AT_ONCE = 10
"""Trials under way at a time: they mostly wait, and more of them would make the harness late on two cores."""
INCONCLUSIVE = 3
TRIAL_TIMEOUT_SECONDS = 120.0


class Trial(NamedTuple):
    """A scenario against a server with a fault; the empty name is the server as it is."""

    scenario: str
    fault: str


class Result(NamedTuple):
    """How a trial ended: the run's exit code, its verdict file, and what it printed."""

    exit_code: int
    verdict: dict[str, Any]
    printed: str

    def says_something(self) -> bool:
        """Return whether this machine was not too busy for a verdict."""
        return self.exit_code != INCONCLUSIVE

    def failed(self) -> dict[str, str]:
        """Return each failed checker's findings, as JSON."""
        return {
            one["name"]: msgspec.json.encode([one["summary"], one["findings"]]).decode()
            for one in self.verdict.get("checkers", [])
            if one["status"] == "fail"
        }


async def make_trials(trials: Sequence[Trial], folder: Path) -> dict[Trial, Result]:
    """Make them all; gives each one's result."""
    numbers = {trial: number for number, trial in enumerate(trials)}

    async def make(trial: Trial, attempt: int) -> Result:
        return await _try(trial, folder / f"{numbers[trial]}-{attempt}")

    return await try_all(trials, make, Result.says_something, at_once=AT_ONCE)


async def _try(trial: Trial, out: Path) -> Result:
    path = SCENARIOS[trial.scenario]
    settings = tomllib.loads(path.read_text(encoding="utf-8"))["server"]["settings"]
    known = set(setting_names())
    environ = {
        **{name: value for name, value in os.environ.items() if name not in known},
        "HATCHFARM_API_TOKEN": TOKEN,
        "WORKER_STATUS_STATE_FILE": "",
    }
    served = {**environ, **{name: str(value) for name, value in settings.items()}, "HOST": "127.0.0.1", "PORT": "0"}
    server = ForkedServer(faulty_server.main, [*filter(None, [trial.fault])], served)
    printed = out.with_suffix(".txt")
    try:
        with trio.fail_after(TRIAL_TIMEOUT_SECONDS):
            line = await server.line()
        assert line.endswith("\n"), f"{trial} did not start"
        # The settings are certain, so what a target shows is wrong even if it fits others.
        how = ["--profile", "hardened", "--strict-settings", "--no-reports", "--out", str(out)]
        code = await run_forked(hatchfarm, ["run", str(path), "--target", line.split()[-1], *how], environ, printed)
    finally:
        await server.aclose()
    written = out / path.stem / "latest" / "verdict.json"
    verdict = msgspec.json.decode(written.read_bytes()) if written.exists() else {}
    return Result(code, verdict, printed.read_text("utf-8", "replace"))
