"""Servers as processes of their own, and machines enrolled over their sockets."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.clock import SystemClock
from tests.http.serving import Client, Server
from tests.http.twins import API_TOKEN, Machine, data_of, enrolment
from tests.support.served import COMMAND

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

INHERITED = ("HOME", "LANG", "PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
SERVE = (*COMMAND, "serve")
SETTINGS = {
    "PORT": "0",
    "HATCHFARM_API_TOKEN": API_TOKEN,
    "RATE_LIMIT_BURST": "1000000",
    "WORKER_STATUS_STATE_FILE": "",
}
START_SECONDS = 60.0
"""A process on a busy machine may take this long to begin or to end."""


def environment(settings: Mapping[str, str | None]) -> dict[str, str]:
    """Return a process these settings and no others; None leaves one out."""
    given = {**SETTINGS, **settings}
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **{name: value for name, value in given.items() if value is not None}}


LISTENING = "Listening on "


class Output:
    """What a process writes to one of its outputs, as it comes."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._changed = trio.Event()
        self.text = ""
        self.ended = trio.Event()

    async def collect(self) -> None:
        """Read to the end."""
        async for part in self._stream:
            self.text += part.decode()
            self._changed.set()
        self.ended.set()
        self._changed.set()

    async def line_with(self, words: str) -> str:
        """Wait for a whole line that holds these words."""
        line = await self.line_or_end(words)
        assert line is not None, self.text
        return line

    async def line_or_end(self, words: str) -> str | None:
        """Wait for a whole line that holds these words, or for the end: None."""
        while True:
            for line in self.text.splitlines(keepends=True):
                if words in line and line.endswith("\n"):
                    return line.strip()
            if self.ended.is_set():
                return None
            self._changed = trio.Event()
            await self._changed.wait()


class Running:
    """A process with its outputs."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self.stdout = Output(process.stdout)
        self.stderr = Output(process.stderr)

    async def ended(self) -> int:
        """Wait for its end and the end of its outputs; give its exit code."""
        with trio.fail_after(START_SECONDS):
            code = await self.process.wait()
            await self.stdout.ended.wait()
            await self.stderr.ended.wait()
        return code

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, and give its exit code."""
        self.process.send_signal(number)
        return await self.ended()

    async def server(self) -> Server:
        """Wait until `hatchfarm serve` says where it listens."""
        with trio.fail_after(START_SECONDS):
            return Server((await self.stdout.line_with(LISTENING)).split()[-1])

    async def starts(self) -> bool:
        """Wait until `hatchfarm serve` listens, or has ended without that; say which."""
        with trio.fail_after(START_SECONDS):
            return await self.stdout.line_or_end(LISTENING) is not None


@asynccontextmanager
async def running(
    command: Sequence[str] = SERVE,
    settings: Mapping[str, str | None] | None = None,
    stdin: int = subprocess.DEVNULL,
) -> AsyncIterator[Running]:
    """Start a process; it is killed if it still runs in the end."""
    process = await trio.lowlevel.open_process(
        list(command),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(settings or {}),
        start_new_session=True,
    )
    started = Running(process)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(started.stdout.collect)
        nursery.start_soon(started.stderr.collect)
        try:
            yield started
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()
                if process.stdin is not None:
                    await process.stdin.aclose()


async def enrol_over(client: Client, name: str = "rack 1") -> Machine:
    """Enrol a machine over a connection."""
    steps = enrolment(name)
    request = next(steps)
    while True:
        answer = await client.ask(request)
        try:
            request = steps.send(data_of(answer.status, answer.body))
        except StopIteration as end:
            machine: Machine = end.value
            return machine


async def beat_over(client: Client, machine: Machine, nonce: str) -> int:
    """Send a heartbeat stamped now, and give its answer's status."""
    return (await client.ask(machine.heartbeat(nonce, SystemClock().now().wall_ns))).status
