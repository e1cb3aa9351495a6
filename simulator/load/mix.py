"""How many users of which kind at which moment: a scenario in Locust's terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.fleet.load_users import DASHBOARD, FORUM, MARKET, ONBOARDING
from simulator.worlds.plan import level_at, machines_wanted

if TYPE_CHECKING:
    from simulator.scenario.values import Scenario

MACHINE, ATTACKER = "ProviderMachine", "Attacker"
USERS = {
    DASHBOARD: "OwnerDashboard",
    ONBOARDING: "OwnerOnboarding",
    MARKET: "AgentMarket",
    FORUM: "ForumCrowd",
}
"""The classes behind the names that scenarios use."""


def users_wanted(scenario: Scenario, elapsed_ns: int) -> dict[str, int]:
    """Return how many users of each class should run at a moment of the run.

    One of `ProviderMachine` is one machine, and one of `Attacker` one campaign under way.
    """
    wanted = {MACHINE: machines_wanted(scenario.fleet, elapsed_ns)}
    wanted |= {USERS[load.user]: level_at(load.stages, elapsed_ns) for load in scenario.load}
    wanted[ATTACKER] = sum(
        attack.start_ns <= elapsed_ns < attack.start_ns + attack.duration_ns for attack in scenario.attacks
    )
    return wanted


def campaigns_due(scenario: Scenario, elapsed_ns: int) -> list[int]:
    """Return the numbers of the campaigns that have begun by a moment, in the order in which they begin."""
    due = [
        (attack.start_ns, number) for number, attack in enumerate(scenario.attacks, 1) if attack.start_ns <= elapsed_ns
    ]
    return [number for _, number in sorted(due)]


def spread(target: int, now: dict[str, int]) -> dict[str, int]:
    """Spread users over workers evenly, moving as few as can be. `now` are those that each worker has."""
    if not now:
        return {}
    least, more = divmod(target, len(now))
    order = sorted(now, key=lambda worker: (-now[worker], worker))
    return {worker: least + (rank < more) for rank, worker in enumerate(order)}
