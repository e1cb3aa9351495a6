"""How much a market may differ between virtual time and a live run, in which agents and machines depend on answers.

An agent draws its next request depending on the answers so far, and a machine abandons a job when it has one. So both
worlds send equally many requests in all, and the operations drawn differ by chance.
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
"""The operations that agents draw at random for each request. They also register, once each."""


def abandons(scenario: Scenario) -> bool:
    """Return whether machines fall silent in the middle of jobs."""
    return scenario.market is not None and scenario.market.offer.abandons > 0


def market_allows(scenario: Scenario, operation: int, asked: tuple[int, int], spread: float) -> tuple[int, str]:
    """Return by how many requests of an operation two runs may differ because of their agents, and why.

    `asked` is the number of requests in each run, and `spread` the number of standard deviations that count as chance.
    """
    if scenario.market is None or not scenario.market.agents or operation not in DRAWN_BY_AGENTS:
        return 0, ""
    return math.ceil(spread * math.sqrt(sum(asked))), "agents draw what they ask from what they were answered"
