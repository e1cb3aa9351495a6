"""The parts of a run: its fleet, its campaigns, and the number of machines over time.

All of it follows from the seed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator import limits
from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.attacks.script import ScriptAttack
from simulator.fleet.clocks import PERFECT, ClockError
from simulator.fleet.machine import Machine
from simulator.fleet.work import make_work
from simulator.history.records import CampaignRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from simulator.attacks.catalogue import Attack
    from simulator.fleet.work import MachineWork
    from simulator.scenario.values import AttackOptions, FleetOptions, Scenario, Stage


class Campaign(msgspec.Struct):
    """One attack campaign: its number in the history, the attack, its victims, and how many addresses attack.

    `fired` counts attempts or shots that were started, `completed` attempts that ended and shots that were sent; other
    fields are as in `CampaignRecord`.
    """

    number: int
    options: AttackOptions
    attack: Attack
    victims: list[Machine]
    attackers: int
    fired: int = 0
    completed: int = 0
    not_tried: str = ""
    planned: int = 0
    held_up: int = 0
    unready: int = 0

    def count_planned(self) -> None:
        """Compute the number of attempts that rate and duration ask for: at least one."""
        rate, duration_ns = self.options.rate, self.options.duration_ns
        count = max(1, math.ceil(rate * duration_ns / SECOND_NS))
        if count > 1 and round((count - 1) * SECOND_NS / rate) >= duration_ns:
            count -= 1
        self.planned = count

    @property
    def shots(self) -> ShotAttack:
        """Return the attack. Raises TypeError for a script, which is played elsewhere."""
        if not isinstance(self.attack, ShotAttack):
            raise TypeError(f"{self.attack.name} is a script")
        return self.attack

    def record(self) -> CampaignRecord:
        """Return the campaign's record for the history."""
        scripted = isinstance(self.attack, ScriptAttack)
        return CampaignRecord(
            self.number, self.attack.name, scripted, self.fired, self.completed, self.not_tried, self.planned,
            self.held_up, self.unready,
        )  # fmt: skip


def make_fleet(scenario: Scenario, rng: np.random.Generator, prefix: str, first: int = 0) -> list[Machine]:
    """Make the machines, numbered from `first`, spread over owners, with the shares of wrong clocks and silences."""
    options = scenario.fleet
    machines = options.machines
    clocks = [PERFECT] * machines
    order = rng.permutation(machines)
    taken = 0
    for clock in options.clocks:
        step = clock.step
        error = ClockError(
            clock.offset_ns,
            clock.drift_ppm,
            None if step is None else step.at_ns,
            0 if step is None else step.by_ns,
        )
        count = round(clock.share * machines)
        for index in order[taken : taken + count]:
            clocks[index] = error
        taken += count
    silences: list[tuple[tuple[int, int], ...]] = [()] * machines
    for silence in options.silence:
        for index in rng.permutation(machines)[: round(silence.share * machines)]:
            silences[index] += ((silence.at_ns, silence.at_ns + silence.duration_ns),)
    owners = [f"{prefix}-{number}" for number in range(options.owners)]
    return [
        Machine(
            first + index,
            owners[index % options.owners],
            options.heartbeat_interval_ns,
            clocks[index],
            silences[index],
        )
        for index in range(machines)
    ]


def make_market_work(
    scenario: Scenario, fleet: list[Machine], rng: np.random.Generator
) -> dict[int, MachineWork] | None:
    """Return the machines' market work by machine number, or None without a market."""
    if scenario.market is None:
        return None
    offer = scenario.market.offer
    order = rng.permutation(len(fleet))[: round(offer.share * len(fleet))]
    return make_work(sorted(fleet[place].index for place in order), offer.habits(), offer.wrong(), rng)


def make_campaigns(scenario: Scenario, fleet: list[Machine], rng: np.random.Generator) -> list[Campaign]:
    """Return the campaigns with their victims: machines with right clocks, disjoint sets while there are enough."""
    candidates = [machine for machine in fleet if machine.clock is PERFECT] or fleet
    order = [candidates[index] for index in rng.permutation(len(candidates))]
    campaigns = []
    taken = 0
    for number, options in enumerate(scenario.attacks, 1):
        attack = CATALOGUE[options.name]()
        victims_max = attack.victims_max if isinstance(attack, ShotAttack) else limits.VICTIMS_MAX
        count = max(1, min(round(options.share * len(order)), victims_max))
        victims = [order[(taken + index) % len(order)] for index in range(min(count, len(order)))]
        taken += count
        attackers = math.ceil(options.rate / limits.ATTACKER_RATE_PER_SECOND)
        campaigns.append(Campaign(number, options, attack, victims, attackers))
    return campaigns


def shots_of(campaign: Campaign) -> ShotAttack:
    """Return a campaign's attack. Raises TypeError for a script, which is played elsewhere."""
    attack = campaign.attack
    if not isinstance(attack, ShotAttack):
        raise TypeError(f"{attack.name} is a script")
    return attack


ROUNDING = 1e-6
"""The tolerance for rounding errors, as a fraction of the step from one machine to the next."""


def machines_wanted(options: FleetOptions, elapsed_ns: int) -> int:
    """Return how many machines should take part at a moment, interpolating linearly between stages."""
    if not options.stages:
        return min(options.machines, math.ceil(options.machines * elapsed_ns / options.own_ramp_ns))
    return level_at(options.stages, elapsed_ns)


def level_at(stages: Sequence[Stage], elapsed_ns: int) -> int:
    """Return the level at a moment: linear from 0 to each stage's target within its duration, then the last target."""
    level = 0
    start_ns = 0
    for stage in stages:
        into_ns = elapsed_ns - start_ns
        if into_ns < stage.duration_ns:
            return level + round((stage.target - level) * into_ns / stage.duration_ns)
        level = stage.target
        start_ns += stage.duration_ns
    return level


def steady_until(options: FleetOptions, elapsed_ns: int) -> float:
    """Return until when, in ns, the number of wanted machines stays as at a moment; infinite after the last stage."""
    if not options.stages:
        return elapsed_ns if elapsed_ns < options.own_ramp_ns else math.inf
    return steady_level_until(options.stages, elapsed_ns)


def steady_level_until(stages: Sequence[Stage], elapsed_ns: int) -> float:
    """Return until when, in ns, `level_at` stays as at a moment; infinite after the last stage."""
    level = end_ns = 0
    for stage in stages:
        begin_ns, end_ns = end_ns, end_ns + stage.duration_ns
        if elapsed_ns < end_ns:
            if stage.target == level:
                return end_ns
            # The rounded level changes half a step before and half a step after each whole number.
            step_ns = stage.duration_ns / abs(stage.target - level)
            steps = math.floor((elapsed_ns - begin_ns) / step_ns + 0.5) + 0.5
            return max(elapsed_ns, min(end_ns, begin_ns + (steps - ROUNDING) * step_ns))
        level = stage.target
    return math.inf
