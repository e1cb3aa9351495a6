"""How much the requests of a scenario's users may differ between virtual time and a live run conducted by Locust."""

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
"""The requests of an owner for each machine that it onboards and removes again, once each."""
_DRAWN: Mapping[str, tuple[Operation, ...]] = {
    DASHBOARD: (Operation.OTHER, Operation.METRICS),
    MARKET: DRAWN_BY_AGENTS,
    FORUM: OF_THE_FORUM,
}
"""The operations that users draw at random for each request, by kind of user. Agents also register, once each."""


def load_allows(scenario: Scenario, operation: int, asked: tuple[int, int], spread: float) -> tuple[int, str]:
    """Return by how many requests of an operation two runs may differ because of their users, and why.

    `asked` is the number of requests in each run, and `spread` the number of standard deviations that count as chance.
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
    """Return how many users come so late that they may not come at all in one of the worlds; each registers once."""
    before_ns = scenario.duration_ns - round(CROSS_LOCUST_SHIFT_SECONDS * SECOND_NS)
    return max(0, level_at(load.stages, scenario.duration_ns) - level_at(load.stages, max(0, before_ns)))


def _changes(load: LoadOptions) -> int:
    """Return how often a user comes or goes; at the end of the run all go at once in both worlds."""
    return sum(abs(after - before) for before, after in pairwise((0, *(stage.target for stage in load.stages))))


def _user_seconds(scenario: Scenario, load: LoadOptions) -> int:
    return sum(level_at(load.stages, at_ns) for at_ns in range(0, scenario.duration_ns, SECOND_NS))
