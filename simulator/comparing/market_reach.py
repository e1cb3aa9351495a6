"""By how much a market may differ between virtual time and a live run: whoever is in it goes by what came before.

An agent draws what it asks next from what it was answered, and a machine that abandons a job does so when it has one.
So both worlds ask as often in all, and what is drawn differs by chance.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from simulator.contract.answers import Operation

if TYPE_CHECKING:
    from simulator.scenario.values import Scenario

OF_THE_FORUM = (Operation.FORUM_READ, Operation.FORUM_WRITE)
DRAWN_BY_AGENTS = (
    Operation.RESOURCES_READ, Operation.PRICES_READ, Operation.JOB_CREATE, Operation.JOB_READ, Operation.JOB_CANCEL,
    Operation.WALLET_READ, Operation.WITHDRAW, *OF_THE_FORUM,
)  # fmt: skip
"""What agents draw, each time anew. They register once, whatever they draw."""


def abandons(scenario: Scenario) -> bool:
    """Return whether machines fall silent in the middle of jobs."""
    return scenario.market is not None and scenario.market.offer.abandons > 0


def market_allows(scenario: Scenario, operation: int, asked: tuple[int, int], spread: float) -> tuple[int, str]:
    """Return by how many more requests of a kind two runs may differ for the agents that they play, and why.

    `asked` is how many there were in each, and `spread` the standard deviations that are chance.
    """
    if scenario.market is None or not scenario.market.agents or operation not in DRAWN_BY_AGENTS:
        return 0, ""
    return math.ceil(spread * math.sqrt(sum(asked))), "agents draw what they ask from what they were answered"
