"""The live world: a scenario's fleet against a real server, over real sockets, in real time."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING

from simulator.deployment import sandbox
from simulator.worlds.live.shard import Shard
from simulator.worlds.live.watching import watch_generator
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.client.target import Target
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.traces.tape import Tape
    from simulator.worlds.players.fault_player import FaultPlayer
    from simulator.worlds.progress import Progress


class SystemClock:
    """This machine's own clocks."""

    def monotonic_ns(self) -> int:
        """Return the system's monotonic clock."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Return Unix time."""
        return time.time_ns()  # noqa: TID251 - the live world runs on the real clock


class ProcessSandboxes:
    """Sandboxes of real processes (`worlds.world.Sandboxes`)."""

    obstacle = staticmethod(sandbox.obstacle_to)
    open = staticmethod(sandbox.open_sandbox)


LIVE = World(SystemClock(), Shard, watch_generator, ProcessSandboxes())


async def run_fleet(
    scenario: Scenario,
    seed: int,
    target: Target,
    history: History,
    progress: Progress,
    tape: Tape | None = None,
    sides: Mapping[str, Target] = MappingProxyType({}),
    clock_offset_ns: int = 0,
    faults: FaultPlayer | None = None,
) -> None:
    """Run a scenario's fleet, recorded on `tape` if given. Raises TargetError if the target cannot serve it at all.

    `sides` are servers for attacks that need one of their own, by the attack's name. `clock_offset_ns` is added to this
    machine's wall clock to get the target's. `faults` injects faults during the run.
    """
    await FleetRun(LIVE, scenario, seed, target, history, progress, tape, sides, clock_offset_ns, faults).run()
