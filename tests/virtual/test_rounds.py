"""What is played in rounds comes to the same as an event for each step: the same history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.http.patience import Patience
from simulator.contract.answers import Answer
from simulator.fleet.load_users import LOAD_USERS
from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.history.tables import history_digest
from simulator.worlds.playing import Playing
from simulator.worlds.virtual.rounds import FleetRounds
from simulator.worlds.virtual.shard import PATIENCE_NS
from tests.support.tiers import SOAK
from tests.virtual.small_run import play
from tests.virtual.tiny_runs import play_tiny

if TYPE_CHECKING:
    from simulator.worlds.playing import Turn

FLEET = """
version = 1
name = "small"
duration = "8s"
metrics_interval = "2s"
[fleet]
machines = 40
owners = 3
heartbeat_interval = "300ms"
certificate_rotation = "2s"
jitter = 0.4
stages = [{ duration = "1s", target = 40 }, { duration = "5s", target = 40 }, { duration = "1s", target = 20 }]
clocks = [{ share = 0.1, offset = "2s" }, { share = 0.1, offset = "100s" }]
silence = [{ share = 0.2, at = "3s", duration = "1s" }]
[[attacks]]
name = "replay.exact"
start = "4s"
duration = "2s"
rate = 4
share = 0.5
"""
"""Much of a fleet at once, with all that ends a round: rotations, silences, refusals, attacks, and machines that go."""
USERS = "".join(
    f'[[load]]\nuser = "{user}"\nrate = 3\nstages = [{{ duration = "1s", target = 3 }}]\n' for user in LOAD_USERS
)
LATE_ONES = f"""
version = 1
name = "late"
duration = "40s"
metrics_interval = "2s"
[fleet]
machines = 12
owners = 3
heartbeat_interval = "2s"
jitter = 0.4
stages = [{{ duration = "1s", target = 12 }}]
[[attacks]]
name = "http.slowloris"
start = "2s"
duration = "{4 if SOAK else 2}s"
rate = 1
[[faults]]
kind = "server.pause"
at = "14s"
duration = "14s"
[server.settings]
"""
SERVERS = {
    "in memory": "",
    "durable": "[server]\ndurable = true\n",
    "limited": "[server.settings]\nRATE_LIMIT_BURST = 6\nRATE_LIMIT_REFILL_PER_SECOND = 3\n",
    "paused": '[[faults]]\nkind = "server.pause"\nat = "2s"\nduration = "700ms"\n',
    "killed": '[[faults]]\nkind = "server.kill"\nat = "2s"\n',
    "on a market": "[market]\nagents = 2\n",
}
IN_ROUNDS = {"in memory", "limited", "paused", "killed", "on a market"}
"""Whose heartbeats nobody outside has a say in."""
LATE = '[[faults]]\nkind = "network.latency"\nat = "2s"\nduration = "2s"\nlatency = "30ms"\n'
DRAWN = range(1, 61) if SOAK else range(1, 4)


class Counted:
    """How many turns were taken in rounds, while there are any."""

    def __init__(self) -> None:
        self.turns = 0
        self.on = True


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted, send = Counted(), FleetRounds.send

    def sends(self: FleetRounds, turn: Turn, planned_ns: int) -> int:
        until_ns = send(self, turn, planned_ns) if counted.on else 0
        counted.turns += until_ns > 0
        return until_ns

    monkeypatch.setattr(FleetRounds, "send", sends)
    return counted


@pytest.mark.parametrize("server", SERVERS)
def test_a_fleet_plays_the_same_in_rounds_and_without(counted: Counted, server: str) -> None:
    text = FLEET + SERVERS[server]
    history = play_tiny(1, text)
    turns = counted.turns
    counted.on = False
    assert history_digest(play_tiny(1, text)) == history_digest(history)
    assert counted.turns == turns
    assert (turns > len(history.rows()) / 3) == (server in IN_ROUNDS)


def test_nothing_is_played_in_rounds_through_a_network_that_may_be_at_fault(counted: Counted) -> None:
    assert len(play(1, FLEET + LATE).history.rows())
    assert not counted.turns


def test_a_fleet_among_users_plays_the_same_in_rounds_and_without(counted: Counted) -> None:
    text = FLEET + USERS
    history = play_tiny(1, text)
    turns = counted.turns
    counted.on = False
    assert history_digest(play_tiny(1, text)) == history_digest(history)
    assert turns


@pytest.mark.parametrize("seed", DRAWN)
def test_what_is_drawn_plays_the_same_in_rounds_and_without(counted: Counted, seed: int) -> None:
    text = as_toml({**Drawing(seed, lambda _ingredient: 1.0, brief=True).draw().document, "name": "small"})
    in_rounds = play(seed, text)
    counted.on = False
    without = play(seed, text)
    assert without.digest == in_rounds.digest
    assert without.code == in_rounds.code


@pytest.mark.parametrize("deadlines", ["0.3", "1.1", "3"])
def test_a_fleet_plays_the_same_however_often_it_is_looked_for_who_is_late(
    monkeypatch: pytest.MonkeyPatch, deadlines: str
) -> None:
    """Connections rest for too long, heads do not end, and a server that stands still answers nobody in time."""
    text = LATE_ONES + "".join(f"HTTP_{name}_TIMEOUT_SECONDS = {deadlines}\n" for name in ("IDLE", "HEADER", "BODY"))
    seldom = play_tiny(1, text)
    assert len(seldom.rows()[seldom.rows()["got"] == Answer.LOST])
    monkeypatch.setattr(Patience, "calm_until", lambda _self, _now_ns: 0)
    monkeypatch.setattr(Playing, "oldest_ns", lambda _self, _now_ns: -PATIENCE_NS)
    assert history_digest(play_tiny(1, text)) == history_digest(seldom)
