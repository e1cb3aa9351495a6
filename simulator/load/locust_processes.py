"""Locust's processes: one that is the master, and this host's workers. They end with this process, however it ends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import trio

from simulator.client.access import environ_of
from simulator.load.options import LOCUSTFILE
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from simulator.client.target import Target
    from simulator.load.options import ConductorOptions

STOP_SECONDS = 10.0
WORDS_KEPT_BYTES = 8192
MASTER = "master"


class LocustProcesses:
    """The processes of one run. What they say to standard error is kept for when one dies."""

    def __init__(self, wanted: ConductorOptions, target: Target) -> None:
        self._options = wanted
        self._target = target
        self._master_port = wanted.master_port if wanted.master else _free_port()
        self._lifeline: tuple[int, int] | None = None
        self._started: dict[str, trio.Process] = {}
        self._words: dict[str, bytes] = {}

    @property
    def workers(self) -> int:
        """Count the workers to start here: none where the master is one itself, or where they come from elsewhere."""
        wanted = self._options
        return 0 if wanted.master or wanted.workers == 1 else wanted.workers

    @property
    def any_died(self) -> bool:
        """Return whether one of this host's workers has ended."""
        return any(process.poll() is not None for name, process in self._started.items() if name != MASTER)

    async def start(self, control: socket.socket) -> None:
        """Start the master, which takes over `control`, and the workers."""
        self._lifeline = os.pipe()
        with control:
            variables = {"HATCHFARM_CONDUCTOR_FD": str(control.fileno())}
            await self._start(MASTER, self._master_options(), variables, control.fileno())
        lifeline = self._lifeline[0]
        options = ["--worker", "--master-host", "127.0.0.1", "--master-port", str(self._master_port)]
        for number in range(1, self.workers + 1):
            await self._start(f"worker {number}", options, {"HATCHFARM_LIFELINE_FD": str(lifeline)}, lifeline)

    async def keep_words(self) -> None:
        """Keep the end of what each process says, until all have ended."""
        async with trio.open_nursery() as nursery:
            for name, process in self._started.items():
                nursery.start_soon(self._keep_words, name, process)

    async def master_end(self) -> str:
        """Wait for the master's end; says how it came."""
        master = self._started[MASTER]
        await master.wait()
        return f"Locust's master ended with exit code {master.returncode}{self._last_words(MASTER)}"

    def why_not_started(self, problem: str, waited_seconds: float) -> str:
        """Return why no test began, and what to do; `problem` is what is known otherwise."""
        wanted = self._options
        if wanted.master and (not problem or waited_seconds >= wanted.workers_seconds):
            return (
                f"{plural(wanted.workers, 'worker')} expected at {wanted.master}:{wanted.master_port} within "
                f"{wanted.workers_seconds:g} s: start each with "
                f"`hatchfarm worker --master {wanted.master}:{wanted.master_port}`"
            )
        for name, process in self._started.items():
            if name != MASTER and process.poll() is not None:
                return f"Locust's {name} ended with exit code {process.returncode}{self._last_words(name)}"
        return problem or f"Locust did not start the test within {wanted.start_seconds:g} s{self._last_words(MASTER)}"

    async def stop(self) -> None:
        """End them: in order first, then at once. Their shards end with them."""
        processes = list(self._started.values())
        with trio.move_on_after(STOP_SECONDS):
            for process in processes:
                if process.poll() is None:
                    process.terminate()
            for process in processes:
                await process.wait()
        for process in processes:
            if process.poll() is None:
                process.kill()
                await process.wait()
        for descriptor in self._lifeline or ():
            os.close(descriptor)
        self._lifeline = None

    def _master_options(self) -> list[str]:
        wanted = self._options
        options = ["--host", self._target.url]
        if wanted.web_port is None:
            options += ["--headless", "--only-summary"]
        else:
            options += ["--autostart", "--web-host", "127.0.0.1", "--web-port", str(wanted.web_port)]
        if self.workers or wanted.master:
            options += ["--master", "--master-bind-host", wanted.master or "127.0.0.1"]
            options += ["--master-bind-port", str(self._master_port), "--enable-rebalancing"]
            options += ["--expect-workers", str(wanted.workers)]
            options += ["--expect-workers-max-wait", f"{wanted.workers_seconds:.0f}"]
        return options

    async def _start(self, name: str, options: list[str], environ: dict[str, str], inherited: int) -> None:
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--loglevel", "WARNING", *options]
        self._started[name] = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                **environ,
                **environ_of(self._target.access),
                "HATCHFARM_API_TOKEN": self._target.token,
            },
            pass_fds=[inherited],
            start_new_session=True,  # Ctrl-C is for this process, which ends the others in order
        )

    async def _keep_words(self, name: str, process: trio.Process) -> None:
        if process.stderr is not None:
            async for data in process.stderr:
                self._words[name] = (self._words.get(name, b"") + bytes(data))[-WORDS_KEPT_BYTES:]

    def _last_words(self, name: str) -> str:
        lines = self._words.get(name, b"").decode("utf-8", "replace").strip().splitlines()
        return f"; its last words: {lines[-1]}" if lines else ""


def _free_port() -> int:
    """Find a port for this host's own workers: with one for all, those of two runs at once would join the first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
