"""The server a run starts for itself: a process of its own that cannot outlive the run."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

START_TIMEOUT_SECONDS = 30.0
STOP_TIMEOUT_SECONDS = 20.0
ERROR_BYTES_KEPT = 8192


class ServerError(Exception):
    """The server did not start, or died; the message holds its own words."""


class ServerProcess:
    """A running server. `exit_code` is None while it lives; `errors` is the end of what it wrote to standard error."""

    def __init__(self, process: trio.Process, url: str) -> None:
        self._process = process
        self.url = url
        self.pid = process.pid
        self.errors = b""

    @property
    def exit_code(self) -> int | None:
        """Say how the process ended, None while it runs."""
        return self._process.poll()


async def _first_line(stream: trio.abc.ReceiveStream) -> str:
    line = b""
    while b"\n" not in line:
        part = await stream.receive_some(4096)
        if not part:
            break
        line += part
    return line.decode("utf-8", "replace").strip()


@asynccontextmanager
async def own_server(
    settings: Mapping[str, str], token: str, not_inherited: Collection[str] = ("TLS_CERT_FILE", "TLS_KEY_FILE")
) -> AsyncIterator[ServerProcess]:
    """Start a server on a free port of 127.0.0.1 and stop it gracefully at the end. Raises ServerError.

    `not_inherited` are variables of this process's environment that are kept from it.

    Its standard input is a pipe that nobody writes to: when this process ends, however it ends, the pipe closes and the
    server stops. So not even `kill -9` leaves one behind.
    """
    environ = {
        **{name: value for name, value in os.environ.items() if name not in not_inherited},
        **settings,
        "HOST": "127.0.0.1",
        "PORT": "0",
        "HATCHFARM_API_TOKEN": token,
    }
    command = [sys.executable, "-m", "simulator.cli", "serve", "--until-stdin-closes"]
    process = await trio.lowlevel.open_process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        # Ctrl-C in a terminal reaches the whole group; the server must outlive the run's last scrape.
        start_new_session=True,
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    if stdin is None or stdout is None or stderr is None:
        raise ServerError("the server's pipes are missing")
    server = ServerProcess(process, "")

    async def keep_errors() -> None:
        async for part in stderr:
            server.errors = (server.errors + part)[-ERROR_BYTES_KEPT:]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_errors)
        try:
            with trio.move_on_after(START_TIMEOUT_SECONDS):
                line = await _first_line(stdout)
                if line.startswith("Listening on "):
                    server.url = line.split()[-1]
            if not server.url:
                await trio.sleep(0.1)  # let its last words arrive
                said = server.errors.decode("utf-8", "replace").strip().removeprefix("hatchfarm serve: ")
                raise ServerError(f"the server did not start: {said or 'it said nothing'}")
            yield server
        finally:
            with trio.CancelScope(shield=True):
                await stdin.aclose()
                with trio.move_on_after(STOP_TIMEOUT_SECONDS):
                    await process.wait()
                if process.poll() is None:
                    process.kill()
                    await process.wait()
                nursery.cancel_scope.cancel()
