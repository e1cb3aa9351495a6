"""A run of a scenario in a world: fleet, observers and market, from the first policies to the last answers."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import trio

from reference_server.wire.units import SECOND_NS
from simulator.worlds.plan import machines_wanted, steady_until
from simulator.worlds.players.crowd_player import CrowdPlayer
from simulator.worlds.players.fleet_player import FleetPlayer
from simulator.worlds.players.market_player import MarketPlayer
from simulator.worlds.players.observing import Observer
from simulator.worlds.players.onboarding import SetUpError
from simulator.worlds.progress import Phase
from simulator.worlds.world import owner_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.client.target import Target
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.traces.tape import Tape
    from simulator.worlds.players.fault_player import FaultPlayer
    from simulator.worlds.progress import Progress
    from simulator.worlds.world import World


class FleetRun:
    """A run of a scenario against a target in a world, all in this process. Times count from its start.

    `sides` are servers for attacks that need one of their own, by the attack's name. `clock_offset_ns` is added to the
    world's wall clock to get the target's. `faults` injects faults during the run.
    """

    def __init__(
        self,
        world: World,
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
        self._world = world
        self._faults = faults
        self._scenario = scenario
        self._patience = target.patience
        self._history = history
        self._progress = progress
        self._tape = tape
        clock = world.clock
        prefix = owner_prefix(clock.wall_ns() + clock_offset_ns)
        self.player = FleetPlayer(
            world, scenario, seed, target, history, progress, prefix, tape, sides, clock_offset_ns
        )
        self.now = self.player.now
        owner_ids = self.player.owner_ids
        self._observer = Observer(scenario, seed, target, history, progress, self.now, owner_ids, clock.wall_ns)
        self._market = MarketPlayer(scenario, seed, target, history, progress, self.now, prefix, owner_ids, tape)
        self._crowd = CrowdPlayer(
            scenario, seed, target, history, progress, self.now, prefix, owner_ids, self.player.new_number, tape
        )

    async def run(self) -> None:
        """Run to the scenario's end; cancel it to end early. The history has what is known in both cases.

        The waits after the end can be given up (`Progress.ending`).
        """
        player, progress, scenario = self.player, self._progress, self._scenario
        try:
            await player.create_policies()
        except* SetUpError:
            await self._observer.ask_for_health()
            raise
        if self._tape is not None:
            self._tape.start(player.now(), player.wall())
        player.begin(self._world.clock.monotonic_ns())
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    player.play,
                    partial(machines_wanted, scenario.fleet),
                    player.campaigns,
                    partial(steady_until, scenario.fleet),
                )
                nursery.start_soon(self._world.watch, self._history, progress, self.now)
                nursery.start_soon(self._observer.watch)
                nursery.start_soon(self._market.play)
                if scenario.load:
                    nursery.start_soon(self._crowd.play)
                if self._faults is not None:
                    nursery.start_soon(self._faults.play, self.now)
                await trio.sleep(scenario.duration_ns / SECOND_NS)
                nursery.cancel_scope.cancel()
        finally:
            progress.phase = Phase.LAST_ANSWERS
            try:
                with trio.CancelScope(shield=True):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(partial(self._world.watch, self._history, progress, self.now, ending=True))
                        with progress.ending.wait(trio.CancelScope()):
                            await player.finish(self._patience.last_answers_seconds)
                            await self._market.finish(self._crowd.agents)
                            await self._observer.finish()
                        nursery.cancel_scope.cancel()
            finally:
                player.conclude(self._history.rows())
                progress.phase = Phase.DONE
