"""Running scenarios against the faulty servers that they must find, several at once, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from reference_server.app import setting_names

if TYPE_CHECKING:
    from collections.abc import Sequence

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
SCENARIOS = {path.stem: path for path in sorted((FOLDER / "scenarios").glob("*.toml"))}
TOKEN = "owner-token-of-the-planted-bugs"
AT_ONCE = 10
"""Trials under way at a time: they mostly wait, and more of them would make the harness late on two cores."""
TRIES = 3
"""How often a trial that cannot say anything, because this machine was too busy, is made before that is an answer."""
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

    def failed(self) -> dict[str, str]:
        """Give each failed checker's findings, as JSON."""
        return {
            one["name"]: msgspec.json.encode([one["summary"], one["findings"]]).decode()
            for one in self.verdict.get("checkers", [])
            if one["status"] == "fail"
        }


async def make_trials(trials: Sequence[Trial], folder: Path) -> dict[Trial, Result]:
    """Make them all; gives each one's result."""
    results: dict[Trial, Result] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def make(number: int, trial: Trial) -> None:
        async with limiter:
            for attempt in range(TRIES):
                results[trial] = await _try(trial, folder / f"{number}-{attempt}")
                if results[trial].exit_code != INCONCLUSIVE:
                    return

    async with trio.open_nursery() as nursery:
        for number, trial in enumerate(trials):
            nursery.start_soon(make, number, trial)
    return results


async def _try(trial: Trial, out: Path) -> Result:
    path = SCENARIOS[trial.scenario]
    settings = tomllib.loads(path.read_text(encoding="utf-8"))["server"]["settings"]
    known = set(setting_names())
    environ = {
        **{name: value for name, value in os.environ.items() if name not in known},
        "PYTHONPATH": str(ROOT),
        "HATCHFARM_API_TOKEN": TOKEN,
        "WORKER_STATUS_STATE_FILE": "",
    }
    serve = [sys.executable, str(FOLDER / "faulty_server.py"), *filter(None, [trial.fault])]
    served = {**environ, **{name: str(value) for name, value in settings.items()}, "HOST": "127.0.0.1", "PORT": "0"}
    server = await trio.lowlevel.open_process(
        serve, env=served, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        line = b""
        with trio.fail_after(TRIAL_TIMEOUT_SECONDS):
            while not line.endswith(b"\n"):
                part = await server.stdout.receive_some(4096)
                assert part, f"{trial} did not start"
                line += part
            target = line.split()[-1].decode()
            command = [sys.executable, "-m", "simulator.cli", "run", str(path), "--target", target, "--no-reports"]
            # The settings are certain, so what a target shows is wrong even if it fits others.
            command += ["--profile", "hardened", "--strict-settings"]
            run = await trio.run_process(
                [*command, "--out", str(out)],
                env=environ,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
    finally:
        with trio.CancelScope(shield=True):
            await server.stdin.aclose()
            await server.wait()
    written = out / path.stem / "latest" / "verdict.json"
    verdict = msgspec.json.decode(written.read_bytes()) if written.exists() else {}
    return Result(run.returncode, verdict, run.stdout.decode("utf-8", "replace"))
