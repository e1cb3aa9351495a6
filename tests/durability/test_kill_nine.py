"""A server killed with SIGKILL under eight writers and a fleet has what it acknowledged, and nothing else."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import trio

from simulator.deployment.server_process import ServerProcess, own_server
from tests.durability.reading import read_back, shown
from tests.durability.writing import FREELY, TOKEN, World
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 300 if SOAK else 8
ANSWERS_MAX = 120
"""After how many answers a server is killed at the latest."""
JOURNAL_BYTES = 1 << 14
"""So that snapshots take the journal's place again and again, and some kills hit them."""
KILLED_EARLY_SHARE = 0.1
"""How many starts are killed before the server listens, so in the midst of recovery."""
EARLY_MAX_SECONDS = 0.8
"""By then a server listens, unless the machine is busy."""
POLL_SECONDS = 0.001


async def test_a_server_that_keeps_its_state_in_memory_is_found_out() -> None:
    """What is acknowledged and gone is named; else this file would prove nothing."""
    world = World(seed=1)
    async with own_server(FREELY, TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        assert await read_back(server.url, world) == []
        await world.write_until_killed(server, ANSWERS_MAX)
    async with own_server(FREELY, TOKEN) as server:
        problems = await read_back(server.url, world)
    for lost in ("machine_registered", "policy_created", "consent_created", "worker_heartbeat"):
        assert any(f"acknowledged ('{lost}'" in problem for problem in problems), (lost, problems)


async def test_no_kill_loses_what_was_acknowledged_or_applies_what_was_refused(tmp_path: Path) -> None:
    """One file lives through all kills; after each everything is read back, and at the end all there ever was."""
    world = World(seed=5)
    path = tmp_path / "state.json"
    settings = {**FREELY, "HATCHFARM_STATE_FILE": str(path), "HATCHFARM_JOURNAL_BYTES": str(JOURNAL_BYTES)}
    snapshots = set()
    async with own_server(settings, TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        for kill in range(KILLS):
            await world.write_until_killed(server, int(world.rng.integers(1, ANSWERS_MAX)))
            assert world.failures == 0
            await server.kill()
            if world.rng.random() < KILLED_EARLY_SHARE:
                await start_and_kill(server, float(world.rng.uniform(0, EARLY_MAX_SECONDS)))
            await server.start()
            problems = await read_back(server.url, world)
            assert not problems, (kill, problems)
            snapshots.add(path.stat().st_mtime_ns)
        assert len(snapshots) > 2
        assert await read_back(server.url, world, everything=True) == []


async def start_and_kill(server: ServerProcess, late_seconds: float) -> None:
    """Kill a server so long after it was started, whether it listens by then or not."""
    before = server.pid
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.start)
        while server.pid == before:  # noqa: ASYNC110 - a process that is not there yet tells nobody
            await trio.sleep(POLL_SECONDS)
        await trio.sleep(late_seconds)
        os.kill(server.pid, signal.SIGKILL)
    await server.kill()


async def test_a_server_that_is_stopped_in_order_shows_the_same_when_it_is_started_again(tmp_path: Path) -> None:
    """What is not promised through a kill, like events of refusals, is there as well."""
    world = World(seed=6)
    async with own_server({**FREELY, "HATCHFARM_STATE_FILE": str(tmp_path / "state.json")}, TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        await world.write_some(server.url, 20)
        before = await shown(server.url, world)
        await server.stop()
        await server.start()
        assert await shown(server.url, world) == before
        assert await read_back(server.url, world, everything=True) == []
