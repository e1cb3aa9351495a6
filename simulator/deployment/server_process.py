"""The server a run starts for itself: a process of its own that cannot outlive the run, and can be made to fail."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import trio

from simulator.deployment.server_log import ServerLog, secrets_of
from simulator.limits import HURRIED_STOP_SECONDS, LOG_END_SECONDS
from simulator.platform.ending import Ending
from simulator.platform.secret_names import SECRET_NAME
from simulator.platform.watchdog import Watchdog, watchdog_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

ERROR_BYTES_KEPT = 8192
FIRST_LINE_MAX_BYTES = 4096
KIB = 1024
PEAK = re.compile(r"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
"""The high-water mark of the resident set, as Linux tells it (proc(5)); a process that has ended has none."""
LAST_WORDS_SECONDS = 0.1
"""What the last words of a process that has ended are given to arrive."""
SECRET_MIN_CHARACTERS = 6
"""Of a secret that is kept out of what is shown; a shorter one is anywhere."""


class Patience(NamedTuple):
    """How long a server may take, and how often it is tried."""

    start_seconds: float = 30.0
    stop_seconds: float = 20.0
    start_tries: int = 3
    """How often a server is started again on its port, which somebody else may hold for a moment."""
    log_end_seconds: float = LOG_END_SECONDS


PATIENCE = Patience()
SERVE = ("-m", "reference_server", "--until-stdin-closes")
"""What Python is told to run: a server that ends when its standard input closes."""


class ServerError(Exception):
    """The server did not start, or died; the message holds its own words."""


class _Output:
    """One output of a process, which is read to its end; `ended` says that nobody reads it any more."""

    def __init__(self, log: ServerLog, keep: Callable[[bytes | bytearray], None] = lambda _: None) -> None:
        log.open_ends += 1
        self._log = log
        self._keep = keep
        self._begin = b""
        self._has_line = trio.Event()
        self.ended = trio.Event()

    async def read(self, stream: trio.abc.ReceiveStream) -> None:
        """Read on and on, lest the process must wait for somebody who does."""
        try:
            await self._read(stream)
            self._log.open_ends -= 1
        finally:
            self._has_line.set()
            self.ended.set()

    async def _read(self, stream: trio.abc.ReceiveStream) -> None:
        async with stream:
            async for part in stream:
                self._log.take(part)
                if not self._has_line.is_set():
                    self._begin = (self._begin + part)[:FIRST_LINE_MAX_BYTES]
                    if b"\n" in part or len(self._begin) == FIRST_LINE_MAX_BYTES:
                        self._has_line.set()
                self._keep(part)

    async def first_line(self) -> str:
        """Return the first line once it is whole, or all there was."""
        await self._has_line.wait()
        return self._begin.partition(b"\n")[0].decode("utf-8", "replace").strip()  # the next may have come with it


class ServerProcess:
    """A server, started by `start`. `errors` is the end of what it wrote to standard error, `log` all that it wrote.

    It may be killed, stopped, paused and started again, on the same port with the same settings: what it knew is what
    its settings let it keep. The nursery must outlive it. A scenario's own command is a `CommandServer`.
    """

    def __init__(
        self, environ: Mapping[str, str], nursery: trio.Nursery, command: Sequence[str], patience: Patience = PATIENCE
    ) -> None:
        self._command = tuple(command)
        self._environ = {**environ, "HOST": "127.0.0.1", "PORT": "0"}
        self._given: Mapping[str, str] = self._environ
        """All that it finds in its environment."""
        self._nursery = nursery
        self._patience = patience
        self._process: trio.Process | None = None
        self._watchdog: Watchdog | None = None
        self._outputs: list[_Output] = []
        self._meant_to_be_down = False
        self._up = False
        self.ending = Ending()
        """Whoever gives this up has it ended at once, where it does not end in order by itself."""
        self.url = ""
        self.errors = b""
        self.log = ServerLog()
        self.secrets = secrets_of(self._environ)

    @property
    def pid(self) -> int:
        """Return the process's id. Raises ServerError before the first start."""
        return self._running().pid

    def processes(self) -> Sequence[int]:
        """Return the ids of what runs; of what is down those that it had."""
        return () if self._process is None else (self._process.pid,)

    @property
    def words(self) -> str:
        """Return the end of what it wrote, without any secret that it was given."""
        words = self.errors.decode("utf-8", "replace").strip()
        for name, value in self._given.items():
            if SECRET_NAME.search(name) and len(value) >= SECRET_MIN_CHARACTERS:
                words = words.replace(value, f"[{name}]")
        return words

    @property
    def memory_peak_bytes(self) -> int | None:
        """Return the most memory it has taken since its start; None while it is down, or where the system is silent."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        peak = PEAK.search(status)
        return None if peak is None else int(peak[1]) * KIB

    @property
    def exit_code(self) -> int | None:
        """Return how the process ended; None while it runs, or is down because it was told to be."""
        return None if self._meant_to_be_down else self._running().poll()

    @property
    def ended_by_itself(self) -> bool:
        """Return whether it has ended after it was up, and nobody told it to. What did not come up again is no such."""
        return self._up and self.exit_code is not None

    def _running(self) -> trio.Process:
        if self._process is None:
            raise ServerError("the server was never started")
        return self._process

    async def start(self) -> None:
        """Start, on the port it had before if there was one. Raises ServerError."""
        for left in reversed(range(self._patience.start_tries if self.url else 1)):
            try:
                await self._start()
            except ServerError:
                if not left or self.ending.given_up:
                    self._meant_to_be_down = False
                    raise
                await trio.sleep(0.2)
            else:
                break
        self._meant_to_be_down = False

    async def _start(self) -> None:
        self._up = False
        # Its standard input is a pipe that nobody writes to: when this process ends, however it ends, the pipe closes
        # and the server stops. So not even `kill -9` leaves one behind.
        process = await trio.lowlevel.open_process(
            [sys.executable, *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environ,
            # Ctrl-C in a terminal reaches the whole group; the server must outlive the run's last scrape.
            start_new_session=True,
        )
        if process.stdout is None or process.stderr is None:
            raise ServerError("the server's pipes are missing")
        self._process = process
        self._read(process.stderr, self._keep_errors)
        output = self._read(process.stdout)
        line = ""
        with self.ending.wait(trio.move_on_after(self._patience.start_seconds)):
            line = await output.first_line()
        if line.startswith("Listening on "):
            self.url = line.split()[-1]
            self._environ["PORT"] = self.url.rpartition(":")[2]
            self._up = True
            return
        await trio.sleep(LAST_WORDS_SECONDS)
        words = self.words.removeprefix("hatchfarm serve: ")
        await self._end(process)
        raise ServerError(f"the server did not start: {words or 'it said nothing'}")

    def _read(
        self, stream: trio.abc.ReceiveStream, keep: Callable[[bytes | bytearray], None] = lambda _: None
    ) -> _Output:
        """Begin to read one of its outputs into its log. Whoever ends it leaves that open: its last words come then."""
        output = _Output(self.log, keep)
        self._outputs = [*(one for one in self._outputs if not one.ended.is_set()), output]
        self._nursery.start_soon(output.read, stream)
        return output

    def _keep_errors(self, part: bytes | bytearray) -> None:
        self.errors = (self.errors + part)[-ERROR_BYTES_KEPT:]

    async def stop(self) -> None:
        """End it in order, and see that it ends."""
        self._meant_to_be_down = True
        await self.resume()
        await self._end(self._running())

    async def close(self) -> None:
        """End it at the end of a run, whatever state it is in; how it ended can be seen afterwards."""
        if self._process is not None:
            await self.resume()
            await self._end(self._process)
            # Of what it has left behind something may keep them open for good.
            await self.ending.wait_for(self._last_words, self._patience.log_end_seconds, HURRIED_STOP_SECONDS)

    async def _last_words(self) -> None:
        for output in self._outputs:
            await output.ended.wait()

    async def _end(self, process: trio.Process) -> None:
        await close_input(process)
        if not await self.ending.wait_for(process.wait, self._patience.stop_seconds, HURRIED_STOP_SECONDS):
            process.kill()
            await process.wait()

    async def kill(self) -> None:
        """End it as `kill -9` does, in the middle of whatever it does."""
        self._meant_to_be_down = True
        process = self._running()
        process.kill()
        await process.wait()
        await close_input(process)

    async def pause(self) -> None:
        """Stop it where it stands (SIGSTOP). Should this process end meanwhile, it goes on, and so stops by itself."""
        self._watchdog = await watchdog_of(self.pid, signal.SIGCONT)
        self._running().send_signal(signal.SIGSTOP)

    async def resume(self) -> None:
        """Continue it after a pause (SIGCONT); nothing to do without one."""
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            self._running().send_signal(signal.SIGCONT)
            await watchdog.dismiss()

    def fill_disk(self, *, full: bool) -> None:
        """Allow it no byte in any file (RLIMIT_FSIZE), or again as many as it likes.

        Each write and each extension fails with EFBIG. That is what a full disk (ENOSPC) does, but for its name, and
        it needs neither rights nor a disk of its own.
        """
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))


async def close_input(process: trio.Process) -> None:
    """Close a process's standard input, which nobody writes to."""
    if process.stdin is not None:
        await process.stdin.aclose()


def environ_of(settings: Mapping[str, str], token: str, not_inherited: Collection[str]) -> dict[str, str]:
    """Return the environment of a server of the run's own: this process's but for some variables, and its settings."""
    return {
        **{name: value for name, value in os.environ.items() if name not in not_inherited},
        "WORKER_STATUS_STATE_FILE": "",
        **settings,
        "HATCHFARM_API_TOKEN": token,
    }


@asynccontextmanager
async def running(
    make: Callable[[trio.Nursery], ServerProcess], ending: Ending | None = None
) -> AsyncIterator[ServerProcess]:
    """Start the server that is made within a nursery, and stop it gracefully at the end. Raises ServerError.

    Once `ending` is given up, it is ended at once.
    """
    async with trio.open_nursery() as nursery:
        server = make(nursery)
        server.ending = ending or server.ending
        try:
            await server.start()
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await server.close()
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def own_server(
    settings: Mapping[str, str],
    token: str,
    not_inherited: Collection[str] = ("TLS_CERT_FILE", "TLS_KEY_FILE"),
    command: Sequence[str] = (),
    patience: Patience = PATIENCE,
    ending: Ending | None = None,
) -> AsyncIterator[ServerProcess]:
    """Start a server on a free port of 127.0.0.1 and stop it gracefully at the end. Raises ServerError.

    `not_inherited` are variables of this process's environment that are kept from it; `command` runs it, `SERVE` unless
    given. Once `ending` is given up, it is stopped without grace.
    """
    environ = environ_of(settings, token, not_inherited)
    async with running(lambda nursery: ServerProcess(environ, nursery, command or SERVE, patience), ending) as server:
        yield server
