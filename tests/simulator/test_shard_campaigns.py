"""When the shard attacks: campaigns at their rate, from addresses of their own, at victims that are ready."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from reference_server.wire.units import SECOND_NS
from simulator.attacks import shot_attack
from simulator.client.target import attacker_source
from simulator.contract.answers import Answer
from simulator.history.rows import HONEST
from simulator.scenario.kinds import Duration
from simulator.scenario.values import AttackOptions
from simulator.worlds.plan import Campaign
from tests.simulator.conftest import (
    ACCEPT,
    ACCEPTED,
    REFUSED,
    SILENT,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    sockets_closed_after,
)
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from simulator.fleet.machine import Machine


def campaign(
    name: str,
    victims: list[Machine],
    rate: float,
    duration_ns: int,
    start_ns: int = 0,
    attackers: int = 1,
) -> Campaign:
    options = AttackOptions(
        name=name, start_ns=Duration(start_ns), duration_ns=Duration(duration_ns), rate=rate, share=1.0
    )
    return Campaign(3, options, shot_attack(name), victims, attackers)


async def test_a_campaign_fires_at_its_rate_from_addresses_of_its_own(scripted: ScriptedServer) -> None:
    """Planned starts are its start plus one interval each; every shot is a row of its campaign with its victim."""
    scripted.script = [Reaction((REFUSED,))]
    shard = ShardUnderTest(scripted.target)
    victims = [shard.machine(index) for index in (4, 5)]
    start_ns = shard.now()
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        shard.shard.launch(campaign("skew.behind", victims, 40, SECOND_NS // 2, start_ns, attackers=20))
        launched_ns = shard.now()
        await shard.history.until(20)
        await until(lambda: not shard.shard.playing.due)
    rows = [shard.row(at) for at in range(len(shard.history))]
    planned = Counter(row["planned_ns"] - start_ns for row in rows)
    by_rate = Counter(number * SECOND_NS // 40 for number in range(1, 20))
    assert by_rate <= planned
    (first_ns,) = (planned - by_rate).elements()  # on a busy machine it may be launched after the next are due
    assert 0 <= first_ns <= launched_ns - start_ns
    for row in rows:
        assert (row["campaign"], row["expected"]) == (3, Answer.TIMESTAMP_OUT_OF_WINDOW)
        assert (row["got"], row["status"]) == (Answer.TIMESTAMP_OUT_OF_WINDOW, 401)
        assert row["planned_ns"] <= row["sent_ns"] <= row["answered_ns"]
    assert {row["machine"] for row in rows} == {4, 5}
    assert (shard.progress.attacks_refused, shard.progress.attacks_accepted) == (20, 0)
    assert (shard.progress.refused, shard.progress.accepted) == (0, 0)
    assert {arrival.client for arrival in scripted.arrivals} == {
        attacker_source(scripted.target, 3000 + index) for index in range(20)
    }
    assert scripted.connections == 20


@pytest.mark.parametrize(
    ("reaction", "got", "counter"),
    [
        (ACCEPT, Answer.ACCEPTED, "attacks_accepted"),
        (Reaction((REFUSED,)), Answer.INVALID_SIGNATURE, "attacks_refused"),
        (Reaction((b"HTTP/1.1 429 \r\ncontent-length: 0\r\n\r\n",)), Answer.RATE_LIMITED, "attacks_other"),
        (Reaction((b"HTTP/1.1 503 \r\ncontent-length: 0\r\n\r\n",)), Answer.FAILED, "attacks_other"),
        (Reaction((ACCEPTED[:30],), "close"), Answer.LOST, "lost"),
    ],
)
async def test_an_attacks_answer_is_counted_apart_from_honest_ones(
    scripted: ScriptedServer,
    reaction: Reaction,
    got: Answer,
    counter: str,
) -> None:
    scripted.script = [reaction]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        shard.shard.launch(campaign("signature.forged", [shard.machine()], 20, SECOND_NS // 4))
        await shard.history.until(1)
    rows = [shard.row(at) for at in range(len(shard.history))]
    assert {(row["got"], row["expected"], row["campaign"]) for row in rows} == {(got, Answer.INVALID_SIGNATURE, 3)}
    assert getattr(shard.progress, counter) == len(rows)
    assert shard.progress.accepted == shard.progress.refused == 0


async def test_nothing_is_fired_at_victims_that_are_not_ready(scripted: ScriptedServer) -> None:
    """Where no right answer is certain a shot would prove nothing; the campaign goes on and waits."""
    shard = ShardUnderTest(scripted.target)
    victim = shard.machine()
    victim.policy_id = ""
    attack = campaign("signature.forged", [victim], 50, SECOND_NS // 5, shard.now())
    async with shard.running():
        shard.shard.launch(attack)
        await until(lambda: not shard.shard.playing.due)
    assert (attack.record().planned, attack.record().attempts, attack.record().unready) == (10, 10, 10)
    assert not scripted.arrivals
    assert len(shard.history) == 0


async def test_a_shot_that_finds_its_attacker_waiting_is_held_up(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    shard = ShardUnderTest(scripted.target)
    attack = campaign("signature.forged", [shard.machine()], 4, 2 * SECOND_NS, shard.now())
    async with shard.running():
        shard.shard.launch(attack)
        await until(lambda: scripted.arrivals)
        shard.shift_ns += 2 * SECOND_NS
        await until(lambda: not shard.shard.playing.due)
    assert len(scripted.arrivals) == len(shard.history) == 1
    assert shard.progress.held_up == 7
    assert (attack.record().planned, attack.record().held_up, attack.record().completed) == (8, 7, 1)
    assert shard.progress.dropped_starts == 0


async def test_a_replay_is_what_the_victim_sent_and_was_accepted_for(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    victim = shard.machine(interval_ns=60 * SECOND_NS)
    async with shard.running(patience_seconds=5):
        shard.shard.resume(victim)
        await shard.history.until(1)
        scripted.script = [Reaction((REFUSED,))]
        shard.shard.launch(campaign("replay.exact", [victim], 20, SECOND_NS // 4, shard.now()))
        await shard.history.until(2)
    honest, replayed = shard.row(0), shard.row(1)
    assert scripted.arrivals[0].body == scripted.arrivals[1].body
    assert scripted.arrivals[0].head == scripted.arrivals[1].head
    assert (honest["campaign"], replayed["campaign"]) == (HONEST, 3)
    assert honest["nonce"] == replayed["nonce"]
    assert (replayed["expected"], replayed["got"]) == (Answer.NONCE_REPLAYED, Answer.NONCE_REPLAYED)


async def test_a_launch_prepares_its_victims(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    victims = [shard.machine(index) for index in range(3)]
    shard.shard.launch(campaign("certificate.rotated-out", victims, 1, SECOND_NS))
    assert all(victim.rotate_due for victim in victims)
    await shard.shard.finish(PATIENCE_SECONDS)
