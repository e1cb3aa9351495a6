"""The live world: a scenario's fleet against a real server, over real sockets, in real time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import trio

from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.script import Stage, defences_of
from simulator.fleet.hardware import HardwareLoad, capped
from simulator.history import History
from simulator.records import METRICS_PAGE, GeneratorSample, Scrape
from simulator.scenario.values import SECOND_NS
from simulator.worlds.auditing import Auditor
from simulator.worlds.checking import MalformedError, read_metrics
from simulator.worlds.control import ControlConnection, LostError
from simulator.worlds.onboarding import Onboarding
from simulator.worlds.plan import machines_wanted, make_campaigns, make_fleet
from simulator.worlds.scripts import ScriptPlayer
from simulator.worlds.shard import Shard
from simulator.worlds.target import SCRAPER_ADDRESS, Target, TargetError, peers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.fleet.machine import Machine
    from simulator.scenario.values import Scenario
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.progress import Progress

TICK_SECONDS = 0.05
LAG_PROBE_SECONDS = 0.1
HARDWARE_TICK_SECONDS = 1.0
LAST_ANSWERS_SECONDS = 3.0


class LiveRun:
    """One run of a scenario against a target. Everything random follows from the seed; times count from `start`."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        target: Target,
        history: History,
        progress: Progress,
        tape: Tape | None = None,
        sides: Mapping[str, Target] = MappingProxyType({}),
        clock_offset_ns: int = 0,
    ) -> None:
        self._scenario = scenario
        self._sides = sides
        self._peers = peers_of(target)
        self._tape = tape
        self._target = target
        self._history = history
        self._progress = progress
        fleet_rng, shard_rng, hardware_rng, call_rng, script_rng, audit_rng = (
            np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(6)
        )

        # Owners of their own for each run, so that a target that has seen runs before is no different.
        def wall() -> int:
            return time.time_ns() + clock_offset_ns  # noqa: TID251 - the live world runs on the real clock

        self._wall = wall
        self._prefix = prefix = f"owner-{wall():x}"
        self._fleet = make_fleet(scenario, fleet_rng, prefix)
        self._campaigns = make_campaigns(scenario, self._fleet, fleet_rng)
        self._hardware = HardwareLoad(len(self._fleet), scenario.fleet.hardware, hardware_rng)
        self._start_ns = time.monotonic_ns()
        self._onboarding = Onboarding(
            target,
            history,
            progress,
            self.now,
            call_rng,
            scenario.fleet.certificate_rotation_ns,
            tape,
        )
        self._owner_ids = sorted({machine.owner_id for machine in self._fleet})
        duration_seconds = scenario.duration_ns / SECOND_NS
        self._auditor = Auditor(target, history, self.now, audit_rng, self._owner_ids, duration_seconds)
        self._nursery: trio.Nursery | None = None
        self._calling: set[int] = set()
        self._shard = Shard(
            target, history, progress, shard_rng, self.now, wall, self._metrics_of, self._call,
            scenario.fleet.jitter, tape,
        )  # fmt: skip
        self._numbers = count(len(self._fleet))
        self._player = ScriptPlayer(
            target, history, progress, self.now, self._stage, self._join, script_rng, tape, sides
        )
        self._spread = shard_rng.random(len(self._fleet))
        self._cpu, self._memory, self._gpu = [0.0], [0.0], [0.0]
        self._load_hardware(HARDWARE_TICK_SECONDS)

    def now(self) -> int:
        """Give nanoseconds since the start of the run."""
        return time.monotonic_ns() - self._start_ns

    async def run(self) -> None:
        """Run to the scenario's end; cancel it to end it early. The history holds what is known either way."""
        progress = self._progress
        progress.phase = "policies"
        await self._onboarding.create_policies(self._owner_ids)
        if self._tape is not None:
            self._tape.start(self.now(), self._wall())
        self._history.shift_effects(-self.now())
        self._start_ns = time.monotonic_ns()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                watching = (self._scrape, self._watch, self._tick_hardware, self._auditor.watch)
                for task in (self._shard.run, self._conduct, *watching):
                    nursery.start_soon(task)
                await trio.sleep(self._scenario.duration_ns / SECOND_NS)
                nursery.cancel_scope.cancel()
        finally:
            progress.phase = "last answers"
            try:
                with trio.CancelScope(shield=True):
                    await self._shard.finish(LAST_ANSWERS_SECONDS)
                    await self._last_scrape()
                    await self._auditor.read()
            finally:
                self._conclude()
                progress.phase = "done"

    def _conclude(self) -> None:
        """Note what came of each campaign, and let attacks of single heartbeats claim what all of theirs show."""
        rows = self._history.rows()
        for campaign in self._campaigns:
            if isinstance(campaign.attack, ShotAttack) and campaign.completed:
                for said in campaign.attack.conclude(rows[rows["campaign"] == campaign.number]):
                    self._player.say(campaign, said)
        self._history.campaigns = [campaign.record() for campaign in self._campaigns]

    async def _last_scrape(self) -> None:
        source = SCRAPER_ADDRESS if self._target.own_addresses else None
        async with ControlConnection(self._target, source) as connection:
            await self._scrape_once(connection)

    async def _conduct(self) -> None:
        """Start and stop machines as the stages want, and launch the campaigns."""
        fleet, progress = self._fleet, self._progress
        campaigns = sorted(self._campaigns, key=lambda campaign: campaign.options.start_ns)
        registered = 0
        while True:
            now_ns = self.now()
            progress.elapsed_ns = now_ns
            wanted = machines_wanted(self._scenario.fleet, now_ns)
            progress.phase = "ramping" if progress.connected < wanted * 0.99 else "running"
            progress.machines_wanted = wanted
            while progress.machines_running < wanted:
                machine = fleet[progress.machines_running]
                machine.due_ns = now_ns
                if progress.machines_running < registered:
                    machine.stopped = False
                    if machine.index not in self._calling:  # else its call resumes it
                        self._shard.resume(machine)
                else:
                    registered += 1
                    self._call(machine)
                progress.machines_running += 1
            while progress.machines_running > wanted:
                progress.machines_running -= 1
                self._shard.stop_machine(fleet[progress.machines_running])
            while campaigns and campaigns[0].options.start_ns <= now_ns:
                self._launch(campaigns.pop(0))
            progress.connected_max = max(progress.connected_max, progress.connected)
            await trio.sleep(TICK_SECONDS)

    def _launch(self, campaign: Campaign) -> None:
        if isinstance(campaign.attack, ShotAttack):
            self._shard.launch(campaign)
        elif self._nursery is not None:
            self._nursery.start_soon(self._player.run, campaign)

    def _stage(self, campaign: Campaign, rng: np.random.Generator, attempt: int) -> Stage:
        scenario = self._scenario
        side = self._sides.get(campaign.attack.name)
        target = side or self._target
        return Stage(
            campaign=campaign.number,
            host=target.authority,
            token=target.token,
            victims=campaign.victims,
            # Owners and machines of a side server are none of the main one's.
            history=self._history if side is None else History(),
            rng=rng,
            now=self.now,
            wall=self._wall,
            new_number=lambda: next(self._numbers),
            interval_ns=scenario.fleet.heartbeat_interval_ns,
            rotation_ns=scenario.fleet.certificate_rotation_ns,
            end_ns=scenario.duration_ns,
            owner_prefix=f"{self._prefix}-x{campaign.number}-{attempt}",
            defences=defences_of(scenario.server.environ()),
            own_addresses=target.own_addresses,
            peer_sources=self._peers,
        )

    def _join(self, machine: Machine) -> None:
        """Let a script's machine go on as an honest one."""
        machine.stopped = False
        machine.due_ns = self.now()
        self._shard.resume(machine)

    def _call(self, machine: Machine) -> None:
        if self._nursery is not None:
            self._calling.add(machine.index)
            self._nursery.start_soon(self._do_call, machine)

    async def _do_call(self, machine: Machine) -> None:
        first = not machine.worker_id
        await self._onboarding.serve(machine)
        self._calling.discard(machine.index)
        if first and machine.policy_id:
            # Machines that came up together must not beat together.
            machine.due_ns = self.now() + int(machine.interval_ns * self._spread[machine.index])
        if not machine.stopped:
            self._shard.resume(machine)

    # --- hardware

    def _metrics_of(self, index: int) -> str:
        index %= len(self._cpu)  # machines of scripts have numbers past the fleet's
        cpu, memory, gpu = self._cpu[index], self._memory[index], self._gpu[index]
        return f'{{"cpu_percent":{cpu},"memory_percent":{memory},"gpu_percent":{gpu}}}'

    def _load_hardware(self, seconds: float) -> None:
        """Move the fleet's load on, held under each machine's policy."""
        hardware, fleet = self._hardware, self._fleet
        unix_seconds = time.time()  # noqa: TID251 - the live world runs on the real clock
        hardware.advance(seconds, unix_seconds / 3600 % 24)
        hours = {zone: time_hour(zone, unix_seconds) for zone in {m.rules.get("timezone", "UTC") for m in fleet}}

        def caps(name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
            return np.array([machine.rules.get(name, 100) for machine in fleet], dtype=np.float64)

        allowed = np.array(
            [
                hours[machine.rules.get("timezone", "UTC")] in machine.rules["allowed_hours"]
                if "allowed_hours" in machine.rules
                else True
                for machine in fleet
            ],
            dtype=np.bool_,
        )
        always = np.ones(len(fleet), dtype=np.bool_)
        self._cpu = np.round(capped(hardware.cpu, caps("max_cpu_percent"), allowed), 1).tolist()
        self._memory = np.round(capped(hardware.memory, caps("max_memory_percent"), always), 1).tolist()
        self._gpu = np.round(capped(hardware.gpu, caps("max_gpu_percent"), allowed), 1).tolist()

    async def _tick_hardware(self) -> None:
        while True:
            await trio.sleep(HARDWARE_TICK_SECONDS)
            self._load_hardware(HARDWARE_TICK_SECONDS)

    # --- watching

    async def _scrape(self) -> None:
        interval_seconds = self._scenario.metrics_interval_ns / SECOND_NS
        source = SCRAPER_ADDRESS if self._target.own_addresses else None
        due = trio.current_time()
        async with ControlConnection(self._target, source) as connection:
            while True:
                await self._scrape_once(connection)
                due = max(due + interval_seconds, trio.current_time())
                await trio.sleep_until(due)

    async def _scrape_once(self, connection: ControlConnection) -> None:
        progress = self._progress
        sent_ns = self.now()
        try:
            samples = await read_metrics(connection, self._target)
        except (LostError, TargetError) as error:
            progress.scrape_failures += 1
            what = METRICS_PAGE if isinstance(error, MalformedError) else "scrape"
            self._history.trouble(self.now(), what, str(error))
            progress.last_problem = f"scrape: {error}"
            return
        self._history.scrapes.append(Scrape(sent_ns, self.now(), samples))
        progress.stale_alert = samples.get("hatchfarm_alert_stale_workers", 0) > 0
        progress.auth_alert = samples.get("hatchfarm_alert_worker_auth_failures", 0) > 0

    async def _watch(self) -> None:
        """Once a second, record how the harness itself is doing."""
        dropped_before = held_up_before = 0
        while True:
            start, cpu_start, worst = time.monotonic(), time.process_time(), 0.0
            while time.monotonic() - start < 1:
                before = trio.current_time()
                await trio.sleep(LAG_PROBE_SECONDS)
                worst = max(worst, trio.current_time() - before - LAG_PROBE_SECONDS)
            share = (time.process_time() - cpu_start) / (time.monotonic() - start)
            dropped, held_up = self._progress.dropped_starts, self._progress.held_up
            self._history.generator.append(
                GeneratorSample(
                    self.now(), int(worst * 1e9), share, dropped - dropped_before, held_up - held_up_before
                ),
            )
            dropped_before, held_up_before = dropped, held_up


def time_hour(zone: str, unix_seconds: float) -> int:
    """Give the hour of the day in a time zone; UTC's for a zone this machine does not know."""
    try:
        info: tzinfo = ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        info = UTC
    return datetime.fromtimestamp(unix_seconds, info).hour


async def run_fleet(
    scenario: Scenario,
    seed: int,
    target: Target,
    history: History,
    progress: Progress,
    tape: Tape | None = None,
    sides: Mapping[str, Target] = MappingProxyType({}),
    clock_offset_ns: int = 0,
) -> None:
    """Run a scenario's fleet, on tape if there is one. Raises TargetError when the target cannot serve it at all.

    `sides` are servers for attacks that need one of their own, by the attack's name. `clock_offset_ns` is what machines
    and attackers add to this machine's wall clock, so as to go by the target's.
    """
    await LiveRun(scenario, seed, target, history, progress, tape, sides, clock_offset_ns).run()
