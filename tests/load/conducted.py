"""Whole conducted runs, as users start them: the processes of one, and what is seen of them from outside."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil
import trio

from tests.support.served import COMMAND
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from tests.cli.conftest import Hatchfarm

WAIT_SECONDS = 120.0
"""How long anything may take before a test gives up: far longer than it does take on a busy machine."""
POLL_SECONDS = 0.2
"""Each look goes over all processes there are."""
MACHINES = 20
ACCEPTED = 'hatchfarm_heartbeats_total{status="200"}'
_PLAIN = """\
version = 1
name = "conducted"
seed = 9
duration = "DURATION"
metrics_interval = "500ms"

[server.settings]
WORKER_AUTH_FAIL_ALERT_THRESHOLD = 3
RATE_LIMIT_BURST = 1000
METRICS_PUBLIC = true
WALLET_DEV_CREDIT_USDT = 20
WITHDRAWAL_ADDRESS_COOLDOWN_SECONDS = 0

[fleet]
machines = 20
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "500ms", target = 20 }]

[[load]]
user = "owner-dashboard"
rate = 5
stages = [STAGES]

"""
EVERYTHING = """\
[[load]]
user = "owner-onboarding"
rate = 5
stages = [{ duration = "1s", target = 2 }]

[[attacks]]
name = "replay.exact"
start = "2s"
duration = "1500ms"
rate = 8
share = 0.5

[[attacks]]
name = "signature.forged"
start = "2s"
duration = "1500ms"
rate = 8
"""
"""Everything that a run can hold but a market, to be added to `plain`."""
MARKET = """\
[[load]]
user = "agent-market"
rate = 3
stages = [{ duration = "1s", target = 3 }]

[market]
jobs_per_minute = 30
withdrawals_per_minute = 30

[market.offer]
early = 1
"""


def plain(duration: str, stages: str = '{ duration = "1s", target = 4 }') -> str:
    """Return a scenario of that length, of twenty machines and owners who look at them: four unless said."""
    return _PLAIN.replace("DURATION", duration).replace("STAGES", stages)


class Over(Exception):  # noqa: N818 - no mistake: the machine was too busy
    """The run came to its end before all was done to it."""


class Run:
    """A conducted run under way. Its processes are found by what they were started as."""

    def __init__(self, process: trio.Process, hatchfarm: Hatchfarm) -> None:
        self.process = process
        self.hatchfarm = hatchfarm
        self.psutil = psutil.Process(process.pid)
        self.seen: set[psutil.Process] = set()

    @property
    def out(self) -> str:
        return (self.hatchfarm.folder / "out.txt").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return (self.hatchfarm.folder / "err.txt").read_text(encoding="utf-8")

    def look(self) -> list[psutil.Process]:
        """Return the processes there are, and remember them: they must all be gone in the end."""
        with suppress(psutil.NoSuchProcess):
            found: list[psutil.Process] = self.psutil.children(recursive=True)
            self.seen.update(found)
            return found
        return []

    def started_with(self, word: str) -> list[psutil.Process]:
        """Return those that have this word among their arguments, in the order in which they were started."""
        found = [process for process in self.look() if word in arguments(process)]
        return sorted(found, key=lambda process: process.pid)

    @property
    def server(self) -> psutil.Process:
        (server,) = self.started_with("reference_server")
        return server

    @property
    def master(self) -> psutil.Process:
        (master,) = self.started_with("--headless")
        return master

    @property
    def workers(self) -> list[psutil.Process]:
        return self.started_with("--worker")

    def shard_of(self, worker: psutil.Process) -> psutil.Process:
        (shard,) = (one for one in worker.children() if "simulator.load.shard_process" in arguments(one))
        self.seen.add(shard)
        return shard

    async def metrics(self) -> dict[str, float]:
        """Read the metrics of the run's own server; nothing before it listens, or when it ends."""
        ports = [
            at.laddr.port
            for server in self.started_with("reference_server")
            for at in connections(server)
            if at.status == psutil.CONN_LISTEN
        ]
        if not ports:
            return {}
        text = ""
        with suppress(OSError, trio.BrokenResourceError):  # it may just end
            async with await trio.open_tcp_stream("127.0.0.1", ports[0]) as stream:
                await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                text = b"".join([part async for part in stream]).decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("hatchfarm_"))
        return {name: float(value) for name, value in pairs}

    async def until_at_work(self) -> None:
        """Wait until every machine has sent several heartbeats, so that each process has made a report or two."""
        with trio.fail_after(WAIT_SECONDS):
            while (await self.metrics()).get(ACCEPTED, 0) < 5 * MACHINES:
                assert self.process.poll() is None, self.out + self.err
                await trio.sleep(POLL_SECONDS)

    async def machines_once_at_work_on(self, shards: set[psutil.Process]) -> int:
        """Wait until these shards have the whole fleet connected; gives how many machines the server knows by then.

        Each machine keeps one connection open. Raises Over when the run comes to its end before that.
        """
        with trio.fail_after(WAIT_SECONDS):
            while True:
                if self.process.poll() is not None:
                    raise Over(self.out + self.err)
                held = sum(at.status == psutil.CONN_ESTABLISHED for shard in shards for at in connections(shard))
                shown = await self.metrics()
                if held == MACHINES and shown.get("hatchfarm_workers_unknown_total") == 0:
                    return int(shown["hatchfarm_workers_total"])
                await trio.sleep(POLL_SECONDS)

    def owners(self) -> int:
        """Count the owners who have a connection to the server: each has one, in a worker."""
        (server,) = self.started_with("reference_server")
        ports = {at.laddr.port for at in connections(server) if at.status == psutil.CONN_LISTEN}
        return sum(
            at.status == psutil.CONN_ESTABLISHED and at.raddr.port in ports
            for worker in self.workers
            for at in connections(worker)
        )

    async def end(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end; gives the exit code."""
        with trio.fail_after(seconds):
            return await self.process.wait()

    async def nothing_is_left(self, seconds: float = WAIT_SECONDS) -> None:
        """Wait until every process that was seen is gone."""
        await until(lambda: not alive(self.seen), seconds_max=seconds)


def arguments(process: psutil.Process) -> list[str]:
    """Return what a process was started with; nothing for one that is gone."""
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        found: list[str] = process.cmdline()
        return found
    return []


def connections(process: psutil.Process) -> list[Any]:
    """Return what a process listens on and is connected to; nothing for one that is gone."""
    with suppress(psutil.NoSuchProcess):
        return [*process.net_connections("tcp4")]
    return []


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that run."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@asynccontextmanager
async def conducted(
    hatchfarm: Hatchfarm, text: str, *flags: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[Run]:
    """Start a conducted run of a scenario; whatever is left of it in the end is ended."""
    folder = hatchfarm.folder
    (folder / "conducted.toml").write_text(text, encoding="utf-8")
    with (folder / "out.txt").open("wb") as out, (folder / "err.txt").open("wb") as err:
        process = await trio.lowlevel.open_process(
            [*COMMAND, "run", "conducted.toml", "--no-reports", *flags],
            cwd=folder,
            env=hatchfarm.environ(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    run = Run(process, hatchfarm)
    try:
        yield run
    finally:
        with trio.CancelScope(shield=True):
            run.look()
            if process.returncode is None:
                process.kill()
                await process.wait()
            for one in alive(run.seen):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
