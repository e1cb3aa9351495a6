"""The server a run starts for itself, as the process it is."""

from __future__ import annotations

import contextlib
import math
import os
import re
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psutil
import pytest
import trio

from simulator.checkers.server_log import check_log
from simulator.checkers.verdict import Status
from simulator.client.checking import check_target, read_metrics
from simulator.client.connection import ControlConnection, LostError
from simulator.client.known_secrets import KnownSecrets
from simulator.client.target import parse_target
from simulator.deployment import server_process
from simulator.deployment.server_log import search_logs
from simulator.deployment.server_process import ERROR_BYTES_KEPT, Patience, ServerError, own_server
from simulator.fleet.requests import owner_headers
from simulator.platform.ending import Ending
from tests.simulator.conftest import API_TOKEN
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARENT = """
import os, sys, trio
from simulator.deployment.server_process import own_server

async def main():
    async with own_server({}, "token-of-the-run") as server:
        print(server.pid, server.url, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@contextlib.contextmanager
def end_of(pid: int) -> Iterator[int]:
    """Return a file that becomes readable when a process ends, whoever's child it is."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def test_it_serves_with_the_settings_given_and_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("HOST", "192.0.2.1")
    monkeypatch.setenv("HATCHFARM_API_TOKEN", "somebody-elses")
    monkeypatch.setenv("TLS_CERT_FILE", "/nowhere.pem")
    monkeypatch.setenv("TLS_KEY_FILE", "/nowhere.pem")
    settings = {"WORKER_STATUS_STALE_SECONDS": "7", "RATE_LIMIT_BURST": "3", "RATE_LIMIT_REFILL_PER_SECOND": "0.001"}
    async with own_server(settings, API_TOKEN) as server:
        assert os.getsid(server.pid) == server.pid, "Ctrl-C reaches the run's group only; the last scrape needs it"
        assert server.url.startswith("http://127.0.0.1:")
        target = parse_target(server.url, API_TOKEN)
        async with ControlConnection(target, None) as connection:
            summary = await connection.request("GET", "/workers/summary", owner_headers(target.token, "ada"))
            assert b'"stale_threshold":7' in summary.body
            statuses = [(await connection.request("GET", "/status", {})).status for _ in range(3)]
            assert statuses == [200, 200, 429]
        with end_of(server.pid) as ended:
            assert not select.select([ended], [], [], 0)[0]
    assert server.exit_code == 0
    with pytest.raises(LostError):
        async with ControlConnection(target, None) as connection:
            await connection.request("GET", "/health", {}, rooted=True)


async def test_it_is_stopped_when_the_run_fails_or_is_cancelled() -> None:
    with trio.CancelScope() as scope:
        async with own_server({}, API_TOKEN) as server:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert server.exit_code == 0

    with pytest.RaisesGroup(ZeroDivisionError):
        async with own_server({}, API_TOKEN) as server:
            raise ZeroDivisionError
    assert server.exit_code == 0


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"WORKER_STATUS_STALE_SECONDS": "soon"}, "WORKER_STATUS_STALE_SECONDS: 'soon' is not"),
        ({"MACHINE_CERT_SIGNING_KEY_FILE": "/nowhere/key.pem"}, "/nowhere/key.pem"),
    ],
)
async def test_a_server_that_does_not_start_says_why(settings: dict[str, str], says: str) -> None:
    """Its own words, without the name of a command that nobody typed."""
    with pytest.RaisesGroup(ServerError) as refusal:
        async with own_server(settings, API_TOKEN):
            pytest.fail("it must not start")
    message = str(refusal.value.exceptions[0])
    assert message.startswith("the server did not start: ")
    assert says in message
    assert "hatchfarm serve:" not in message
    assert API_TOKEN not in message


def stand_in(tmp_path: Path, program: str) -> tuple[str]:
    """Return a command of the test's own to run in the server's place."""
    script = tmp_path / "stand_in"
    script.write_text(f"#!{sys.executable}\nimport signal, sys\nsignal.alarm(30)\n{program}\n", encoding="utf-8")
    script.chmod(0o755)
    return (str(script),)


async def test_a_server_that_says_nothing_in_time_is_given_up(tmp_path: Path) -> None:
    command = stand_in(tmp_path, "sys.stdin.read()")
    with pytest.RaisesGroup(pytest.RaisesExc(ServerError, match="it said nothing")):
        async with own_server({}, API_TOKEN, command=command, patience=Patience(start_seconds=0.2)):
            pytest.fail("it must not start")


async def test_its_address_is_on_its_first_line_however_many_come_at_once(tmp_path: Path) -> None:
    stated = "Listening on http://x\\nUp to 7 connections at once\\n"
    command = stand_in(tmp_path, f'sys.stdout.write("{stated}")\nsys.stdout.flush()\nsys.stdin.read()')
    async with own_server({}, API_TOKEN, command=command) as server:
        assert server.url == "http://x"


async def test_all_that_a_server_writes_until_it_has_ended_is_in_its_log(tmp_path: Path) -> None:
    """However much it is, and to whichever output."""
    command = stand_in(
        tmp_path,
        'print("Listening on http://x", flush=True)\nsys.stdin.read()\n'
        'for output in (sys.stderr, sys.stdout):\n    output.write("x" * 300_000 + " last words\\n")',
    )
    async with own_server({}, API_TOKEN, command=command) as server:
        pass
    assert server.exit_code == 0
    assert server.log.kept.count(b" last words\n") == 2
    assert server.log.open_ends == 0


async def test_what_a_server_wrote_before_it_was_killed_is_in_its_log(tmp_path: Path) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    os.mkfifo(go)
    os.mkfifo(done)
    command = stand_in(
        tmp_path,
        f'print("Listening on http://x", flush=True)\nopen("{go}").read()\n'
        f'print("x" * 60_000, "last words", flush=True)\nopen("{done}", "w").close()\nsignal.pause()',
    )
    async with own_server({}, API_TOKEN, command=command) as server:
        # Nothing else runs in this process until all has been written.
        go.write_text("go")
        done.read_text()
        await server.kill()
    assert server.log.kept.endswith(b" last words\n")
    assert server.log.open_ends == 0


async def test_a_log_that_a_process_holds_open_which_outlives_the_server_is_not_whole(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    child = f"import signal; signal.alarm(30); open({str(held)!r}).read()"
    command = stand_in(
        tmp_path,
        f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        'print("Listening on http://x", flush=True)\nsys.stdin.read()',
    )
    async with own_server({}, API_TOKEN, command=command, patience=Patience(log_end_seconds=0)) as server:
        pass
    held.write_text("end")
    assert server.log.open_ends == 2
    verdict = check_log(search_logs([("the server", server.log, {})], KnownSecrets()))
    assert verdict.status is Status.NOT_APPLICABLE
    assert "the end of 1 log was not read" in verdict.summary


async def test_a_server_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    command = stand_in(
        tmp_path,
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint("Listening on http://x", flush=True)\nsignal.pause()',
    )
    with trio.fail_after(PATIENCE_SECONDS):
        async with own_server({}, API_TOKEN, command=command, patience=Patience(stop_seconds=0.2)) as server:
            assert server.url == "http://x"
    assert server.exit_code == -signal.SIGKILL


async def test_a_server_that_does_not_stop_is_killed_at_once_when_that_is_given_up(tmp_path: Path) -> None:
    """As by a second signal, which must not have to wait for the whole patience with a server that hangs."""
    command = stand_in(
        tmp_path,
        'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint("Listening on http://x", flush=True)\nsignal.pause()',
    )
    ending, for_ever = Ending(), Patience(stop_seconds=math.inf, log_end_seconds=math.inf)
    with trio.fail_after(PATIENCE_SECONDS):
        async with own_server({}, API_TOKEN, command=command, patience=for_ever, ending=ending) as server:
            ending.give_up()
    assert server.exit_code == -signal.SIGKILL


async def test_the_last_words_of_a_server_that_dies_are_kept(tmp_path: Path) -> None:
    """The end of them, however much it said before."""
    command = stand_in(
        tmp_path,
        'print("Listening on http://x", flush=True)\nsys.stderr.write("x" * 100_000 + "\\nlast words")\nsys.exit(3)',
    )
    async with own_server({}, API_TOKEN, command=command) as server:
        await until(lambda: server.exit_code is not None and server.errors.endswith(b"last words"))
        assert server.exit_code == 3
        assert len(server.errors) == ERROR_BYTES_KEPT


async def test_variables_kept_from_it_do_not_reach_it_and_its_death_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_STATUS_STALE_SECONDS", "not a number")
    async with own_server({}, API_TOKEN, {"WORKER_STATUS_STALE_SECONDS"}) as server:
        assert await check_target(parse_target(server.url, API_TOKEN))
        os.kill(server.pid, signal.SIGKILL)
        await until(lambda: server.exit_code is not None)
        assert server.exit_code == -signal.SIGKILL


async def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    """`kill -9` of the run: nothing of it can clean up, and the server goes all the same."""
    parent = await trio.lowlevel.open_process([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    async with parent.stdout:
        stated = b""
        while not stated.endswith(b"\n"):
            part = await parent.stdout.receive_some(1)
            assert part, "it ended before it had a server"
            stated += part
        pid, url = stated.decode().split()
        with end_of(int(pid)) as ended:
            target = parse_target(url, "token-of-the-run")
            async with ControlConnection(target, None) as connection:
                assert await read_metrics(connection, target)
            assert not select.select([ended], [], [], 0)[0]
            parent.kill()
            with trio.fail_after(PATIENCE_SECONDS):
                await parent.wait()
                await trio.lowlevel.wait_readable(ended)
    assert parent.returncode == -signal.SIGKILL


async def test_its_peak_of_memory_is_told_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says of the process, in bytes; nothing where it says nothing, or of a process that has ended."""
    async with own_server({}, API_TOKEN) as server:
        peak_bytes = server.memory_peak_bytes
        resident_bytes = psutil.Process(server.pid).memory_info().rss
        assert peak_bytes is not None
        assert resident_bytes / 2 < peak_bytes < 2 * resident_bytes
        with monkeypatch.context() as patched:
            patched.setattr(server_process, "PEAK", re.compile("nothing"))
            assert server.memory_peak_bytes is None
        await server.kill()
        assert server.memory_peak_bytes is None
