"""A scenario's command as the processes it is: started, failed, mended, measured and ended with all that came of it."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

from simulator.deployment.command_server import COMMAND_PATIENCE, find_free_port, own_command
from simulator.deployment.server_process import Patience, ServerError, ServerProcess
from simulator.platform.ending import Ending
from simulator.scenario.values import ServerOptions
from tests.simulator.conftest import API_TOKEN
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

HTTP = """
import http.server, os, signal, socket, subprocess, sys, time
signal.alarm(100)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(self.status())
        self.end_headers()

    def status(self):
        return 200 if self.path == "/ready" else 404

    def log_message(self, *_):
        pass

def serve(port=None):
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port or os.environ["PORT"])), Handler).serve_forever()
"""
"""What a command of these tests begins with: a server that is ready at `/ready`."""
ALONE = HTTP + "serve()"
FAMILY = (
    HTTP
    + """
def child(*how, **options):
    words = [sys.executable, "-c", f"import time; {'; '.join(how)}; time.sleep(99)"]
    return subprocess.Popen(words, **options).pid

here = child("pass")
group = child("import os; os.setpgid(0, 0)")
session = child("pass", start_new_session=True)
bare = child("pass", env={})
orphan = subprocess.run(
    [sys.executable, "-c", "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', "
     "'import time; time.sleep(99)'], stdout=-3, stderr=-3, start_new_session=True).pid)"],
    capture_output=True, text=True,
).stdout
open(sys.argv[1], "w").write(f"{here} {group} {session} {bare} {orphan}")
serve()
"""
)
"""One with children: in its group, in another, in another session, without environment, and one without its parent."""


CHILDREN = 5
HURRY_SECONDS = 0.3
"""How long what stands still is given to answer; it would take as long whatever it is given."""


def command(tmp_path: Path, program: str, *arguments: str) -> ServerOptions:
    """Write a program; return it as a scenario's command."""
    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")
    return ServerOptions(command=(sys.executable, str(path), *arguments), health="/ready")


@contextlib.asynccontextmanager
async def running_command(
    options: ServerOptions, patience: Patience = COMMAND_PATIENCE, free_port: Callable[[], int] = find_free_port
) -> AsyncIterator[ServerProcess]:
    async with own_command(options, {}, API_TOKEN, (), patience=patience, free_port=free_port) as server:
        yield server


async def answers(server: ServerProcess, seconds: float = PATIENCE_SECONDS) -> bool:
    """Return whether it answers in time."""
    port = int(server.url.rpartition(":")[2])
    with trio.move_on_after(seconds):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in await stream.receive_some(20)
    return False


@contextlib.contextmanager
def ends_of(*pids: int) -> Iterator[list[int]]:
    """Return a file of each process that becomes readable when that ends, whoever's child it is."""
    with contextlib.ExitStack() as stack:
        descriptors = [os.pidfd_open(pid) for pid in pids]
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        yield descriptors


async def all_end(descriptors: list[int]) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        for descriptor in descriptors:
            await trio.lowlevel.wait_readable(descriptor)


async def family_of(reported: Path) -> list[int]:
    """Wait until it has told its children; gives their ids."""
    await until(lambda: reported.exists() and len(reported.read_text().split()) == CHILDREN)
    return [int(pid) for pid in (await trio.Path(reported).read_text()).split()]


async def test_it_is_ready_once_its_health_path_answers_and_has_what_its_words_stand_for(tmp_path: Path) -> None:
    program = """
port = os.environ["PORT"]
assert sys.argv[1:] == ["--port=" + port, os.environ["RATE_LIMIT_BURST"], "${port}", "{1}", ""]
assert os.environ["KEY"] == "key: " + os.environ["HATCHFARM_API_TOKEN"]
assert os.environ["HOST"] == "127.0.0.1"
print(os.environ["DB_PASSWORD"], flush=True)
answers = [503, 404]
Handler.status = lambda self: answers.pop() if answers else 200
serve(sys.argv[1].partition("=")[2])
"""
    words = command(
        tmp_path, HTTP + program, "--port={port}", "{rate_limit_burst}", "${port}", "{1}", "{redis_addr}"
    ).command
    options = ServerOptions(
        command=words, health="/ready", env={"KEY": "key: {hatchfarm_api_token}", "DB_PASSWORD": "s3cret-pass"}
    )
    async with own_command(options, {"RATE_LIMIT_BURST": "7"}, API_TOKEN, ()) as server:
        assert await answers(server)
        assert server.exit_code is None
        await until(lambda: bool(server.errors))
        assert server.words == "[DB_PASSWORD]"
        assert server.secrets[b"s3cret-pass"] == "value of DB_PASSWORD"
        assert server.secrets[f"key: {API_TOKEN}".encode()] == "value of KEY"
        assert API_TOKEN not in " ".join(psutil.Process(server.pid).cmdline())
    assert server.exit_code == -signal.SIGTERM


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("print('no disk for', os.environ['HATCHFARM_API_TOKEN']); sys.exit(3)",
         r"ended with exit code 3 before it was ready; it said: no disk for \[HATCHFARM_API_TOKEN\]$"),
        ("sys.exit(0)", r"ended with exit code 0 before it was ready; it said nothing$"),
        ("time.sleep(99)", r"not ready within 0s \(nothing listens there\): it must listen on 127.0.0.1 at the port"),
    ],
)  # fmt: skip
async def test_one_that_does_not_get_ready_is_told_in_its_own_words_and_ended(
    tmp_path: Path, program: str, says: str
) -> None:
    """Without the secrets that it was given, whatever it says."""
    start_seconds = COMMAND_PATIENCE.start_seconds if "exit" in program else 0.3
    with pytest.RaisesGroup(pytest.RaisesExc(ServerError, match=says)) as refusal:
        async with running_command(command(tmp_path, HTTP + program), Patience(start_seconds, start_tries=1)):
            pytest.fail("it must not start")
    assert API_TOKEN not in str(refusal.value.exceptions[0])


async def test_a_health_path_that_refuses_is_told(tmp_path: Path) -> None:
    """What answers is a server of this test's, so that it does so however slowly programs start."""

    async def refuse(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some(4096)
            await stream.send_all(b"HTTP/1.0 404 Nobody\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, refuse, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        says = r"was not ready within 2s \(it answered HTTP/1.0 404 Nobody\): .* and answer /ready with 2xx"
        with pytest.RaisesGroup(pytest.RaisesExc(ServerError, match=says)):
            async with running_command(
                command(tmp_path, HTTP + "time.sleep(99)"), Patience(2.0, start_tries=1), lambda: port
            ):
                pytest.fail("it must not start")
        nursery.cancel_scope.cancel()


async def test_a_port_that_somebody_took_meanwhile_is_another_the_next_time(tmp_path: Path) -> None:
    free = find_free_port()
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [free, taken.getsockname()[1]]
        async with running_command(command(tmp_path, ALONE), free_port=ports.pop) as server:
            assert server.url == f"http://127.0.0.1:{free}"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("no-such-farm",), "there is no no-such-farm on the PATH; .* as ./no-such-farm"),
        (("./no-such-farm",), "./no-such-farm is not there; a path is relative to where the run is started, here "),
        ((__file__,), "test_command_server.py may not be run: is it executable"),
    ],
)
async def test_a_program_that_is_not_there_is_told(words: tuple[str, ...], says: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ServerError, match=says)):
        async with running_command(ServerOptions(command=words)):
            pytest.fail("it must not start")


async def test_all_that_came_of_it_is_killed_and_it_starts_again_on_its_port(tmp_path: Path) -> None:
    reported = tmp_path / "told"
    async with running_command(command(tmp_path, FAMILY, str(reported))) as server:
        url, first = server.url, server.pid
        with ends_of(first, *await family_of(reported)) as descriptors:
            await server.kill()
            assert server.exit_code is None, "it is down because it was told to be"
            await all_end(descriptors)
        reported.unlink()
        await server.start()
        assert server.url == url
        assert server.pid != first
        assert await answers(server)
        with ends_of(*await family_of(reported)) as descriptors:
            await server.stop()
            await all_end(descriptors)


async def test_it_may_take_its_time_to_end_in_order(tmp_path: Path) -> None:
    """Each of its processes is told; what it says and does then is waited for."""
    done = tmp_path / "done"
    program = f"""
def end(*_):
    print("goodbye", flush=True)
    open({str(done)!r}, "w").write("all is kept")
    os._exit(7)

signal.signal(signal.SIGTERM, end)
serve()
"""
    async with running_command(command(tmp_path, HTTP + program)) as server:
        assert server.url
    assert done.read_text() == "all is kept"
    assert server.exit_code == 7
    assert server.words == "goodbye"


async def test_one_that_does_not_end_in_order_is_killed(tmp_path: Path) -> None:
    program = HTTP + "signal.signal(15, signal.SIG_IGN)\nserve()"
    async with running_command(command(tmp_path, program), COMMAND_PATIENCE._replace(stop_seconds=0.2)) as server:
        assert server.url
    assert server.exit_code == -signal.SIGKILL


async def test_one_that_does_not_end_is_killed_at_once_when_that_is_given_up(tmp_path: Path) -> None:
    options = command(tmp_path, HTTP + "signal.signal(15, signal.SIG_IGN)\nserve()")
    ending, for_ever = Ending(), COMMAND_PATIENCE._replace(stop_seconds=math.inf)
    with trio.fail_after(PATIENCE_SECONDS):
        async with own_command(options, {}, API_TOKEN, (), patience=for_ever, ending=ending) as server:
            ending.give_up()
    assert server.exit_code == -signal.SIGKILL


async def test_all_of_it_stands_still_while_it_is_paused(tmp_path: Path) -> None:
    reported = tmp_path / "told"
    async with running_command(command(tmp_path, FAMILY, str(reported))) as server:
        family = [server.pid, *await family_of(reported)]
        await server.pause()
        assert not await answers(server, HURRY_SECONDS)
        assert {psutil.Process(pid).status() for pid in family} == {psutil.STATUS_STOPPED}
        await server.resume()
        assert all(psutil.Process(pid).status() != psutil.STATUS_STOPPED for pid in family)
        assert await answers(server)


async def test_a_full_disk_is_full_for_all_of_it(tmp_path: Path) -> None:
    reported = tmp_path / "told"
    async with running_command(command(tmp_path, FAMILY, str(reported))) as server:
        family = [server.pid, *await family_of(reported)]
        before = [psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE) for pid in family]
        server.fill_disk(full=True)
        assert [psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE)[0] for pid in family] == [0] * len(family)
        assert await answers(server)
        server.fill_disk(full=False)
        assert [psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE) for pid in family] == before
        await server.kill()
        server.fill_disk(full=True)  # there is nobody whom that concerns


async def test_what_its_processes_share_is_counted_once(tmp_path: Path) -> None:
    """Alone its peak counts, as of the reference server; two that share 64 MiB do not take 128."""
    big = "kept = bytearray(64 << 20)\n"
    async with running_command(command(tmp_path, HTTP + big + "del kept\nserve()")) as server:
        peak_bytes = server.memory_peak_bytes
        assert peak_bytes is not None
        assert peak_bytes > 64 << 20
        await server.kill()
        assert server.memory_peak_bytes is None
    forked = "if not os.fork():\n    signal.pause()\nserve()"
    async with running_command(command(tmp_path, HTTP + big + forked)) as server:
        together = server.memory_peak_bytes
        assert together is not None
        assert 64 << 20 < together < 120 << 20


PARENT = """
import sys, trio
from simulator.deployment.command_server import own_command
from simulator.scenario.values import ServerOptions

async def main():
    options = ServerOptions(command=tuple(sys.argv[1:]), health="/ready")
    async with own_command(options, {}, "token-of-the-run", ()) as server:
        await server.pause()
        print(server.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_nothing_of_it_outlives_a_run_that_is_killed(tmp_path: Path) -> None:
    """Not even while it stands still, when no process can end by itself."""
    reported = tmp_path / "told"
    words = command(tmp_path, FAMILY, str(reported)).command
    parent = await trio.lowlevel.open_process([sys.executable, "-c", PARENT, *words], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with parent.stdout:
        with trio.fail_after(PATIENCE_SECONDS):
            pid = int(await parent.stdout.receive_some(100))
        with ends_of(pid, *await family_of(reported)) as descriptors:
            parent.kill()
            with trio.fail_after(PATIENCE_SECONDS):
                await parent.wait()
            await all_end(descriptors)
