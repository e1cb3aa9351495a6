"""Runs against the server as it is, some of them on a machine that somebody else keeps busy."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from reference_server.app import setting_names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SOAK = bool(os.environ.get("HATCHFARM_TESTS_SOAK"))
"""Whether to make every run, in place of a sample."""
TESTS = Path(__file__).parent.parent
SCENARIOS = sorted(TESTS.glob("false_alarms/scenarios/*.toml")) + sorted(TESTS.glob("planted_bugs/scenarios/*.toml"))
"""Besides the ones for this: those by which servers are accused, which must not accuse one that is right."""
RUNS_IN_ALL = 30
BUSY_EVERY = 3
"""One run in three is made on a busy machine."""
FIRST_SCENARIO = -2
"""So that the busy run of the sample is the most crowded one, which comes first by its name."""
CALM_AT_ONCE = 3
"""Runs under way at a time where the machine is to be calm: they mostly wait."""
BUSY_LOOPS_A_CORE = 2
"""So that each process of a run gets a third of a core when it wants one."""
RUN_TIMEOUT_SECONDS = 180.0
PASS, INCONCLUSIVE = 0, 3
KINDS = ("checkers", "thresholds")
WIDE_COLUMNS = "5000"
"""So wide that no sentence is broken into lines."""
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Ends with whoever started it, however that ends."""


class Run(NamedTuple):
    """One run to make. `busy` says whether the CPUs are overcommitted meanwhile."""

    scenario: Path
    seed: int
    busy: bool

    @property
    def name(self) -> str:
        """Name it for people."""
        return f"{self.scenario.stem}, seed {self.seed}{', busy' if self.busy else ''}"


class Ended(NamedTuple):
    """How a run ended: its exit code, its verdict file, and what it printed."""

    exit_code: int
    verdict: dict[str, Any]
    printed: str


def all_runs() -> list[Run]:
    """Give every run: each scenario in turn, each time with another seed."""
    return [
        Run(SCENARIOS[(number + FIRST_SCENARIO) % len(SCENARIOS)], 1000 + number, number % BUSY_EVERY == BUSY_EVERY - 1)
        for number in range(RUNS_IN_ALL)
    ]


def wanted_runs() -> list[Run]:
    """Give the runs to make now: all, or the first calm ones and the first busy one."""
    return all_runs() if SOAK else all_runs()[: BUSY_EVERY + 1]


def accusations(ended: Ended) -> list[str]:
    """Say what a run says against a server that is right, or leaves unexplained."""
    verdict = ended.verdict
    if ended.exit_code not in {PASS, INCONCLUSIVE} or not verdict:
        return [f"exit code {ended.exit_code}", *(name for kind in KINDS for name in _said(verdict, kind, "fail"))]
    # A threshold may be missed where the harness was overloaded, and the run is inconclusive; a checker's word stands.
    found = [f"accused by {name}: {why}" for name, why in _said(verdict, "checkers", "fail").items()]
    if verdict["interrupted"]:
        found.append(f"interrupted: {verdict['interrupted']}")
    if not verdict["requests"]["heartbeats_accepted"]:
        found.append("no heartbeat was accepted")
    doubts = [why for kind in KINDS for why in _said(verdict, kind, "inconclusive").values()]
    if ended.exit_code == INCONCLUSIVE and not doubts:
        found.append("inconclusive, and nothing says why")
    for why in doubts:
        if not why or "crashed" in why:
            found.append(f"no reason for not knowing: {why}")
        elif why not in ended.printed:
            found.append(f"not told: {why}")
    return found


def _said(verdict: dict[str, Any], kind: str, status: str) -> dict[str, str]:
    return {one["name"]: one["summary"] for one in verdict.get(kind, ()) if one["status"] == status}


async def make_runs(wanted: Sequence[Run], folder: Path) -> dict[Run, Ended]:
    """Make the calm ones a few at a time, then the busy ones each alone with the load."""
    ended: dict[Run, Ended] = {}
    limiter = trio.CapacityLimiter(CALM_AT_ONCE)

    async def make(run: Run) -> None:
        async with limiter:
            ended[run] = await _make(run, folder)

    async with trio.open_nursery() as nursery:
        for run in wanted:
            if not run.busy:
                nursery.start_soon(make, run)
    for run in wanted:
        if run.busy:
            async with _busy_machine():
                ended[run] = await _make(run, folder)
    return ended


@asynccontextmanager
async def _busy_machine() -> AsyncIterator[None]:
    """Keep all CPUs busier than they can be."""
    async with trio.open_nursery() as nursery:
        for _ in range(BUSY_LOOPS_A_CORE * (os.cpu_count() or 1)):
            nursery.start_soon(trio.run_process, [sys.executable, "-c", LOOP])
        yield
        nursery.cancel_scope.cancel()


async def _make(run: Run, folder: Path) -> Ended:
    out = folder / f"{run.scenario.stem}-{run.seed}"
    known = set(setting_names())
    environ = {name: value for name, value in os.environ.items() if name not in known}
    command = [sys.executable, "-m", "simulator.cli", "run", str(run.scenario), "--seed", str(run.seed)]
    with trio.fail_after(RUN_TIMEOUT_SECONDS):
        done = await trio.run_process(
            [*command, "--no-reports", "--out", str(out)],
            cwd=TESTS.parent,
            env={**environ, "COLUMNS": WIDE_COLUMNS},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    written = next(out.glob("*/latest/verdict.json"), None)
    verdict = msgspec.json.decode(written.read_bytes()) if written is not None else {}
    return Ended(done.returncode, verdict, done.stdout.decode("utf-8", "replace"))
