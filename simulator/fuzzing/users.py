"""Owners and agents at work in a drawn scenario: of one kind, who come, and some of whom go."""

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
"""Whose generator is its own, so that the rest of a seed's scenario is what it was before there was this part; the
others are mishaps'."""
USERS_SHARE = 0.3
"""Of scenarios, how many have users, but for those in which the network doubles requests."""
USERS_MAX = 3


def draw_users(document: Document, seconds: int, seed: int, weigh: Callable[[str], float]) -> tuple[str, ...]:
    """Have users come into some scenarios; return what was drawn."""
    draws = Draws(np.random.default_rng((seed, PART)), weigh)
    # Which requests are copies is told of the fleet's alone, so no scenario may have both.
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
