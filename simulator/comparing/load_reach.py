"""By how much what a scenario's users ask may differ between virtual time and a live run, which Locust conducts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Operation
from simulator.fleet.load_users import DASHBOARD, FORUM, MARKET, ONBOARDING
from simulator.limits import CROSS_LOCUST_SHIFT_SECONDS
from simulator.worlds.plan import level_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.values import LoadOptions, Scenario

_IN_TURN = (
    Operation.POLICY_CREATE, Operation.POLICY_ACTIVATE, Operation.REGISTER, Operation.CONSENT_CREATE,
    Operation.POLICY_FETCH, Operation.CERTIFICATE, Operation.CONSENT_REVOKE,
)  # fmt: skip
"""What an owner asks for each machine that is brought in and out, once."""
_OF_THE_FORUM = (Operation.FORUM_READ, Operation.FORUM_WRITE)
_DRAWN: Mapping[str, tuple[Operation, ...]] = {
    DASHBOARD: (Operation.OTHER, Operation.METRICS),
    MARKET: (
        Operation.RESOURCES_READ, Operation.PRICES_READ, Operation.JOB_CREATE, Operation.JOB_READ, Operation.JOB_CANCEL,
        Operation.WALLET_READ, Operation.WITHDRAW, *_OF_THE_FORUM,
    ),
    FORUM: _OF_THE_FORUM,
}  # fmt: skip
"""What users draw, each time anew. Agents register once, whatever they draw."""


def load_allows(scenario: Scenario, operation: int, asked: tuple[int, int], spread: float) -> tuple[int, str]:
    """Return by how many more requests of a kind two runs may differ for their users, and why.

    `asked` is how many there were in each, and `spread` the standard deviations that are chance.
    """
    late, drawn = 0.0, False
    for load in scenario.load:
        if load.user == ONBOARDING and operation in _IN_TURN:
            late += _changes(load) * math.ceil(CROSS_LOCUST_SHIFT_SECONDS * load.rate / len(_IN_TURN))
        elif operation in _DRAWN.get(load.user, ()):
            share = min(1.0, max(asked) / max(1.0, load.rate * _user_seconds(scenario, load)))
            late += _changes(load) * (CROSS_LOCUST_SHIFT_SECONDS * load.rate + 1) * share
            drawn = True
    if not late:
        return 0, ""
    why = f"users come and go up to {CROSS_LOCUST_SHIFT_SECONDS:g} s earlier or later"
    if not drawn:
        return math.ceil(late), why
    return math.ceil(late + spread * math.sqrt(sum(asked))), f"{why}, and draw what they ask"


def _changes(load: LoadOptions) -> int:
    """Return how often a user comes or goes; at the run's end all go at once in both worlds."""
    return sum(abs(after - before) for before, after in pairwise((0, *(stage.target for stage in load.stages))))


def _user_seconds(scenario: Scenario, load: LoadOptions) -> int:
    return sum(level_at(load.stages, at_ns) for at_ns in range(0, scenario.duration_ns, SECOND_NS))
