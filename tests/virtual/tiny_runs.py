"""Tiny runs in virtual time: `python -m tests.virtual.tiny_runs FROM TO` prints the digest of each seed's history.

What they play is what a seed may decide: who sends when, clocks, attacks, a script's steps, and who goes on first; in
every fifth one faults, too.
"""

from __future__ import annotations

import sys

import trio

from simulator.history.rows import History
from simulator.history.tables import history_digest
from simulator.scenario.loading import parse_scenario
from simulator.worlds.players.fault_player import FaultPlayer
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.progress import Progress
from simulator.worlds.virtual.faults import VirtualFaults
from simulator.worlds.virtual.scheduling import run_seeded
from simulator.worlds.virtual.world import VirtualWorld, seeded_token

SCENARIO = """
version = 1
name = "tiny"
duration = "2s"
metrics_interval = "2s"
[fleet]
machines = 4
owners = 2
heartbeat_interval = "500ms"
stages = [{ duration = "500ms", target = 4 }]
clocks = [{ share = 0.3, offset = "2s" }]
[[attacks]]
name = "replay.exact"
start = "800ms"
duration = "1s"
rate = 2
share = 0.5
[[attacks]]
name = "owner.header-mismatch"
start = "800ms"
duration = "1s"
rate = 1
"""
SECONDS_MAX = 120.0
OF_A_MEMORY = (
    SCENARIO.replace("[fleet]", "[server]\n{}\n[fleet]")
    + """
[[faults]]
kind = "server.kill"
at = "700ms"
[[faults]]
kind = "server.pause"
at = "1300ms"
duration = "200ms"
[[faults]]
kind = "{}"
at = "900ms"
duration = "200ms"
"""
)
FAULTY = (
    OF_A_MEMORY.replace("{}", "durable = true", 1).replace("{}", "disk.full").replace('"900ms"', '"1600ms"'),
    OF_A_MEMORY.replace("{}", "redis = true\ninstances = 2", 1).replace("{}", "redis.pause"),
    OF_A_MEMORY.replace("{}", "durable = true\ntls = true", 1).replace("{}", "server.restart"),
)
"""With faults, of a server with a disk, of instances with a Redis, and of a server that speaks TLS."""
FAULTY_EVERY = 5


def play_tiny(seed: int, text: str = SCENARIO) -> History:
    """Play a scenario by a seed, and return its history."""
    scenario, history, token = parse_scenario(text), History(), seeded_token(seed)
    server, progress = scenario.server, Progress()
    world = VirtualWorld(
        seed,
        token,
        {"WORKER_STATUS_STATE_FILE": "", **server.environ()},
        instances=server.instances,
        redis=server.redis,
        durable=server.durable,
        tls=server.tls,
    )
    faults = FaultPlayer(scenario, VirtualFaults(world), world.target, history, progress)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            for one in world.servers:
                await nursery.start(one.run)
            run = FleetRun(world.world, scenario, seed, world.target, history, progress, faults=faults)
            await run.run()
            nursery.cancel_scope.cancel()

    run_seeded(work, seed=seed, seconds_max=SECONDS_MAX, clock=world.clock)
    return history


def main(first: int, last: int) -> None:
    """Print the digest of each seed's run."""
    for seed in range(first, last + 1):
        text = SCENARIO if seed % FAULTY_EVERY else FAULTY[seed // FAULTY_EVERY % len(FAULTY)]
        print(history_digest(play_tiny(seed, text)))  # noqa: T201 - this is the program's output


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
