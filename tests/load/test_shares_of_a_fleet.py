"""Shards that share a fleet attack only machines that they have themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.client.target import parse_target
from simulator.fleet.clocks import PERFECT
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.worlds.live.world import LIVE
from simulator.worlds.players.fleet_player import WHOLE_FLEET, FleetPlayer, ShardRange
from simulator.worlds.progress import Progress
from tests.support.tiers import examples

SCENARIO = parse_scenario("""\
version = 1
name = "shared"
duration = "60s"
[fleet]
machines = 40
owners = 4
[[fleet.clocks]]
share = 0.2
offset = "-5m"
[[attacks]]
name = "signature.forged"
start = "1s"
duration = "10s"
rate = 1
[[attacks]]
name = "replay.exact"
start = "1s"
duration = "10s"
rate = 1
share = 0.5
[[attacks]]
name = "replay.concurrent"
start = "1s"
duration = "10s"
rate = 1
""")


def player(seed: int, share: ShardRange) -> FleetPlayer:
    target = parse_target("http://127.0.0.1:9", "token-of-nobody")
    return FleetPlayer(LIVE, SCENARIO, seed, target, History(), Progress(), "owner", share=share)


@settings(deadline=None, max_examples=examples(30))
@given(seed=st.integers(0, 1 << 32), workers=st.integers(2, 10), shard=st.integers(1, 10))
def test_victims_are_machines_that_the_shard_will_have(seed: int, workers: int, shard: int) -> None:
    """A shard has the first of the fleet's machines, as many as its share: the others never come up."""
    each, first = 40 // workers, shard * 1000
    fleet = player(seed, ShardRange(shard, first, each))
    assert len(fleet.fleet) == 40  # should the others be lost, it has theirs as well
    for campaign in fleet.campaigns:
        assert campaign.victims
        assert {victim.index for victim in campaign.victims} <= set(range(first, first + each))
    own = fleet.fleet[:each]
    right = [machine for machine in own if machine.clock is PERFECT] or own
    assert len(fleet.campaigns[1].victims) == max(1, round(0.5 * len(right)))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_fleet_of_one_process_is_attacked_anywhere(seed: int) -> None:
    victims = {victim.index for campaign in player(seed, WHOLE_FLEET).campaigns for victim in campaign.victims}
    assert max(victims) >= 20
    assert victims <= set(range(40))
