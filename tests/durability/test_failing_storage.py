"""Full disks and failing ones: what is acknowledged is kept, what failed is undone, and the server mends itself."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from simulator.client.connection import ControlConnection
from simulator.client.target import parse_target
from simulator.contract.answers import Operation
from simulator.deployment.server_process import ServerProcess, own_server
from simulator.fleet.requests import ApiCall
from tests.durability.faulty_calls import POSSIBLE, FaultyCalls, faulty_calls
from tests.durability.ledger_records import HOST
from tests.durability.reading import read_back
from tests.durability.writing import FREELY, TOKEN, World
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

COMMIT_CALLS = 3
"""The calls of a commit: a write, a sync, and another write."""
CALLS_FAILED = 90 if SOAK else 18
"""So many calls fail after the one that is the first to: with all of them the server has mended itself."""
SNAPSHOT_CALLS_FAILED, SNAPSHOT_CALLS_MAX = 60 if SOAK else 10, 80
"""The first, and on to the second until one call has failed that was a snapshot's and no commit's."""
PATIENCE_SECONDS = 180.0
"""How long a server may take to come back, on a machine that others keep busy; it takes a second at most."""
POLL_SECONDS = 0.1
"""Each look is a connection of its own, and costs both sides: more of them took more CPU than all that is written."""
TMPFS_BYTES = 4 << 20
BALLAST_BYTES = 1 << 12


async def health(url: str) -> str:
    """Ask how the server is."""
    async with ControlConnection(parse_target(url, TOKEN), None) as connection:
        answer = await connection.exchange(ApiCall(Operation.OTHER, "GET", "/health", {}, rooted=True).message(HOST))
        assert answer.status == 200
        reported = msgspec.json.decode(answer.body)
        # Changes are durable then; the journal goes on, and a later change tries a snapshot anew.
        return "healthy" if reported.get("reason") == "snapshot failed" else str(reported["status"])


async def becomes_healthy(url: str) -> None:
    """Wait until the server has mended itself."""
    with trio.fail_after(PATIENCE_SECONDS):
        while await health(url) != "healthy":  # noqa: ASYNC110 - a server says how it is only when it is asked
            await trio.sleep(POLL_SECONDS)


async def suffers(server: ServerProcess, world: World, fail: Callable[[], object]) -> None:
    """Write something, and then while nothing can be written: reading goes on, and /health tells."""
    await world.bring_up_the_fleet(server.url)
    await world.write_some(server.url, 3)
    fail()
    await world.write_some(server.url, 5)
    assert world.failures
    assert await health(server.url) == "degraded"


async def is_whole(server: ServerProcess, world: World) -> None:
    """Everything is there and can be written again, and after a kill it is still there."""
    await becomes_healthy(server.url)
    assert await read_back(server.url, world, everything=True) == []
    await world.write_some(server.url, 3)
    assert world.failures == 0
    await server.kill()
    await server.start()
    assert await read_back(server.url, world, everything=True) == []


possible = pytest.mark.skipif(not POSSIBLE, reason="making calls fail needs Linux 5.5 on x86-64 or arm64")


@asynccontextmanager
async def failing_server(tmp_path: Path, **more: str) -> AsyncIterator[tuple[ServerProcess, FaultyCalls]]:
    """Start a server whose calls on its state can be made to fail."""
    folder = tmp_path / "state"
    folder.mkdir()
    async with faulty_calls(folder) as calls:
        settings = {**FREELY, **calls.settings, **more, "HATCHFARM_STATE_FILE": str(folder / "state.json")}
        async with own_server(settings, TOKEN) as server:
            yield server, calls


@possible
async def test_whichever_call_fails_nothing_acknowledged_is_lost_and_nothing_failed_is_there(tmp_path: Path) -> None:
    """With EIO: a write or sync of a commit, and each call after it in turn, by most of which the server mends itself.

    At the end it is killed.
    """
    world = World(seed=7)
    failed: Counter[str] = Counter()
    async with failing_server(tmp_path) as (server, calls):
        await world.bring_up_the_fleet(server.url)
        for number in range(CALLS_FAILED):
            first = 1 + number % COMMIT_CALLS
            failures, names = await write_while_calls_fail(server, world, calls, first, first + number)
            assert failures, (number, names)
            failed.update(names)
        await is_whole(server, world)
    assert failed.keys() >= {"pwrite64", "fdatasync", "ftruncate", "fsync", "rename"}, failed


@possible
async def test_a_snapshot_that_fails_halfway_loses_nothing(tmp_path: Path) -> None:
    """Snapshots follow each other, and one call after the other fails, theirs and those of commits."""
    world = World(seed=13)
    failures = 0
    async with failing_server(tmp_path, HATCHFARM_JOURNAL_BYTES="4096") as (server, calls):
        await world.bring_up_the_fleet(server.url)
        number = 0
        while number < SNAPSHOT_CALLS_FAILED or (failures == number and number < SNAPSHOT_CALLS_MAX):
            failures += (await write_while_calls_fail(server, world, calls, 5 * number + 1))[0] > 0
            number += 1
        await is_whole(server, world)
    assert failures < number


async def write_while_calls_fail(
    server: ServerProcess, world: World, calls: FaultyCalls, *which: int
) -> tuple[int, list[str]]:
    """Write, and hold everything against the world once the server is well. Gives failures and the calls' names."""
    calls.arm(*which)
    await world.write_some(server.url, 4)
    failures = world.failures
    await becomes_healthy(server.url)
    names = [name.split()[0] for name in calls.failed]
    calls.disarm()
    problems = await read_back(server.url, world)
    assert not problems, (which, names, problems)
    return failures, names


@possible
@pytest.mark.parametrize("first", [1, 2])
async def test_a_disk_that_fails_for_good_stops_writes_until_it_is_mended(tmp_path: Path, first: int) -> None:
    world = World(seed=8)
    async with failing_server(tmp_path) as (server, calls):
        await suffers(server, world, partial(calls.arm_from, first))
        calls.disarm()
        await is_whole(server, world)


@possible
async def test_a_server_killed_while_its_disk_fails_has_what_it_acknowledged(tmp_path: Path) -> None:
    """What failed may be there, as a whole: on a disk that takes nothing it could not be undone."""
    world = World(seed=9)
    async with failing_server(tmp_path) as (server, calls):
        await suffers(server, world, partial(calls.arm_from, 2))
        await server.kill()
        world.doubt_what_failed()
        calls.disarm()
        await server.start()
        await is_whole(server, world)


async def test_a_full_disk_stops_writes_until_there_is_space(tmp_path: Path) -> None:
    """With a real ENOSPC where this user may mount a small disk, else with a limit on the size of files."""
    world = World(seed=10)
    with small_disk(tmp_path / "disk") as disk:
        settings = {**FREELY, "HATCHFARM_STATE_FILE": str((disk or tmp_path) / "state.json")}
        async with own_server(settings, TOKEN) as server:
            if disk is None:
                await suffers(server, world, partial(server.fill_disk, full=True))
                server.fill_disk(full=False)
            else:
                ballast = disk / "ballast"
                await suffers(server, world, partial(fill, ballast))
                ballast.unlink()
            await is_whole(server, world)


async def test_a_limit_on_the_size_of_files_stops_writes_until_it_is_lifted(tmp_path: Path) -> None:
    world = World(seed=11)
    async with own_server({**FREELY, "HATCHFARM_STATE_FILE": str(tmp_path / "state.json")}, TOKEN) as server:
        await suffers(server, world, partial(server.fill_disk, full=True))
        server.fill_disk(full=False)
        await is_whole(server, world)


@contextmanager
def small_disk(at: Path) -> Iterator[Path | None]:
    """Mount a disk of a few megabytes, and give its path; None where this user may not."""
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(at)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)  # noqa: S607 - found a few lines above


def fill(ballast: Path) -> None:
    """Leave no room for another byte."""
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(BALLAST_BYTES))
