"""When the shard acts: planned starts, machines that leave and come back, campaigns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio

from simulator.attacks import shot_attack
from simulator.history import HONEST, NEVER_NS, Answer
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.records import Wait
from simulator.scenario.values import AttackOptions, Duration
from simulator.worlds.plan import Campaign
from simulator.worlds.target import attacker_source
from tests.simulator.conftest import (
    ACCEPT,
    ACCEPTED,
    HANG_UP,
    MILLISECOND_NS,
    PATIENCE_SECONDS,
    REFUSED,
    SECOND_NS,
    SILENT,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    sockets_closed_after,
    until,
)

if TYPE_CHECKING:
    from simulator.fleet.machine import Machine


async def test_starts_that_were_missed_are_counted_and_not_made_up_for(scripted: ScriptedServer) -> None:
    """After standing still for ten intervals it sends one heartbeat, planned at the last of them, and counts nine."""
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=10 * SECOND_NS)
        first_ns = machine.due_ns
        shard.shard.resume(machine)
        shard.shift_ns += 95 * SECOND_NS
        await shard.history.until(1)
    assert shard.row(0)["planned_ns"] == first_ns + 90 * SECOND_NS
    assert shard.progress.dropped_starts == 9
    assert machine.due_ns == first_ns + 100 * SECOND_NS
    assert len(scripted.arrivals) == 1


async def test_a_late_start_within_the_interval_is_measured_from_its_plan(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=10 * SECOND_NS)
        planned_ns = machine.due_ns
        shard.shift_ns += 4 * SECOND_NS
        shard.shard.resume(machine)
        await shard.history.until(1)
    row = shard.row(0)
    assert row["planned_ns"] == planned_ns
    assert row["sent_ns"] - planned_ns == 4 * SECOND_NS
    assert shard.progress.take_latencies_ns() == [row["answered_ns"] - planned_ns]
    assert shard.progress.dropped_starts == 0


async def test_jitter_spreads_the_intervals_around_their_mean(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target, jitter=0.4)
    machines = [shard.machine(index, interval_ns=100 * SECOND_NS) for index in range(150)]
    async with shard.running(patience_seconds=5):
        for machine in machines:
            shard.shard.resume(machine)
        await shard.history.until(len(machines))
    planned = {row["machine"]: row["planned_ns"] for row in map(shard.row, range(len(machines)))}
    intervals = np.array([machine.due_ns - planned[machine.index] for machine in machines]) / (100 * SECOND_NS)
    assert intervals.min() >= 0.6
    assert intervals.max() <= 1.4
    assert intervals.mean() == pytest.approx(1, abs=0.08)
    assert intervals.std() == pytest.approx(0.8 / 12**0.5, rel=0.2)


async def test_silence_is_kept_on_the_wire(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    silence = (shard.now() + 10 * SECOND_NS, shard.now() + 100 * SECOND_NS)
    machine = shard.machine(interval_ns=400 * MILLISECOND_NS, silence=(silence,))
    async with shard.running(patience_seconds=5):
        shard.shard.resume(machine)
        await shard.history.until(1)
        shard.shift_ns += 10 * SECOND_NS
        await until(lambda: machine.due_ns == silence[1])
        before = len(shard.history)
        assert len(scripted.arrivals) == before
        shard.shift_ns += 90 * SECOND_NS
        await shard.history.until(before + 1)
    assert shard.row(before)["sent_ns"] >= silence[1]
    assert not [row for row in map(shard.row, range(before)) if row["sent_ns"] >= silence[0]]


async def test_a_machine_that_leaves_while_it_waits_leaves_a_lost_request_where_no_answer_comes(
    scripted: ScriptedServer,
) -> None:
    """The server may have counted it, so the history must not forget it."""
    scripted.script = [ACCEPT, SILENT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running():
        machine = shard.machine()
        shard.shard.resume(machine)
        await until(lambda: len(scripted.arrivals) == 2)
        shard.shard.stop_machine(machine)
        shard.shift_ns += int((ANSWER_TIMEOUT_SECONDS + 1) * SECOND_NS)
        await shard.history.until(2)
        assert (shard.row(1)["got"], shard.row(1)["answered_ns"]) == (Answer.LOST, NEVER_NS)
        assert (shard.progress.in_flight, shard.progress.connected) == (0, 0)
        await until(lambda: scripted.open == 0)
    assert len(scripted.arrivals) == 2


@pytest.mark.parametrize("back", [False, True], ids=["and stays away", "and is back before it comes"])
async def test_the_answer_that_is_owed_to_a_machine_that_leaves_still_counts(
    scripted: ScriptedServer, *, back: bool
) -> None:
    """Its connection is closed then; or goes on, where the machine is back by then, and nothing was asked twice."""
    scripted.may_answer = trio.Event()
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running():
        machine = shard.machine(interval_ns=SECOND_NS)
        shard.shard.resume(machine)
        await until(lambda: len(scripted.arrivals) == 1)
        shard.shard.stop_machine(machine)
        if back:
            machine.stopped = False
            machine.due_ns = shard.now()
            shard.shard.resume(machine)
            await until(lambda: len(shard.shard._due) == 0)
        assert len(scripted.arrivals) == 1
        scripted.may_answer.set()
        await shard.history.until(1)
        assert (shard.row(0)["got"], shard.progress.lost) == (Answer.ACCEPTED, 0)
        if back:
            shard.shift_ns += 2 * SECOND_NS
            await shard.history.until(2)
        else:
            await until(lambda: scripted.open == 0)
    assert (len(scripted.arrivals), scripted.connections) == (1 + back, 1)


async def test_a_machine_that_leaves_at_rest_leaves_nothing_behind(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running():
        machine = shard.machine(interval_ns=SECOND_NS)
        shard.shard.resume(machine)
        await shard.history.until(1)
        shard.shard.stop_machine(machine)
        shard.shift_ns += 5 * SECOND_NS
        await until(lambda: not shard.shard._due)
    assert len(shard.history) == len(scripted.arrivals) == 1
    assert shard.progress.lost == 0


async def test_a_machine_that_comes_back_within_its_interval_still_beats_once_an_interval(
    scripted: ScriptedServer,
) -> None:
    """It leaves and comes back before its next turn, which must not leave it with two places in the schedule."""
    shard = ShardUnderTest(scripted.target)
    interval_ns = 300 * MILLISECOND_NS
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=interval_ns)
        shard.shard.resume(machine)
        for rounds in range(1, 4):
            await shard.history.until(rounds)
            shard.shard.stop_machine(machine)
            machine.stopped = False
            machine.due_ns = shard.now()
            shard.shard.resume(machine)
        await shard.history.until(7)
    planned = sorted(row["planned_ns"] for row in map(shard.row, range(len(shard.history))))
    assert all(later - earlier >= interval_ns for earlier, later in pairwise(planned[3:]))
    assert shard.progress.lost == 0
    assert scripted.connections == 4


async def test_a_machine_never_has_two_requests_under_way(scripted: ScriptedServer) -> None:
    """Not even when its old place in the schedule comes up while it waits for an answer."""
    scripted.script = [ACCEPT, SILENT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running():
        machine = shard.machine(interval_ns=2 * SECOND_NS)
        shard.shard.resume(machine)
        await shard.history.until(1)
        shard.shard.stop_machine(machine)
        machine.stopped = False
        machine.due_ns = shard.now()
        shard.shard.resume(machine)
        await until(lambda: len(scripted.arrivals) == 2)
        shard.shift_ns += 3 * SECOND_NS
        await until(lambda: not shard.shard._due)
        assert shard.progress.sent == len(scripted.arrivals) == 2


# --- campaigns


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
        await until(lambda: not shard.shard._due)
    rows = [shard.row(at) for at in range(len(shard.history))]
    planned = sorted(row["planned_ns"] - start_ns for row in rows)
    assert 0 <= planned[0] <= launched_ns - start_ns
    assert planned[1:] == [number * SECOND_NS // 40 for number in range(1, 20)]
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
    async with shard.running():
        shard.shard.launch(campaign("signature.forged", [victim], 50, SECOND_NS // 5, shard.now()))
        await until(lambda: not shard.shard._due)
    assert not scripted.arrivals
    assert len(shard.history) == 0


@pytest.mark.parametrize("missed", [0, 1, 8])
async def test_starts_that_come_due_while_the_target_owes_an_answer_are_its_own_and_not_the_harnesss(
    scripted: ScriptedServer, missed: int
) -> None:
    """The next start is then the one after those that were missed, at its own time."""
    scripted.may_answer = trio.Event()
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=SECOND_NS)
        first_ns = machine.due_ns
        shard.shard.resume(machine)
        await until(lambda: scripted.arrivals)
        shard.shift_ns += (missed + 1) * SECOND_NS
        machine_due_ns = first_ns + (missed + 1) * SECOND_NS
        scripted.may_answer.set()
        await shard.history.until(1)
        assert shard.progress.held_up == missed
        answered_ns = first_ns + (missed + 1) * SECOND_NS
        wait = Wait(0, first_ns + SECOND_NS, SECOND_NS, missed, answered_ns)
        assert shard.history.waits == [wait] * bool(missed)
        await until(lambda: len(scripted.arrivals) == 2)
        await shard.history.until(2)
    assert shard.row(1)["planned_ns"] == machine_due_ns
    assert shard.progress.held_up == missed
    assert shard.progress.dropped_starts == 0


@pytest.mark.parametrize(("reaction", "answered"), [(Reaction((REFUSED,)), True), (HANG_UP, False)])
async def test_starts_that_waited_for_a_refusal_or_for_nothing_are_held_up_as_well(
    scripted: ScriptedServer, reaction: Reaction, *, answered: bool
) -> None:
    """The machine backs off after it, so that not even the last of them leaves."""
    scripted.script, scripted.may_answer = [reaction], trio.Event()
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running():
        machine = shard.machine(interval_ns=SECOND_NS)
        first_ns = machine.due_ns
        shard.shard.resume(machine)
        await until(lambda: scripted.arrivals)
        shard.shift_ns += 3 * SECOND_NS
        scripted.may_answer.set()
        await shard.history.until(1)
        ended_ns = first_ns + 3 * SECOND_NS if answered else NEVER_NS
        assert shard.history.waits == [Wait(0, first_ns + SECOND_NS, SECOND_NS, 3, ended_ns)]
        assert shard.progress.held_up == 3


async def test_starts_past_the_end_of_the_run_wait_for_nothing(scripted: ScriptedServer) -> None:
    scripted.may_answer = trio.Event()
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    machine = shard.machine(interval_ns=SECOND_NS)
    first_ns = machine.due_ns
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shard.shard.run)
        shard.shard.resume(machine)
        await until(lambda: scripted.arrivals)
        shard.shift_ns += 5 * SECOND_NS // 2
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shard.shard.finish, 5)
        await until(lambda: shard.shard._waits.ends_ns < NEVER_NS)
        shard.shift_ns += 3 * SECOND_NS
        scripted.may_answer.set()
    answered_ns = first_ns + 11 * SECOND_NS // 2
    assert shard.history.waits == [Wait(0, first_ns + SECOND_NS, SECOND_NS, 2, answered_ns)]


@pytest.mark.parametrize("got", [True, False])
async def test_starts_that_came_due_during_a_call_of_the_control_plane_are_held_up(
    scripted: ScriptedServer, *, got: bool
) -> None:
    """What is late after the call has ended is the harness's own."""
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=SECOND_NS)
        asked_ns = machine.due_ns
        shard.shift_ns += 4 * SECOND_NS
        if not got:
            machine.due_ns = shard.now() + SECOND_NS
        shard.shard.resume(machine, asked_ns)
        shard.shift_ns += 2 * SECOND_NS
        await shard.history.until(1)
    free_ns = asked_ns + 4 * SECOND_NS
    first_ns = asked_ns if got else asked_ns + SECOND_NS
    assert shard.history.waits == [Wait(0, first_ns, SECOND_NS, 4, free_ns)]
    assert shard.progress.held_up == 4
    assert shard.progress.dropped_starts == (2 if got else 1)


async def test_a_connection_that_is_slow_to_come_up_is_noted(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    shard.stop_clock()
    async with shard.running(patience_seconds=5):
        machine = shard.machine(interval_ns=10 * SECOND_NS)
        planned_ns = machine.due_ns
        machine_turn, shard.shard._turn = shard.shard._turn, lambda *_: None  # type: ignore[method-assign]
        shard.shard.resume(machine)
        machine_turn(machine, planned_ns, shard.now())
        shard.shift_ns += SECOND_NS
        await shard.history.until(1)
    assert shard.history.waits == [Wait(0, planned_ns, 10 * SECOND_NS, 0, planned_ns + SECOND_NS)]


async def test_a_shot_that_finds_its_attacker_waiting_is_held_up(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    shard = ShardUnderTest(scripted.target)
    async with shard.running():
        shard.shard.launch(campaign("signature.forged", [shard.machine()], 4, 2 * SECOND_NS, shard.now()))
        await until(lambda: scripted.arrivals)
        shard.shift_ns += 2 * SECOND_NS
        await until(lambda: not shard.shard._due)
    assert len(scripted.arrivals) == len(shard.history) == 1
    assert shard.progress.held_up == 7
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
