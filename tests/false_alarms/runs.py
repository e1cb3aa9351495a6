"""Runs against a server that is right, in circumstances that are not as they should be.

`python -m tests.false_alarms.runs 137 200-299` makes the runs with these numbers again, and says what came of each.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from reference_server.app import setting_names
from tests.false_alarms.drawing import Circumstance, Run, drawn_run
from tests.false_alarms.forge import EXIT_CODE, PRINTED, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

SOAK = bool(os.environ.get("HATCHFARM_TESTS_SOAK"))
"""Whether to make every run, in place of a sample."""
RUNS_IN_ALL, SAMPLE, BATCH = 1000, 30, 50
CALM_AT_ONCE = 8
"""Runs under way at a time where the CPUs are to do: they mostly wait."""
BUSY_AT_ONCE = 8
BUSY_LOOPS_A_CORE = 1
"""Beside those, so that each process of a run gets a fraction of a core when it wants one."""
PASS, INCONCLUSIVE = 0, 3
KINDS = ("checkers", "thresholds")
WIDE_COLUMNS = "5000"
"""So wide that no sentence is broken into lines."""


class Ended(NamedTuple):
    """How a run ended: its exit code, its verdict file, and what it printed."""

    exit_code: int
    verdict: dict[str, Any]
    printed: str

    def doubts(self) -> dict[str, str]:
        """Say what it could not know, by name, and why."""
        return {name: why for kind in KINDS for name, why in _said(self.verdict, kind, "inconclusive").items()}


def wanted_batches() -> list[range]:
    """Give the numbers of the runs to make now, a test's each: all, or the first."""
    return [range(at, at + BATCH) for at in range(0, RUNS_IN_ALL, BATCH)] if SOAK else [range(SAMPLE)]


def accusations(ended: Ended) -> list[str]:
    """Say what a run says against a server that is right, or leaves unexplained."""
    verdict = ended.verdict
    if ended.exit_code not in {PASS, INCONCLUSIVE} or not verdict:
        said = [f"{name}: {why}" for kind in KINDS for name, why in _said(verdict, kind, "fail").items()]
        return [f"exit code {ended.exit_code}", *said]
    # A threshold may be missed where the harness was overloaded, and the run is inconclusive; a checker's word stands.
    found = [f"accused by {name}: {why}" for name, why in _said(verdict, "checkers", "fail").items()]
    if verdict["interrupted"]:
        found.append(f"interrupted: {verdict['interrupted']}")
    if ended.exit_code == PASS and not verdict["requests"]["heartbeats_accepted"]:
        found.append("no heartbeat was accepted, and it says that all is well")
    doubts = list(ended.doubts().values())
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


def make_runs(wanted: Sequence[Run], folder: Path) -> list[tuple[Run, Ended]]:
    """Make those for which the CPUs are to do, and then the others beside processes that keep them busy."""
    busy = [run for run in wanted if run.circumstance is Circumstance.BUSY]
    calm = [run for run in wanted if run.circumstance is not Circumstance.BUSY]
    loops = BUSY_LOOPS_A_CORE * (os.cpu_count() or 1)
    for runs, at_once, beside in ((calm, CALM_AT_ONCE, 0), (busy, BUSY_AT_ONCE, loops)):
        if runs:
            trio.run(_make, runs, folder, at_once, beside)
    return [(run, _read(folder / str(run.number))) for run in wanted]


async def _make(wanted: Sequence[Run], folder: Path, at_once: int, busy: int) -> None:
    orders = [
        Order(
            str(folder / str(run.number)),
            run.scenario,
            run.number,
            run.flags,
            run.settings,
            run.own,
            run.proxy,
            run.pauses,
        )
        for run in wanted
    ]
    known = set(setting_names())
    environ = {name: value for name, value in os.environ.items() if name not in known}
    # A thread of a library would not be there in what is forked.
    environ |= {"COLUMNS": WIDE_COLUMNS, "OPENBLAS_NUM_THREADS": "1"}
    await trio.run_process(
        [sys.executable, "-m", "tests.false_alarms.forge", str(at_once), str(busy)],
        stdin=b"".join(msgspec.json.encode(order) + b"\n" for order in orders),
        cwd=Path(__file__).parent.parent.parent,
        env=environ,
    )


def _read(folder: Path) -> Ended:
    """Read how a run ended."""
    written = next(folder.glob("results/*/latest/verdict.json"), None)
    verdict = msgspec.json.decode(written.read_bytes()) if written is not None else {}
    printed = (folder / PRINTED).read_text(encoding="utf-8", errors="replace")
    return Ended(int((folder / EXIT_CODE).read_text(encoding="ascii")), verdict, printed)


def main(words: Sequence[str]) -> int:
    """Make the runs that words name by numbers, like 137 or 200-299; gives how many accused a right server."""
    spans = [word.partition("-") for word in words]
    numbers = [number for first, _, last in spans for number in range(int(first), int(last or first) + 1)]
    folder = Path(mkdtemp(prefix="false-alarms-"))
    wrong = 0
    for run, ended in make_runs([drawn_run(number) for number in numbers], folder):
        found = accusations(ended)
        wrong += bool(found)
        told = "\n".join(
            [*(f"    ACCUSED {one}" for one in found), *(f"    {name}: {why}" for name, why in ended.doubts().items())]
        )
        sys.stdout.write(f"{run.name}: exit code {ended.exit_code}, {folder / str(run.number)}\n{told}\n")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
