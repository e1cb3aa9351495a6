"""Runs that do not reach their end: by Ctrl-C, by the death of their server, by their own death."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import jsonschema
import psutil
import pytest
import trio

from simulator.judging.verdict_file import verdict_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm

START_SECONDS = 180.0
END_SECONDS = 180.0
POLL_SECONDS = 0.2
SECRET = re.compile(r"(?<![0-9a-f])[0-9a-f]{48}(?![0-9a-f])")
PROGRAM = ("-m", "simulator.commands.cli")


class Started:
    """A run under way, with what it has printed in files."""

    def __init__(self, process: trio.Process, folder: Path) -> None:
        self.process = process
        self.out_file, self.err_file = folder / "out.txt", folder / "err.txt"
        self.psutil = psutil.Process(process.pid)
        self.servers: list[psutil.Process] = []

    @property
    def out(self) -> str:
        return self.out_file.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self.err_file.read_text(encoding="utf-8")

    async def end(self) -> int:
        with trio.fail_after(END_SECONDS):
            return await self.process.wait()

    async def server(self) -> psutil.Process:
        """Wait for the run's own server, until the whole fleet has reported to it."""
        with trio.fail_after(START_SECONDS):
            while True:
                for child in self.psutil.children():
                    if await fleet_is_up(child):
                        self.servers.append(child)
                        return child
                await trio.sleep(POLL_SECONDS)


async def fleet_is_up(server: psutil.Process) -> bool:
    ports = []
    with suppress(psutil.NoSuchProcess):
        ports = [at.laddr.port for at in server.net_connections("tcp4") if at.status == psutil.CONN_LISTEN]
    if not ports:
        return False
    async with await trio.open_tcp_stream("127.0.0.1", ports[0]) as stream:
        await stream.send_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b"".join([part async for part in stream])
    return b"hatchfarm_workers_total 20.0\n" in text and b"hatchfarm_workers_unknown_total 0.0\n" in text


@asynccontextmanager
async def started(hatchfarm: Hatchfarm, *, line: str = "", reports: bool = False) -> AsyncIterator[Started]:
    """Start an endless run; with `line` wait until it has printed that. Leaves nothing behind."""
    path = hatchfarm.write("tiny.toml", duration="10h", thresholds='"requests.total" = ["count>1000000"]')
    with (hatchfarm.folder / "out.txt").open("wb") as out, (hatchfarm.folder / "err.txt").open("wb") as err:
        process = await trio.lowlevel.open_process(
            [sys.executable, *PROGRAM, "run", str(path), "--reports" if reports else "--no-reports"],
            cwd=hatchfarm.folder,
            env=hatchfarm.environ(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    run = Started(process, hatchfarm.folder)
    try:
        with trio.fail_after(START_SECONDS):
            while line not in run.out:  # noqa: ASYNC110 - another process sets no event
                await trio.sleep(POLL_SECONDS)
        yield run
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
                await process.wait()
            for server in run.servers:
                with suppress(psutil.NoSuchProcess):
                    server.kill()


async def is_gone(process: psutil.Process) -> None:
    with trio.fail_after(END_SECONDS):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 - as above
            await trio.sleep(POLL_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_run_soon_with_what_is_known(hatchfarm: Hatchfarm, number: signal.Signals) -> None:
    reports = number == signal.SIGINT
    async with started(hatchfarm, reports=reports) as run:
        server = await run.server()
        token = server.environ()["HATCHFARM_API_TOKEN"]
        assert token not in " ".join(server.cmdline() + run.psutil.cmdline())
        run.process.send_signal(number)
        assert await run.end() == 3
        assert not server.is_running()
    assert run.err == ""
    acknowledged = [line for line in run.out.splitlines() if line.startswith(f"{number.name}: the run is being ended")]
    assert len(acknowledged) == 1
    assert acknowledged[0].endswith("A second signal ends it at once.")
    verdict = hatchfarm.verdict()
    jsonschema.validate(verdict, verdict_schema())
    assert (verdict["status"], verdict["exit_code"]) == ("inconclusive", 3)
    assert re.fullmatch(rf"{number.name} after [0-9]+\.[0-9]s", verdict["interrupted"])
    assert verdict["requests"]["heartbeats_accepted"] >= 20
    assert verdict["duration_s"] > 0
    # A threshold that was not reached yet has not been missed.
    assert [one["status"] for one in verdict["thresholds"]] == ["inconclusive"]
    assert f"Interrupted: {verdict['interrupted']}" in run.out.splitlines()
    assert run.out.splitlines()[-5 if reports else -4] == "INCONCLUSIVE tiny"
    assert run.out.splitlines()[-1] == "Reproduce with: hatchfarm run tiny.toml --seed 9"
    everything = run.out + json.dumps(verdict)
    assert token not in everything
    assert SECRET.findall(everything) == []


async def test_a_second_signal_ends_what_the_first_still_waits_for_and_what_is_known_is_judged(
    hatchfarm: Hatchfarm,
) -> None:
    """The server stands still: last answers and audit lists do not come, and it does not end when it is told to."""
    async with started(hatchfarm) as run:
        server = await run.server()
        server.suspend()
        run.process.send_signal(signal.SIGINT)
        with trio.fail_after(END_SECONDS):
            while "SIGINT: the run is being ended" not in run.out:  # noqa: ASYNC110 - another process sets no event
                await trio.sleep(POLL_SECONDS)
        run.process.send_signal(signal.SIGTERM)
        assert await run.end() in {1, 3}
        assert not server.is_running()
    assert run.err == ""
    again = "SIGTERM again: nothing is awaited any more, and what is known is judged."
    late = "SIGTERM: the run is over; its results are being written, and no signal keeps them from it."
    assert {again, late} & set(run.out.splitlines())
    verdict = hatchfarm.verdict()
    assert verdict["interrupted"].startswith("SIGINT after ")
    assert verdict["requests"]["heartbeats_accepted"] >= 20


async def test_ctrl_c_before_the_server_is_up_ends_the_run_in_order_and_no_second_signal_spoils_it(
    hatchfarm: Hatchfarm,
) -> None:
    async with started(hatchfarm, line="Twenty machines") as run:
        run.process.send_signal(signal.SIGINT)
        # Of two signals that a busy machine hands over together the later may come first: the system orders none.
        with trio.fail_after(END_SECONDS):
            while "SIGINT: the run is " not in run.out:  # noqa: ASYNC110 - as above
                await trio.sleep(POLL_SECONDS)
        run.process.send_signal(signal.SIGTERM)
        assert await run.end() == 3
    assert run.err == ""
    verdict = hatchfarm.verdict()
    assert verdict["interrupted"] == "SIGINT after 0.0s"
    assert verdict["requests"]["total"] == 0


async def test_the_death_of_the_server_ends_the_run_and_is_a_failure(hatchfarm: Hatchfarm) -> None:
    """Also where it was killed from outside, as by a system that runs out of memory, which is said."""
    async with started(hatchfarm) as run:
        server = await run.server()
        server.kill()
        assert await run.end() == 1
    assert run.err == ""
    verdict = hatchfarm.verdict()
    jsonschema.validate(verdict, verdict_schema())
    assert re.fullmatch(
        r"the server died after [0-9.]+s: killed by SIGKILL(; its last words: .*)?", verdict["interrupted"]
    )
    assert verdict["requests"]["heartbeats_accepted"] >= 20
    whole = next(one for one in verdict["checkers"] if one["name"] == "whole run")
    assert whole["status"] == "inconclusive"
    assert "the server died" in whole["summary"]
    outage = next(one for one in verdict["checkers"] if one["name"] == "outage")
    assert outage["status"] == "fail"
    assert "perhaps from a system that ran out of memory: it had taken" in outage["findings"][0]["message"]
    assert [one["status"] for one in verdict["thresholds"]] == ["inconclusive"]
    assert "Interrupted: the server died after" in run.out


async def test_a_run_that_is_killed_leaves_no_server_behind(hatchfarm: Hatchfarm) -> None:
    async with started(hatchfarm) as run:
        server = await run.server()
        run.process.kill()
        assert await run.end() == -9
        await is_gone(server)
