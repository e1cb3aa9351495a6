"""Playing a fleet, or one shard of it: starting and stopping its machines and campaigns."""

from __future__ import annotations

from functools import partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.defences import defences_of
from simulator.attacks.script import ScriptContext
from simulator.client.target import Target, peers_of
from simulator.fleet.hardware import HardwareLoad
from simulator.history.rows import NEVER_NS, History
from simulator.limits import MACHINES_MAX
from simulator.platform.wording import plural
from simulator.scenario.kinds import Duration
from simulator.worlds.plan import make_campaigns, make_fleet, make_market_work
from simulator.worlds.players.hardware_reports import HardwareReports
from simulator.worlds.players.onboarding import Onboarding
from simulator.worlds.players.scripts import ScriptPlayer
from simulator.worlds.progress import Kind, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from simulator.fleet.machine import Machine
    from simulator.scenario.values import Scenario
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress
    from simulator.worlds.world import World

TICK_SECONDS = 0.05
STEADY_SHARE = 1e-5
"""The share of a run's duration that may pass between looks at the fleet while nothing is to change."""
HARDWARE_MIN_SECONDS, HARDWARE_SHARE = 1.0, 0.5
"""The interval of hardware load updates: at least a second, or half a heartbeat interval."""


class ShardRange(msgspec.Struct, frozen=True):
    """A shard's part of the fleet: the shard's number, its first machine's number, and its number of machines.

    Each shard draws the whole fleet from its first machine on; machines of other shards are never attacked by it.
    """

    shard: int = 0
    first_machine: int = 0
    machines: int = MACHINES_MAX


WHOLE_FLEET = ShardRange()
"""The range of a fleet that one process plays."""


class FleetPlayer:
    """A scenario's machines and campaigns against a target. Everything random follows from the seed and the shard.

    `prefix` starts the owners' names. Times count from `begin`. `clock_offset_ns` is added to the world's wall clock to
    get the target's; `sides` are servers for attacks that need one of their own, by the attack's name.
    """

    def __init__(
        self,
        world: World,
        scenario: Scenario,
        seed: int,
        target: Target,
        history: History,
        progress: Progress,
        prefix: str,
        tape: Tape | None = None,
        sides: Mapping[str, Target] = MappingProxyType({}),
        clock_offset_ns: int = 0,
        *,
        share: ShardRange = WHOLE_FLEET,
    ) -> None:
        self._clock = clock = world.clock
        self._scenario = scenario
        self._sides = sides
        self._peers = peers_of(target)
        self._tape = tape
        self._target = target
        self._history, self._progress = history, progress
        self._prefix = prefix
        self._first = first = share.first_machine
        seeds = np.random.SeedSequence((seed, share.shard) if share.shard else seed).spawn(7)
        fleet_rng, shard_rng, hardware_rng, call_rng, script_rng, _, work_rng = map(np.random.default_rng, seeds)

        def wall() -> int:
            return clock.wall_ns() + clock_offset_ns

        self._wall = wall
        self.fleet = make_fleet(scenario, fleet_rng, prefix, first)
        self.campaigns = make_campaigns(scenario, self.fleet[: share.machines], fleet_rng)
        self._early: list[int] = []
        hardware = scenario.fleet.hardware
        self._hardware = HardwareReports(HardwareLoad(len(self.fleet), hardware, hardware_rng), self.fleet, first)
        self._steady_seconds = max(world.steady_seconds, scenario.duration_ns / SECOND_NS * STEADY_SHARE)
        self._hardware_seconds = hardware_seconds(scenario.fleet.heartbeat_interval_ns)
        self._start_ns = progress.started_ns = clock.monotonic_ns()
        rotation_ns = scenario.fleet.certificate_rotation_ns
        self._onboarding = Onboarding(target, history, progress, self.now, call_rng, rotation_ns, tape)
        self.owner_ids = sorted({machine.owner_id for machine in self.fleet})
        self._nursery: trio.Nursery | None = None
        self._calling: set[int] = set()
        self._registered = 0
        self._work = make_market_work(scenario, self.fleet, work_rng)
        self.metrics_of = self._hardware.of
        self._shard = world.make_shard(
            target, history, progress, shard_rng, self.now, wall, self._metrics(), self._call,
            scenario.fleet.jitter, tape, work=self._work,
        )  # fmt: skip
        self.new_number = partial(next, count(first + len(self.fleet)))
        """Returns the number of a machine outside of the fleet."""
        self._player = ScriptPlayer(
            target, history, progress, self.now, self._context, self._join, script_rng, tape, sides, share.shard,
            sandboxes=world.sandboxes, server=scenario.server,
        )  # fmt: skip
        self.spread = shard_rng.random(len(self.fleet))
        self.load_hardware(self._hardware_seconds)

    def now(self) -> int:
        """Return nanoseconds since the start of the run."""
        return self._clock.monotonic_ns() - self._start_ns

    def wall(self) -> int:
        """Return Unix nanoseconds by the clock that the machines use."""
        return self._wall()

    async def create_policies(self) -> None:
        """Create each owner's policy, before the run begins. Raises TargetError."""
        self._progress.phase = Phase.POLICIES
        await self._onboarding.create_policies(self.owner_ids)

    def take_policies(self, policies: Mapping[str, str]) -> None:
        """Use policies that another process created, by owner id."""
        self._onboarding.policies.update(policies)

    def begin(self, start_ns: int) -> None:
        """Set the start of the run's time on the world's monotonic clock."""
        self._history.shift_effects(self._start_ns - start_ns)
        self._start_ns = self._progress.started_ns = start_ns

    async def play(
        self,
        wanted: Callable[[int], int],
        campaigns: list[Campaign],
        steady: Callable[[int], float] = lambda now_ns: now_ns,
    ) -> None:
        """Keep as many machines active as `wanted` returns for the current time, until cancelled.

        `steady` returns until when that number stays; by default it may change at any moment. `campaigns` are launched
        at their start; others by `launch`.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._shard.run)
                nursery.start_soon(self._tick_hardware)
                for number in self._early:
                    self.launch(number)
                await self._follow(wanted, steady, sorted(campaigns, key=lambda campaign: campaign.options.start_ns))
        finally:
            self._end_shooting(self.now(), all_of_them=True)  # scripts end with their tasks

    async def finish(self, patience_seconds: float) -> None:
        """Wait a moment for the last answers, once `play` has ended."""
        await self._shard.finish(patience_seconds)

    def conclude(self, rows: NDArray[Any]) -> None:
        """Record the outcome of each campaign, and the claims about all heartbeats of an attack together.

        `rows` are the history's rows, or at least those of the campaigns.
        """
        for campaign in self.campaigns:
            if isinstance(campaign.attack, ShotAttack) and campaign.completed:
                for claim in campaign.attack.conclude(rows[rows["campaign"] == campaign.number]):
                    self._player.performing.claim(campaign.number, claim, self.now())
        self._history.campaigns = [campaign.record() for campaign in self.campaigns]

    async def _follow(
        self, wanted_at: Callable[[int], int], steady: Callable[[int], float], campaigns: list[Campaign]
    ) -> None:
        progress, before, pause = self._progress, 0, TICK_SECONDS
        while True:
            now_ns = self.now()
            progress.elapsed_ns = now_ns
            wanted = min(wanted_at(now_ns), len(self.fleet))
            # Servers close idle connections, so fewer may be up than there are machines.
            pause = TICK_SECONDS if wanted != before else min(2 * pause, self._steady_seconds)
            before = wanted
            progress.phase = Phase.RAMPING if progress.connected < wanted * 0.99 else Phase.RUNNING
            self._bring_to(wanted, now_ns)
            while campaigns and campaigns[0].options.start_ns <= now_ns:
                self._launch(campaigns.pop(0))
            self._end_shooting(now_ns)
            until_ns = steady(now_ns)
            if progress.connected != wanted:
                until_ns = min(until_ns, now_ns + pause * SECOND_NS)
            if campaigns:
                until_ns = min(until_ns, campaigns[0].options.start_ns)
            await trio.sleep(min(max(TICK_SECONDS, (until_ns - self.now()) / SECOND_NS), self._steady_seconds))

    def _bring_to(self, wanted: int, now_ns: int) -> None:
        """Start or stop machines until `wanted` are active."""
        fleet, progress = self.fleet, self._progress
        progress.machines_wanted = wanted
        while progress.machines_running < wanted:
            machine = fleet[progress.machines_running]
            machine.due_ns = now_ns
            if progress.machines_running < self._registered:
                machine.stopped = False
                if machine.index not in self._calling:  # otherwise its call will resume it
                    self._shard.resume(machine)
            else:
                self._registered += 1
                self._call(machine)
            progress.machines_running += 1
        while progress.machines_running > wanted:
            progress.machines_running -= 1
            self._shard.stop_machine(fleet[progress.machines_running])

    def launch(self, number: int) -> None:
        """Launch a campaign now, by its number in the scenario, regardless of its start time.

        If called before `play`, the campaign starts with `play`: there are no victims before.
        """
        if self._nursery is None:
            self._early.append(number)
            return
        campaign = self.campaigns[number - 1]
        campaign.options = msgspec.structs.replace(campaign.options, start_ns=Duration(self.now()))
        self._launch(campaign)

    def _launch(self, campaign: Campaign) -> None:
        self._progress.begin(Kind.ATTACK, campaign.attack.name, campaign.number, self.now())
        if isinstance(campaign.attack, ShotAttack):
            self._shard.launch(campaign)
        elif self._nursery is not None:
            self._nursery.start_soon(self._play_script, campaign)

    async def _play_script(self, campaign: Campaign) -> None:
        try:
            await self._player.run(campaign)
        finally:
            self._end_campaign(campaign, self.now())

    def _end_shooting(self, now_ns: int, *, all_of_them: bool = False) -> None:
        """Record which campaigns of single heartbeats have ended, by their schedule or (`all_of_them`) with the run."""
        for _, number, _ in [one for one in self._progress.under_way if one[0] is Kind.ATTACK]:
            campaign = self.campaigns[number - 1]
            end_ns = campaign.options.start_ns + campaign.options.duration_ns
            if (all_of_them or now_ns >= end_ns) and isinstance(campaign.attack, ShotAttack):
                self._end_campaign(campaign, min(end_ns, now_ns))

    def _end_campaign(self, campaign: Campaign, at_ns: int) -> None:
        name = campaign.attack.name
        if campaign.not_tried:
            note = f"not tried: {campaign.not_tried}"
        elif isinstance(campaign.attack, ShotAttack):
            note = f"{campaign.completed:,} of {plural(campaign.planned, 'shot')} sent"
        else:
            note = f"{campaign.completed:,} of {plural(campaign.fired, 'attempt')} played to the end"
        self._progress.end(Kind.ATTACK, name, campaign.number, at_ns, note)

    def _context(self, campaign: Campaign, rng: np.random.Generator, attempt: int) -> ScriptContext:
        scenario = self._scenario
        side = self._sides.get(campaign.attack.name)
        target = side or self._target
        return ScriptContext(
            campaign=campaign.number,
            host=target.authority,
            token=target.token,
            victims=campaign.victims,
            # Owners and machines of a side server do not exist on the main one.
            history=self._history if side is None else History(),
            rng=rng,
            now=self.now,
            wall=self._wall,
            new_number=self.new_number,
            interval_ns=scenario.fleet.heartbeat_interval_ns,
            rotation_ns=scenario.fleet.certificate_rotation_ns,
            end_ns=scenario.duration_ns,
            owner_prefix=f"{self._prefix}-x{campaign.number}-{attempt}",
            defences=defences_of(scenario.server.environ()),
            own_addresses=target.own_addresses and target.addresses_known,
            peer_sources=self._peers,
            lacks=target.lacks,
            metrics_public=self._metrics_public(target),
            clocks_apart_ns=scenario.clocks_apart_ns,
        )

    def _metrics_public(self, target: Target) -> bool | None:
        """Return whether the target's metrics are public, or None if the setting is unknown."""
        return self._scenario.server.environ().get("METRICS_PUBLIC") == "true" if target.settings_known else None

    def _join(self, machine: Machine) -> None:
        """Add a script's machine to the fleet as an honest one."""
        machine.stopped = False
        machine.due_ns = self.now()
        self._shard.resume(machine)

    def _call(self, machine: Machine) -> None:
        # A machine that was stopped and restarted may be scheduled twice.
        if self._nursery is not None and machine.index not in self._calling:
            self._calling.add(machine.index)
            self._nursery.start_soon(self._do_call, machine)

    async def _do_call(self, machine: Machine) -> None:
        first, due_ns = not machine.worker_id, machine.due_ns
        await self._onboarding.serve(machine)
        self._calling.discard(machine.index)
        if first and machine.policy_id:
            # Machines that came up together must not send heartbeats together.
            machine.due_ns = self.now() + int(machine.interval_ns * self.spread[machine.index - self._first])
        if not machine.stopped:
            self._shard.resume(machine, NEVER_NS if first else due_ns)

    # --- hardware

    def _metrics(self) -> Callable[[int], str]:
        return self.metrics_of if self._work is None else self.market_metrics_of

    def market_metrics_of(self, index: int) -> str:
        """Return a machine's hardware report, with capacity and job reports if it takes part in the market."""
        hardware = self.metrics_of(index)
        work = None if self._work is None else self._work.get(index)
        return hardware if work is None else f"{hardware[:-1]},{work.metrics(self.now())}}}"

    def load_hardware(self, seconds: float) -> None:
        """Advance the fleet's load by `seconds`, limited by each machine's policy."""
        self._hardware.advance(seconds, self._clock.wall_ns() / SECOND_NS)

    async def _tick_hardware(self) -> None:
        while True:
            await trio.sleep(self._hardware_seconds)
            self.load_hardware(self._hardware_seconds)


def hardware_seconds(heartbeat_interval_ns: int) -> float:
    """Return the interval between load updates, in seconds: heartbeats show no finer steps."""
    return max(HARDWARE_MIN_SECONDS, heartbeat_interval_ns / SECOND_NS * HARDWARE_SHARE)
