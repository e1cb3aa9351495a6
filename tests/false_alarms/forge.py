"""A process in which everything is loaded once, and that forks for each run: imports are most of what one costs.

Reads orders from standard input, a line of JSON each; each leaves `exit_code` and `printed` in a folder of its own.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from contextlib import redirect_stdout, suppress
from functools import partial
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
import numpy.ma
import numpy.random  # noqa: F401 - loaded here, as is what follows, and not by each run again
import trio

import simulator.running.run  # noqa: F401 - as above
from reference_server.app import serve
from simulator.commands.cli import app
from simulator.commands.cli import main as command
from tests.false_alarms.drawing import Proxy
from tests.false_alarms.proxies import Gate, serve_proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RUN_TIMEOUT_SECONDS = 180.0
FAILED = 70
"""How a process ends that failed by itself (sysexits.h: EX_SOFTWARE)."""
TOKEN = "owner-token-of-the-false-alarms"
SCENARIO, PRINTED, EXIT_CODE = "scenario.toml", "printed.txt", "exit_code"


class Order(msgspec.Struct, frozen=True):
    """One run to make in a folder: flags of `hatchfarm run`, and what its server is and stands behind."""

    folder: str
    scenario: str
    seed: int
    flags: tuple[str, ...]
    settings: dict[str, str]
    own: bool
    proxy: Proxy
    pauses: tuple[tuple[float, float], ...]


def main() -> None:
    """Make all runs that are ordered, so many at a time, beside so many processes that only keep a core busy."""
    at_once, busy = int(sys.argv[1]), int(sys.argv[2])
    orders = [msgspec.json.decode(line, type=Order) for line in sys.stdin.buffer]
    with redirect_stdout(StringIO()):
        app(["schema"], standalone_mode=False)  # loads what reads arguments
    gc.freeze()  # what is here is shared with all that are forked
    loops = [_forked(partial(_loop, os.getpid())) for _ in range(busy)]
    under_way: set[int] = set()
    for order in orders:
        while len(under_way) >= at_once:
            under_way.discard(os.wait()[0])
        under_way.add(_forked(partial(_attend, order)))
    for attendant in under_way:
        os.waitpid(attendant, 0)
    for loop in loops:
        os.kill(loop, signal.SIGKILL)
        os.waitpid(loop, 0)


def _forked(work: Callable[[], int]) -> int:
    """Do something in a process of its own; gives its id."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _leave(work)
    return child


def _leave(work: Callable[[], int]) -> NoReturn:
    """Do something, and never return into what was forked."""
    code = FAILED
    try:
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001 - said, and more cannot be done
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _loop(parent: int) -> int:
    """Keep a core busy, until whoever started it has ended, however that ends."""
    while os.getppid() == parent:
        pass
    return 0


def _attend(order: Order) -> int:
    """Make one run, with its server and what stands before it, and note how it ended."""
    folder = Path(order.folder)
    folder.mkdir(parents=True)
    (folder / SCENARIO).write_text(order.scenario, encoding="utf-8")
    server, keep, url, listener = 0, -1, "", None
    if not order.own:
        server, keep, url = _served(order, folder)
        if order.proxy is not Proxy.NONE:
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    shown = url if listener is None else f"http://127.0.0.1:{listener.getsockname()[1]}"
    ended, end = os.pipe()
    inherited = [ended, *([keep] if server else []), *([listener.fileno()] if listener is not None else [])]
    run = _forked(partial(_run, order, folder, shown, inherited))
    os.close(end)
    trio.run(_stand_by, order, run, ended, server, listener, url)
    code = os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])
    if server:
        os.kill(server, signal.SIGKILL)  # nobody judges any more how it ends
        os.waitpid(server, 0)
        os.close(keep)
    (folder / EXIT_CODE).write_text(str(code), encoding="ascii")
    return 0


def _served(order: Order, folder: Path) -> tuple[int, int, str]:
    """Start a server; gives its id, what it ends by when that is closed, and its URL."""
    stdin, keep = os.pipe()
    said, stdout = os.pipe()

    def work() -> int:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        _into(folder / "server.txt", 2)
        for descriptor in (stdin, keep, said, stdout):
            os.close(descriptor)
        own = {"HATCHFARM_API_TOKEN": TOKEN, "HOST": "127.0.0.1", "PORT": "0", "WORKER_STATUS_STATE_FILE": ""}
        return serve({**order.settings, **own}, until_stdin_closes=True)

    server = _forked(work)
    os.close(stdin)
    os.close(stdout)
    with open(said, encoding="utf-8") as lines:  # noqa: PTH123 - a pipe
        return server, keep, lines.readline().split()[-1]


def _run(order: Order, folder: Path, url: str, inherited: Sequence[int]) -> int:
    for descriptor in inherited:
        os.close(descriptor)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    _into(folder / PRINTED, 1, 2)
    target = ["--target", url, "--profile", "hardened"] if url else []
    flags = ["--seed", str(order.seed), "--no-reports", "--out", str(folder / "results")]
    sys.argv = ["hatchfarm", "run", str(folder / SCENARIO), *flags, *target, *order.flags]
    if url:
        os.environ["HATCHFARM_API_TOKEN"] = TOKEN
    command()
    return 0


def _into(path: Path, *descriptors: int) -> None:
    """Let some descriptors write to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in descriptors:
        os.dup2(file, descriptor)
    os.close(file)


async def _stand_by(order: Order, run: int, ended: int, server: int, listener: socket.socket | None, url: str) -> None:
    """Do to the server, and between it and the run, what was ordered, until the run has ended."""
    async with trio.open_nursery() as nursery:
        if listener is not None:
            listener.setblocking(False)  # noqa: FBT003 - the socket API's own flag
            stream = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            gate = Gate(order.pauses if order.proxy is Proxy.SLOW else ())
            nursery.start_soon(serve_proxy, stream, order.proxy, int(url.rpartition(":")[2]), gate)
        if order.proxy is not Proxy.SLOW and order.pauses:
            nursery.start_soon(_stand_still, server, order.pauses)
        with trio.move_on_after(RUN_TIMEOUT_SECONDS) as scope:
            await trio.lowlevel.wait_readable(ended)  # its other end closes as the run ends
        if scope.cancelled_caught:
            os.kill(run, signal.SIGKILL)
        nursery.cancel_scope.cancel()


async def _stand_still(server: int, pauses: Sequence[tuple[float, float]]) -> None:
    for works_seconds, stands_seconds in pauses:
        await trio.sleep(works_seconds)
        os.kill(server, signal.SIGSTOP)
        try:
            await trio.sleep(stands_seconds)
        finally:
            os.kill(server, signal.SIGCONT)


if __name__ == "__main__":
    main()
