"""By how much what a scenario's users ask may differ between virtual time and a live run, which Locust conducts."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.comparing.market_reach import DRAWN_BY_AGENTS, OF_THE_FORUM
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
_DRAWN: Mapping[str, tuple[Operation, ...]] = {
    DASHBOARD: (Operation.OTHER, Operation.METRICS),
    MARKET: DRAWN_BY_AGENTS,
    FORUM: OF_THE_FORUM,
}
"""What users draw, each time anew. Agents register once, whatever they draw."""


def load_allows(scenario: Scenario, operation: int, asked: tuple[int, int], spread: float) -> tuple[int, str]:
    """Return by how many more requests of a kind two runs may differ for their users, and why.

    `asked` is how many there were in each, and `spread` the standard deviations that are chance.
    """
    late, drawn = 0.0, False
    for load in scenario.load:
        if load.user in {MARKET, FORUM} and operation == Operation.AGENT_REGISTER:
            late += _comes_at_the_end(scenario, load)
        elif load.user == ONBOARDING and operation in _IN_TURN:
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


def _comes_at_the_end(scenario: Scenario, load: LoadOptions) -> int:
    """Return how many users come so late that those who come later yet would not come at all: each registers once."""
    before_ns = scenario.duration_ns - round(CROSS_LOCUST_SHIFT_SECONDS * SECOND_NS)
    return max(0, level_at(load.stages, scenario.duration_ns) - level_at(load.stages, max(0, before_ns)))


def _changes(load: LoadOptions) -> int:
    """Return how often a user comes or goes; at the run's end all go at once in both worlds."""
    return sum(abs(after - before) for before, after in pairwise((0, *(stage.target for stage in load.stages))))


def _user_seconds(scenario: Scenario, load: LoadOptions) -> int:
    return sum(level_at(load.stages, at_ns) for at_ns in range(0, scenario.duration_ns, SECOND_NS))
