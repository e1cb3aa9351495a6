"""A server killed with SIGKILL under eight writers and a fleet has what it acknowledged, and nothing else."""

from __future__ import annotations

from simulator.server_process import own_server
from tests.durability.reading import read_back
from tests.durability.writing import FREELY, TOKEN, World

ANSWERS_MAX = 120
"""After how many answers a server is killed at the latest."""


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
