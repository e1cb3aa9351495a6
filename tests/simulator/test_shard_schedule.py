"""When machines act: planned starts, machines that leave and come back, and starts that are held up."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import trio

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.contract.answers import Answer
from simulator.history.records import Wait
from simulator.history.rows import NEVER_NS
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from tests.simulator.conftest import (
    ACCEPT,
    HANG_UP,
    REFUSED,
    SILENT,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    sockets_closed_after,
)
from tests.support.waiting import until


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
            await until(lambda: len(shard.shard.playing.due) == 0)
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
        await until(lambda: not shard.shard.playing.due)
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
        await until(lambda: not shard.shard.playing.due)
        assert shard.progress.sent == len(scripted.arrivals) == 2


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
        await until(lambda: shard.shard.playing.ended)
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
        link = shard.shard.playing.next_heartbeat(machine, planned_ns, shard.now(), shard.wall())
        assert link is not None
        shard.shard._send(link)
        shard.shift_ns += SECOND_NS
        await shard.history.until(1)
    assert shard.history.waits == [Wait(0, planned_ns, 10 * SECOND_NS, 0, planned_ns + SECOND_NS)]
