"""What the shard makes of answers that never come whole: each is lost once, with its cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference_server.core.heartbeats import decode_heartbeat
from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.history.losses import Loss, losses_of
from simulator.history.rows import NEVER_NS
from tests.simulator.conftest import (
    ACCEPT,
    ACCEPTED,
    HANG_UP,
    SILENT,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    sockets_closed_after,
)
from tests.simulator.test_shard_answers import BACK_OFF, TOO_LATE_NS, started
from tests.support.waiting import until

LOSSES = {
    "garbage": (Reaction((b"SSH-2.0-OpenSSH_9.9\r\n",)), Loss.GARBAGE),
    "closed before an answer": (HANG_UP, Loss.CUT),
    "closed within the head": (Reaction((ACCEPTED[:20],), "close"), Loss.CUT),
    "closed within the body": (Reaction((ACCEPTED[:-1],), "close"), Loss.CUT),
}


def loss_of(row: Any) -> Loss:
    """Return why a row's answer was lost."""
    (loss,), _ = losses_of(np.array([row["status"]]))
    return Loss(loss)


@pytest.mark.parametrize(("reaction", "loss"), LOSSES.values(), ids=LOSSES)
async def test_a_lost_answer_is_recorded_once_and_the_machine_reconnects(
    scripted: ScriptedServer,
    reaction: Reaction,
    loss: Loss,
) -> None:
    """The request is in the history, as lost: it may have taken effect at any time, or never."""
    scripted.script = [ACCEPT, reaction, ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after():
        async with shard.running(patience_seconds=5):
            machine = started(shard)
            await shard.history.until(2)
            lost, due_ns = shard.row(1), machine.due_ns
            assert (lost["got"], lost["expected"], loss_of(lost)) == (Answer.LOST, Answer.ACCEPTED, loss)
            assert lost["planned_ns"] <= lost["sent_ns"] < lost["answered_ns"] == NEVER_NS
            assert shard.progress.connected == 0
            assert (shard.progress.lost, shard.progress.in_flight) == (1, 0)
            assert BACK_OFF[0] <= due_ns - lost["sent_ns"]
            shard.shift_ns += 2 * SECOND_NS
            await shard.history.until(3)
        assert shard.row(2)["got"] == Answer.ACCEPTED
        assert scripted.connections == 2
    assert len(shard.history) == len(scripted.arrivals)
    assert {shard.row(at)["nonce"].hex() for at in range(len(shard.history))} == {
        str(heartbeat.nonce) for arrival in scripted.arrivals if (heartbeat := decode_heartbeat(arrival.body))
    }


async def test_a_server_that_never_answers_costs_one_lost_request_after_the_deadline(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT, ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        started(shard)
        await until(lambda: scripted.arrivals)
        shard.shift_ns += TOO_LATE_NS - 2 * SECOND_NS
        await until(lambda: shard.shard.playing.next_sweep_ns > TOO_LATE_NS - 2 * SECOND_NS)
        assert len(shard.history) == 0
        shard.shift_ns += 2 * SECOND_NS
        await shard.history.until(1)
        assert (shard.row(0)["got"], loss_of(shard.row(0))) == (Answer.LOST, Loss.TIMED_OUT)
        shard.shift_ns += 2 * SECOND_NS
        await shard.history.until(2)
    assert shard.row(1)["got"] == Answer.ACCEPTED


async def test_a_close_that_crosses_a_request_is_told_from_one_that_no_rest_explains(scripted: ScriptedServer) -> None:
    """RFC 9112 §9.6: a server may close what rests as the next request leaves, but not where longer rests were well."""
    scripted.script = [ACCEPT, HANG_UP, ACCEPT, ACCEPT, HANG_UP]
    shard = ShardUnderTest(scripted.target)
    rests = (60, 60, 90, 60)
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        machine = started(shard, shard.machine(interval_ns=60 * SECOND_NS))
        for number, seconds in enumerate(rests, 1):
            await shard.history.until(number)
            machine.due_ns = shard.now() + seconds * SECOND_NS
            shard.shard.resume(machine)
            shard.shift_ns += seconds * SECOND_NS
        await shard.history.until(len(rests) + 1)
    lost = [shard.row(at) for at in range(len(rests) + 1) if shard.row(at)["got"] == Answer.LOST]
    assert [loss_of(row) for row in lost] == [Loss.CLOSING, Loss.CUT]


async def test_what_the_end_of_a_run_cuts_off_is_its_own_doing(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=0):
        started(shard)
        await until(lambda: scripted.arrivals)
    assert loss_of(shard.row(0)) is Loss.ENDED
