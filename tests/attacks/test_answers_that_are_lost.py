"""A right server whose answers are lost in the middle of an attack is accused of nothing but of their absence.

That alone may be excused, where a fault of the run's own explains it (`simulator.checkers.excused`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.script import ScriptAttack
from simulator.checkers.excused import OF_MISSING_ANSWERS
from tests.attacks.playing import LOST, Performance, World, served
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request

NEEDS_SOCKETS = ("http.", "strain.", "json.huge", "limit.", "oauth.", "moltbook.")
"""Attacks by raw bytes, by a limit that this world does not have, or by providers that it does not have either."""
NEEDS_SANDBOX = (
    "replay.after-restart",
    "replay.other-instance",
    "replay.after-redis-flush",
    "replay.redis-down",
    "replay.redis-fallback",
    "replay.after-redis-heals",
    "replay.clock-step-back",
)
ATTACKS = [
    name
    for name, attack in CATALOGUE.items()
    if issubclass(attack, ScriptAttack) and name not in NEEDS_SANDBOX and not name.startswith(NEEDS_SOCKETS)
]
PLACES = 100 if SOAK else 5
"""At how many requests of an attack answers begin to be lost."""
LONG_REQUESTS, LONG_PLACES = 300, 1
"""An attack of so many requests, all alike, has its answers lost from fewer of them on."""
FOREVER = 1 << 30


class Losing:
    """Loses the answers to some of the requests that come once it is `on`; what was asked takes effect, or does not."""

    def __init__(self, first: int, last: int, *, effect: bool) -> None:
        self.on = False
        self.seen = 0
        self._lost = range(first, last)
        self._effect = effect

    def __call__(self, api: Api, request: Request, now: Instant) -> Reply | None:
        """Answer as the API itself does, or not at all."""
        if not self.on:
            return None
        self.seen += 1
        if self.seen - 1 not in self._lost:
            return None
        if self._effect:
            served(api, request, now)
        return LOST


def play(name: str, losing: Losing) -> Performance:
    """Play an attack against a right server."""
    world = World(answer=losing)
    world.with_victims(2)
    losing.on = True
    return world.play(name)


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_claimed_of_a_right_server_is_that_answers_are_missing(name: str) -> None:
    whole = Losing(0, 0, effect=False)
    without = {one.rule for one in play(name, whole).broken}  # of this world, in which its victims have company
    places = LONG_PLACES if whole.seen > LONG_REQUESTS and not SOAK else PLACES
    for first in sorted({(at + 1) * whole.seen // (places + 1) for at in range(places)}):
        for last in (first + 1, FOREVER):
            for effect in (False, True):
                broken = {one.rule: one.message for one in play(name, Losing(first, last, effect=effect)).broken}
                accused = {rule: why for rule, why in broken.items() if rule not in {*OF_MISSING_ANSWERS, *without}}
                assert not accused, f"{accused} when answers from {first} to {last} were lost"
