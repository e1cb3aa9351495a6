"""Runs against a server that is right, in circumstances that are not as they should be.

`python -m tests.false_alarms.runs 137 200-299` makes the runs with these numbers again, and says what came of each.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio

from simulator.commands.cli import main as hatchfarm
from tests.false_alarms.drawing import Circumstance, Proxy, Run, drawn_run
from tests.false_alarms.proxies import Gate, serve_proxy
from tests.support.environment import without_settings
from tests.support.forked import ForkedServer, run_forked
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

RUNS_IN_ALL, SAMPLE, BATCH = 1000, 20, 50
CALM_AT_ONCE = 11
"""Runs under way at a time where the CPUs are to do: they mostly wait."""
BUSY_AT_ONCE = 8
BUSY_LOOPS_A_CORE = 1
"""Beside those, so that each process of a run gets a fraction of a core when it wants one."""
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""Ends with whoever started it, however that ends."""
RUN_TIMEOUT_SECONDS = 180.0
TOKEN = "owner-token-of-the-false-alarms"
SCENARIO, RESULTS, PRINTED, EXIT_CODE = "scenario.toml", "results", "printed.txt", "exit_code"
PASS, INCONCLUSIVE, KILLED = 0, 3, -9
KINDS = ("checkers", "thresholds")
WIDE_COLUMNS = "5000"
"""So wide that no sentence is broken into lines."""


class Ended(NamedTuple):
    """How a run ended: its exit code, its verdict file, and what it printed."""

    exit_code: int
    verdict: dict[str, Any]
    printed: str

    def doubts(self) -> dict[str, str]:
        """Return what it could not know, by name, and why."""
        return {name: why for kind in KINDS for name, why in _output(self.verdict, kind, "inconclusive").items()}


def wanted_batches() -> list[range]:
    """Return the numbers of the runs to make now, a test's each: all, or the first."""
    return [range(at, at + BATCH) for at in range(0, RUNS_IN_ALL, BATCH)] if SOAK else [range(SAMPLE)]


FOLLOWS = " is inconclusive: "
"""Before what a checker says, in the summary of a threshold that follows from it. That is printed with the checker."""


def accusations(ended: Ended) -> list[str]:
    """Return what a run says against a server that is right, or leaves unexplained."""
    verdict = ended.verdict
    if ended.exit_code not in {PASS, INCONCLUSIVE} or not verdict:
        output = [f"{name}: {why}" for kind in KINDS for name, why in _output(verdict, kind, "fail").items()]
        return [f"exit code {ended.exit_code}", *output]
    # A threshold may be missed where the harness was overloaded, and the run is inconclusive; a checker's word stands.
    found = [f"accused by {name}: {why}" for name, why in _output(verdict, "checkers", "fail").items()]
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
        elif not all(part in ended.printed for part in why.partition(FOLLOWS)[::2]):
            found.append(f"not told: {why}")
    return found


def _output(verdict: dict[str, Any], kind: str, status: str) -> dict[str, str]:
    return {one["name"]: one["summary"] for one in verdict.get(kind, ()) if one["status"] == status}


def make_runs(wanted: Sequence[Run], folder: Path) -> list[tuple[Run, Ended]]:
    """Make those for which the CPUs are to do, and then the others beside processes that keep them busy."""
    busy = [run for run in wanted if run.circumstance is Circumstance.BUSY]
    calm = [run for run in wanted if run.circumstance is not Circumstance.BUSY]
    loops = BUSY_LOOPS_A_CORE * (os.cpu_count() or 1)
    for runs, at_once, beside in ((calm, CALM_AT_ONCE, 0), (busy, BUSY_AT_ONCE, loops)):
        if runs:
            trio.run(_make_all, runs, folder, at_once, beside)
    return [(run, _read(folder / str(run.number))) for run in wanted]


async def _make_all(wanted: Sequence[Run], folder: Path, at_once: int, busy: int) -> None:
    """Make runs, so many at a time, beside so many processes that only keep a core busy."""
    limiter = trio.CapacityLimiter(at_once)

    async def make(run: Run) -> None:
        await _make(run, folder / str(run.number))
        limiter.release_on_behalf_of(run.number)

    async with trio.open_nursery() as loops:
        for _ in range(busy):
            loops.start_soon(trio.run_process, [sys.executable, "-c", LOOP])
        async with trio.open_nursery() as nursery:
            for run in sorted(wanted, key=lambda run: run.short):  # long ones first, lest all wait for them at the end
                await limiter.acquire_on_behalf_of(run.number)
                nursery.start_soon(make, run)
        loops.cancel_scope.cancel()


async def _make(run: Run, folder: Path) -> None:
    """Make one run, with its server and what stands before it, and note how it ended."""
    await trio.Path(folder).mkdir(parents=True)
    await trio.Path(folder / SCENARIO).write_text(run.scenario, encoding="utf-8")
    environ = without_settings(COLUMNS=WIDE_COLUMNS)
    words = ["run", str(folder / SCENARIO), "--seed", str(run.number), "--no-reports", "--out", str(folder / RESULTS)]
    async with _circumstances(run, environ) as target:
        if target:
            words += ["--target", target, "--profile", "hardened", *run.flags]
            environ |= {"HATCHFARM_API_TOKEN": TOKEN}
        code = KILLED
        with trio.move_on_after(RUN_TIMEOUT_SECONDS):
            code = await run_forked(hatchfarm, words, environ, folder / PRINTED)
    await trio.Path(folder / EXIT_CODE).write_text(str(code), encoding="ascii")


@asynccontextmanager
async def _circumstances(run: Run, environ: dict[str, str]) -> AsyncIterator[str]:
    """Return the URL of what stands before a run's server, while it does what it does; none where the run starts it."""
    if run.own:
        yield ""
        return
    own = {"HATCHFARM_API_TOKEN": TOKEN, "HOST": "127.0.0.1", "PORT": "0", "WORKER_STATUS_STATE_FILE": ""}
    server = ForkedServer(hatchfarm, ["serve", "--until-stdin-closes"], {**environ, **run.settings, **own})
    try:
        url = (await server.line()).split()[-1]
        async with trio.open_nursery() as nursery:
            if run.proxy is not Proxy.NONE:
                (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=512)
                gate = Gate(run.pauses if run.proxy is Proxy.SLOW else ())
                nursery.start_soon(serve_proxy, listener, run.proxy, int(url.rpartition(":")[2]), gate)
                url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            elif run.pauses:
                nursery.start_soon(_stand_still, server.pid, run.pauses)
            yield url
            nursery.cancel_scope.cancel()
    finally:
        await server.aclose()


async def _stand_still(server: int, pauses: Sequence[tuple[float, float]]) -> None:
    for works_seconds, stands_seconds in pauses:
        await trio.sleep(works_seconds)
        os.kill(server, signal.SIGSTOP)
        try:
            await trio.sleep(stands_seconds)
        finally:
            os.kill(server, signal.SIGCONT)


def _read(folder: Path) -> Ended:
    """Read how a run ended."""
    written = next(folder.glob(f"{RESULTS}/*/latest/verdict.json"), None)
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
        reported = "\n".join(
            [*(f"    ACCUSED {one}" for one in found), *(f"    {name}: {why}" for name, why in ended.doubts().items())]
        )
        sys.stdout.write(f"{run.name}: exit code {ended.exit_code}, {folder / str(run.number)}\n{reported}\n")
    return wrong


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
