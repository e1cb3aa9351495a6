"""Drawing the `[[load]]` of a scenario: users of one kind, owners or agents, that come and partly leave again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simulator.fleet.load_users import LOAD_USERS, MARKET_USERS
from simulator.fuzzing.draws import Draws
from simulator.scenario.network_problems import DUPLICATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.fuzzing.documents import Document

PART = 4
"""The number that, with the seed, seeds this part's own random generator: adding the part did not change the rest of
any seed's scenario. The lower numbers are those of mishaps."""
USERS_SHARE = 0.3
"""Share of scenarios that have users, among those whose network does not duplicate requests."""
USERS_MAX = 3


def draw_users(document: Document, seconds: int, seed: int, weigh: Callable[[str], float]) -> tuple[str, ...]:
    """Add users to some scenarios, in place; return the kind of user drawn, or an empty tuple."""
    draws = Draws(np.random.default_rng((seed, PART)), weigh)
    # Only among the fleet's requests can the harness tell copies apart, so no scenario may have users and duplication.
    if draws.chance() >= USERS_SHARE or any(one["kind"] == DUPLICATION for one in document.get("faults", ())):
        return ()
    agents_too = "market" in document
    (user,) = draws.some([one for one in LOAD_USERS if agents_too or one not in MARKET_USERS], 1)
    most = 1 + draws.up_to(USERS_MAX - 1)
    stages = [
        {"duration": "1s", "target": most}, {"duration": f"{seconds // 2}s", "target": draws.up_to(most)},
    ]  # fmt: skip
    document["load"] = [{"user": user, "rate": draws.one((1, 3)), "stages": stages}]
    return (user,)
