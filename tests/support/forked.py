"""Processes forked from one that has loaded this program already: as real as any, and a second of CPU cheaper each.

Whoever tests how a command starts takes a command instead.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from tests.support.alone import be_as_nice_as, nice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerProcess

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.support.loaded"])


async def run_forked(main: Callable[[], object], arguments: list[str], environ: Mapping[str, str], out: Path) -> int:
    """Run a program's `main` in a process of its own, to its end; gives the exit code.

    What it prints to both its streams goes into the file `out`.
    """
    process = _CONTEXT.Process(target=_become, args=(nice(), main, arguments, dict(environ), "", str(out), str(out)))
    process.start()
    try:
        return await _end_of(process)
    finally:
        if process.exitcode is None:
            process.kill()


class Finished(NamedTuple):
    """A process that has ended: its exit code, and what it printed to each stream."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """Its output, line by line."""
        return [line.rstrip() for line in self.out.splitlines()]


def finish_forked(
    main: Callable[[], object],
    arguments: list[str],
    environ: Mapping[str, str],
    folder: Path,
    *,
    seconds_max: float,
) -> Finished:
    """Run a program's `main` in a folder, in a process of its own, to its end. Raises TimeoutError after so long."""
    with TemporaryDirectory() as printed:
        out, err = Path(printed, "out"), Path(printed, "err")
        streams = (str(folder), str(out), str(err))
        process = _CONTEXT.Process(target=_become, args=(nice(), main, arguments, dict(environ), *streams))
        process.start()
        process.join(seconds_max)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(arguments)
        return Finished(process.exitcode, out.read_text("utf-8"), err.read_text("utf-8"))


class ForkedServer:
    """A server in a process of its own, which ends when it is closed."""

    def __init__(self, main: Callable[[], object], arguments: list[str], environ: Mapping[str, str]) -> None:
        theirs, self._held = _CONTEXT.Pipe(duplex=False)
        self._printed, printing = _CONTEXT.Pipe(duplex=False)
        given = nice(), main, arguments, dict(environ), theirs, printing
        self._process = _CONTEXT.Process(target=_become_server, args=given)
        self._process.start()
        theirs.close()
        printing.close()

    @property
    def pid(self) -> int:
        """Return the process's id."""
        assert self._process.pid is not None
        return self._process.pid

    async def line(self) -> str:
        """Return the first line that it prints; what it printed before its end, if it prints none."""
        line = b""
        while not line.endswith(b"\n"):
            await trio.lowlevel.wait_readable(self._printed.fileno())
            part = os.read(self._printed.fileno(), 4096)
            if not part:
                break
            line += part
        return line.decode()

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._process.kill()
        await self.aclose()

    async def aclose(self) -> None:
        """Close what its standard input reads, and wait for its end."""
        self._held.close()
        with trio.CancelScope(shield=True):
            await _end_of(self._process)
        self._printed.close()


async def _end_of(process: ForkServerProcess) -> int:
    await trio.lowlevel.wait_readable(process.sentinel)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _become(
    niceness: int,
    main: Callable[[], object],
    arguments: list[str],
    environ: dict[str, str],
    folder: str,
    out: str,
    err: str,
) -> None:
    be_as_nice_as(niceness)  # as whoever asked for it: it is forked from another
    files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) for path in (out, err)]
    if folder:
        os.chdir(folder)
    _live(main, arguments, environ, 1, files[0], 2, files[1])


def _become_server(
    niceness: int,
    main: Callable[[], object],
    arguments: list[str],
    environ: dict[str, str],
    held: Connection,
    printing: Connection,
) -> None:
    be_as_nice_as(niceness)
    _live(main, arguments, environ, 0, held.fileno(), 1, printing.fileno(), 2, os.open(os.devnull, os.O_WRONLY))


def _live(main: Callable[[], Any], arguments: list[str], environ: dict[str, str], *streams: int) -> None:
    for at in range(0, len(streams), 2):
        os.dup2(streams[at + 1], streams[at])
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["hatchfarm", *arguments]
    sys.exit(main())
