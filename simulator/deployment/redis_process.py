"""The Redis a run starts for itself: Debian's redis-server on a loopback port of its own, with its own folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio

from simulator.deployment.server_process import ServerError
from simulator.limits import REDIS_UNSYNCED_SECONDS
from simulator.platform.watchdog import Watchdog, watchdog_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROGRAM = "redis-server"
START_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 5.0
POLL_SECONDS = 0.02
PORT_TRIES = 5
"""Ports that are tried: between finding a free one and listening on it somebody else may take it."""
ANSWER_MAX_BYTES = 4096
WRITTEN = "appendonlydir/*.incr.aof"
"""Where in its folder it writes what it is told."""


class RedisError(ServerError):
    """Redis did not start, or does not answer; the message says why and what to do."""


class RedisProcess:
    """A Redis that keeps every write (AOF, `appendfsync always`), so that what it acknowledged survives its death.

    It may be killed, paused and started again, on the same port with the same folder. One that syncs once a second may
    crash as well.
    """

    def __init__(self, program: str, folder: Path, *, syncs_always: bool = True) -> None:
        self._program = program
        self._folder = folder
        self._syncs = "always" if syncs_always else "everysec"
        self._process: trio.Process | None = None
        self._watchdog: Watchdog | None = None
        self.port = 0

    @property
    def address(self) -> str:
        """Return host and port, as the server's `REDIS_ADDR` has them."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Return the process's id. Raises RedisError before the first start."""
        return self._running().pid

    def _running(self) -> trio.Process:
        if self._process is None:
            raise RedisError("Redis was never started")
        return self._process

    async def start(self) -> None:
        """Start, on the port it had before if there was one. Raises RedisError."""
        for left in reversed(range(PORT_TRIES)):
            port = self.port or _free_port()
            command = [
                self._program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(self._folder), "--save", "",
                "--appendonly", "yes", "--appendfsync", self._syncs, "--logfile", str(self._folder / "redis.log"),
            ]  # fmt: skip
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._process = process
            self._watchdog = await watchdog_of(process.pid, signal.SIGKILL)
            if await self._listens(process, port):
                self.port = port
                return
            await self.kill()
            if not left:
                raise RedisError(f"{PROGRAM} did not start: {self._last_words()}")

    async def _listens(self, process: trio.Process, port: int) -> bool:
        with trio.move_on_after(START_TIMEOUT_SECONDS):
            while process.poll() is None:
                with suppress(OSError, trio.BrokenResourceError):
                    if await _command(port, "PING") == b"+PONG":
                        return True
                await trio.sleep(POLL_SECONDS)  # it is not there yet, or still reads what it has written
        return False

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "redis.log").read_text("utf-8", "replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1] if lines else "it said nothing"

    async def kill(self) -> None:
        """End it as `kill -9` does; nothing to do where none runs."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            await watchdog.dismiss()

    async def crash(self) -> None:
        """End it without what it was told in its last second, as a power loss may: that is cut off its file."""
        sizes = {file: file.stat().st_size for file in self._folder.glob(WRITTEN)}
        await trio.sleep(REDIS_UNSYNCED_SECONDS)
        await self.kill()
        for file, size in sizes.items():
            os.truncate(file, size)

    def pause(self) -> None:
        """Stop it where it stands (SIGSTOP): connections stay open, and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue it after a pause (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    async def flush(self) -> None:
        """Have it forget all it holds. Raises RedisError."""
        try:
            with trio.fail_after(COMMAND_TIMEOUT_SECONDS):
                reply = await _command(self.port, "FLUSHALL")
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            raise RedisError(f"Redis could not be flushed ({type(error).__name__})") from None
        if reply != b"+OK":
            raise RedisError(f"Redis could not be flushed: it said {reply[:100]!r}")


async def _command(port: int, name: str) -> bytes:
    """Send a command without arguments to Redis; return the first line of its reply (RESP)."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"*1\r\n$%d\r\n%s\r\n" % (len(name), name.encode()))
        reply = b""
        while b"\r\n" not in reply and len(reply) < ANSWER_MAX_BYTES:
            part = await stream.receive_some(ANSWER_MAX_BYTES)
            if not part:
                break
            reply += part
    return reply.partition(b"\r\n")[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def own_redis(*, syncs_always: bool = True) -> AsyncIterator[RedisProcess]:
    """Start a Redis, and end it at the end. Raises RedisError."""
    program = shutil.which(PROGRAM)
    if program is None:
        raise RedisError(
            f"the scenario has `server.redis = true`, and there is no {PROGRAM} on the PATH: install it "
            "(Debian's package is called redis-server), or remove the line"
        )
    with TemporaryDirectory(prefix="hatchfarm-redis-") as folder:
        redis = RedisProcess(program, Path(folder), syncs_always=syncs_always)
        try:
            await redis.start()
            yield redis
        finally:
            with trio.CancelScope(shield=True):
                await redis.kill()
