"""A scenario's own `command` in the reference server's place: any program that speaks the contract, ruled as that is.

Of the reference server the run knows that it says where it listens, ends with its standard input and is one process. Of
a command it only knows that its health path answers 2xx once it is ready, and that SIGTERM ends it in order.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from simulator.deployment.server_log import secrets_of
from simulator.deployment.server_process import (
    LAST_WORDS_SECONDS,
    Patience,
    ServerError,
    ServerProcess,
    close_input,
    environ_of,
    running,
)
from simulator.limits import COMMAND_START_SECONDS, HEALTH_ANSWER_MAX_BYTES, HURRIED_STOP_SECONDS
from simulator.platform.process_tree import MARK, ProcessTree
from simulator.platform.watchdog import Watchdog, watchdog_of_tree
from simulator.scenario.placeholders import filled
from simulator.scenario.values import as_environ

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from simulator.platform.ending import Ending
    from simulator.scenario.values import ServerOptions

HOST = "127.0.0.1"
ANSWERED = "it answered"
LINE_SHOWN_MAX = 100
_SUCCESS = re.compile(r"HTTP/1\.[01] 2[0-9]{2}\b")
TRY_AGAIN_SECONDS = 0.2
LOOK_SECONDS = 0.05
LOOK_AGAIN_SECONDS = 0.5
"""After an answer that is no 2xx: a health path that costs a token must not use up what the run's clients have."""
COMMAND_PATIENCE = Patience(start_seconds=COMMAND_START_SECONDS)
ASK_SECONDS = 2.0
"""For one answer of the health path, until it is asked again."""
_marks = count(1)


def find_free_port() -> int:
    """Return a port that is free now; another program may take it before a server does."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class EndedError(ServerError):
    """The command ended by itself before it was ready, perhaps because somebody else took its port."""


class CommandServer(ServerProcess):
    """A program with all that it forks, started by `start`. `errors` is the end of what it wrote to either output."""

    def __init__(
        self,
        options: ServerOptions,
        environ: Mapping[str, str],
        nursery: trio.Nursery,
        trusted: str = "",
        patience: Patience = COMMAND_PATIENCE,
        free_port: Callable[[], int] = find_free_port,
    ) -> None:
        super().__init__(environ, nursery, options.command, patience)
        self._free_port = free_port
        self._health = options.health
        self._more = as_environ(options.env)
        self._tls = ssl.create_default_context(cadata=trusted) if trusted else None
        self._tree: ProcessTree | None = None
        self._tree_watchdog: Watchdog | None = None
        self._paused = False

    async def start(self) -> None:
        """Start, on the port it had before if there was one, else on one that is free. Raises ServerError."""
        first = not self.url
        try:
            for left in reversed(range(self._patience.start_tries)):
                if first:
                    self._environ["PORT"] = str(self._free_port())
                try:
                    await self._start()
                except EndedError:
                    if not left:
                        raise
                    await trio.sleep(TRY_AGAIN_SECONDS)
                else:
                    break
        finally:
            self._meant_to_be_down = False

    async def _start(self) -> None:
        self._up = False
        port = int(self._environ["PORT"])
        environ = {**self._environ, MARK: f"{os.getpid()}-{next(_marks)}"}
        environ |= {name: filled(value, environ) for name, value in self._more.items()}
        self._given = environ
        self.secrets |= secrets_of(environ)
        program, *arguments = (filled(word, environ) for word in self._command)
        self._tree_watchdog = await watchdog_of_tree(f"{MARK}={environ[MARK]}")
        try:
            process = await trio.lowlevel.open_process(
                [program, *arguments],
                stdin=subprocess.PIPE,  # nobody writes to it: it closes with this process, which a command may heed
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            await self._dismiss_watchdog()
            problem = missing_program(program) or f"{program} cannot be started: {error.strerror}"
            raise ServerError(f"the server did not start: {problem}") from None
        self._process = process
        self._tree = ProcessTree(process.pid, environ[MARK])
        await self._tree_watchdog.watch(process.pid)
        if process.stdout is not None:
            self._read(process.stdout, self._keep_errors)
        seen = ""
        with trio.move_on_after(self._patience.start_seconds):
            while process.poll() is None:
                seen = await self._look(port)
                if not seen and process.poll() is None:
                    self.url = f"{'http' if self._tls is None else 'https'}://{HOST}:{port}"
                    self._up = True
                    return
                await trio.sleep(LOOK_AGAIN_SECONDS if seen.startswith(ANSWERED) else LOOK_SECONDS)
        await trio.sleep(LAST_WORDS_SECONDS)
        code = process.poll()
        await self._end(process)
        words = f"; it said: {self.words}" if self.words else "; it said nothing"
        if code is not None:
            raise EndedError(
                f"the server did not start: {program} ended with exit code {code} before it was ready{words}"
            )
        raise ServerError(
            f"the server did not start: {program} was not ready within {self._patience.start_seconds:.0f}s ({seen}): "
            f"it must listen on {HOST} at the port in PORT, or `{{port}}` of its command, and answer {self._health} "
            f"with 2xx{words}"
        )

    async def _look(self, port: int) -> str:
        """Ask the health path; return what is wrong, nothing when it is ready."""
        request = f"GET {self._health} HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n\r\n".encode("ascii")
        answer = b""
        try:
            with trio.fail_after(ASK_SECONDS):
                async with await self._connect(port) as stream:
                    await stream.send_all(request)
                    while b"\r\n" not in answer and len(answer) < HEALTH_ANSWER_MAX_BYTES:
                        part = await stream.receive_some(HEALTH_ANSWER_MAX_BYTES)
                        if not part:
                            break
                        answer += part
        except OSError:
            return "nothing listens there"
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            return f"{ANSWERED} nothing ({type(error).__name__})"
        line = answer.partition(b"\r\n")[0].decode("ascii", "backslashreplace")
        return "" if _SUCCESS.match(line) else f"{ANSWERED} {line[:LINE_SHOWN_MAX] or 'nothing'}"

    async def _connect(self, port: int) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(HOST, port)
        if self._tls is None:
            return stream
        return trio.SSLStream(stream, self._tls, server_hostname=HOST, https_compatible=True)

    def processes(self) -> Sequence[int]:
        """Return the ids of all of its session."""
        return () if self._tree is None else self._tree.session()

    @property
    def memory_peak_bytes(self) -> int | None:
        """Return the most memory it has taken since its start, or of several processes what they take together now.

        What they share counts once. None while it is down, or where the system is silent.
        """
        if self._tree is None or self.exit_code is not None or len(self._tree.session()) == 1:
            return super().memory_peak_bytes
        return self._tree.memory_bytes()

    async def kill(self) -> None:
        """End all of it as `kill -9` does, in the middle of whatever it does. Raises ServerError where that fails."""
        self._meant_to_be_down = True
        await self._destroy(self._running())

    async def _end(self, process: trio.Process) -> None:
        """End it in order, by SIGTERM to all of it and the end of its input, and see that it ends."""
        if self._tree is not None:
            self._tree.send(signal.SIGTERM)
            await close_input(process)
            tree = self._tree

            async def ended() -> None:
                await process.wait()
                await tree.ended()

            await self.ending.wait_for(ended, self._patience.stop_seconds, HURRIED_STOP_SECONDS)
        await self._destroy(process)

    async def _destroy(self, process: trio.Process) -> None:
        tree, self._tree = self._tree, None
        gone = tree is None or await tree.kill()
        await process.wait()
        await close_input(process)
        await self._dismiss_watchdog()
        if not gone:
            raise ServerError("the server could not be killed: it forks faster than it can be")

    async def _dismiss_watchdog(self) -> None:
        watchdog, self._tree_watchdog = self._tree_watchdog, None
        if watchdog is not None:
            await watchdog.dismiss()

    async def pause(self) -> None:
        """Stop all of it where it stands (SIGSTOP). Raises ServerError where that fails."""
        self._paused = True
        if self._tree is None or not await self._tree.pause():
            raise ServerError("the server could not be stopped where it stands")

    async def resume(self) -> None:
        """Continue all of it after a pause (SIGCONT); nothing to do without one."""
        paused, self._paused = self._paused, False
        if paused and self._tree is not None:
            self._tree.resume()

    def fill_disk(self, *, full: bool) -> None:
        """Allow all of it no byte in any file, or again as many as it likes. Raises ServerError."""
        try:
            if self._tree is not None:
                self._tree.limit_files(full=full)
        except OSError as error:
            raise ServerError(f"the server's files could not be limited: {error.strerror}") from None


def missing_program(program: str) -> str:
    """Return what is wrong with a program that cannot be found or run; nothing where it can."""
    if shutil.which(program) is not None:
        return ""
    if os.sep in program:
        what = "may not be run: is it executable?" if Path(program).exists() else "is not there"
        return f"{program} {what}; a path is relative to where the run is started, here {Path.cwd()}"
    return f"there is no {program} on the PATH; a program beside the scenario is written with its path, as ./{program}"


@asynccontextmanager
async def own_command(
    options: ServerOptions,
    settings: Mapping[str, str],
    token: str,
    not_inherited: Collection[str],
    trusted: str = "",
    patience: Patience = COMMAND_PATIENCE,
    free_port: Callable[[], int] = find_free_port,
    ending: Ending | None = None,
) -> AsyncIterator[ServerProcess]:
    """Start a scenario's command on a free port of 127.0.0.1 and stop it in order at the end. Raises ServerError.

    It has the `settings` as environment, as the reference server would. `trusted` is the certificate, as PEM, by which
    it speaks TLS, if it does; `free_port` chooses its port. Once `ending` is given up, it is stopped without grace.
    """
    environ = environ_of(settings, token, not_inherited)
    async with running(
        lambda nursery: CommandServer(options, environ, nursery, trusted, patience, free_port), ending
    ) as server:
        yield server
