"""Single hostile heartbeats, against an API in process that is right."""

from __future__ import annotations

import pytest

from tests.attacks.playing import World


@pytest.mark.parametrize(
    "name", ["replay.exact", "skew.behind", "skew.ahead", "credential.wrong-token", "signature.forged"]
)
def test_every_shot_is_refused_as_the_catalogue_says(name: str) -> None:
    world = World()
    world.with_victims(3)
    performance = world.shoot(name, 20)
    assert len(performance.outcomes) == 20
    assert all(outcome.right for outcome in performance.outcomes)
