"""What the shard makes of each answer a server can give, held against a server that answers as told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.core.heartbeats import decode_heartbeat
from reference_server.wire.signing import matches, sign_text
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.client.target import machine_source, parse_target
from simulator.contract.answers import Answer, Operation
from simulator.fleet.clocks import ClockError
from simulator.fleet.machine import Action
from simulator.history.rows import HONEST
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from tests.simulator.conftest import (
    ACCEPT,
    ACCEPTED,
    HANG_UP,
    POLICY_ID,
    REFUSED,
    SILENT,
    WORKER_TOKEN,
    Reaction,
    ScriptedServer,
    ShardUnderTest,
    answer,
    sockets_closed_after,
)
from tests.support.open_sockets import open_sockets
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from simulator.fleet.machine import Machine

BACK_OFF = (3 * SECOND_NS // 4, 5 * SECOND_NS // 4)
"""How long a machine with a short interval waits after its first failure."""
TOO_LATE_NS = int(ANSWER_TIMEOUT_SECONDS * SECOND_NS) + SECOND_NS


def started(shard: ShardUnderTest, machine: Machine | None = None) -> Machine:
    """Put a machine into the schedule."""
    machine = machine or shard.machine()
    shard.shard.resume(machine)
    return machine


async def test_accepted_heartbeats_are_recorded_whole_and_follow_their_plan(scripted: ScriptedServer) -> None:
    """Each row says what was planned, sent and answered; the plan keeps to the interval whatever the answers take."""
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after():
        async with shard.running(patience_seconds=5):
            machine = started(shard)
            first_ns = machine.due_ns
            await shard.history.until(5)
        assert scripted.connections == 1
    rows = [shard.row(at) for at in range(len(shard.history))]
    assert len(rows) == len(scripted.arrivals) == shard.progress.sent
    for row, arrival in zip(rows, scripted.arrivals, strict=True):
        assert row["planned_ns"] <= row["sent_ns"] <= row["answered_ns"] <= shard.now()
        assert (row["planned_ns"] - first_ns) % machine.interval_ns == 0
        assert (row["machine"], row["campaign"], row["operation"]) == (0, HONEST, Operation.HEARTBEAT)
        assert (row["status"], row["expected"], row["got"]) == (200, Answer.ACCEPTED, Answer.ACCEPTED)
        heartbeat = decode_heartbeat(arrival.body)
        assert heartbeat is not None
        assert heartbeat.nonce == row["nonce"].hex()
        text = f"{machine.worker_id}|{heartbeat.timestamp}|{heartbeat.nonce}|{POLICY_ID}"
        assert matches(sign_text(WORKER_TOKEN.encode(), text), heartbeat.signature)
        assert f"host: {scripted.target.authority}\r\n".encode() in arrival.head.lower()
    assert len({row["nonce"] for row in rows}) == len(rows)
    assert shard.progress.accepted == len(rows)
    assert machine.last_accepted_ns == rows[-1]["answered_ns"]


@pytest.mark.parametrize(
    ("reply", "status", "got", "wait_ns"),
    [
        (REFUSED, 401, Answer.UNEXPECTED, BACK_OFF),
        (answer(403, b'{"error":"no active consent for worker/policy"}'), 403, Answer.UNEXPECTED, BACK_OFF),
        (answer(404), 404, Answer.UNEXPECTED, BACK_OFF),
        (answer(429), 429, Answer.RATE_LIMITED, BACK_OFF),
        (answer(429, b"{}", "retry-after: 7"), 429, Answer.RATE_LIMITED, (7 * SECOND_NS, 7 * SECOND_NS)),
        (answer(503, b"{}", "Retry-After: 30"), 503, Answer.FAILED, (30 * SECOND_NS, 30 * SECOND_NS)),
        (answer(503, b'{"error":"nonce backend unavailable"}'), 503, Answer.UNAVAILABLE, BACK_OFF),
        (answer(500), 500, Answer.FAILED, BACK_OFF),
        (answer(200, b'{"success":true,"data":{}}'), 200, Answer.UNEXPECTED, BACK_OFF),
    ],
)
async def test_a_refused_machine_backs_off_and_comes_back_on_the_same_connection(
    scripted: ScriptedServer,
    reply: bytes,
    status: int,
    got: Answer,
    wait_ns: tuple[int, int],
) -> None:
    scripted.script = [Reaction((reply,)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        machine = started(shard, shard.machine(interval_ns=SECOND_NS // 2))
        await shard.history.until(1)
        row, due_ns = shard.row(0), machine.due_ns
        assert (row["status"], row["got"], row["expected"]) == (status, got, Answer.ACCEPTED)
        assert wait_ns[0] <= due_ns - row["answered_ns"] <= wait_ns[1]
        assert (shard.progress.refused, shard.progress.accepted) == (1, 0)
        machine.rotate_due = False
        machine.policy_id = POLICY_ID
        shard.shift_ns += due_ns - shard.now()
        await shard.history.until(2)
    assert shard.row(1)["planned_ns"] == due_ns
    assert machine.failures == 0
    assert scripted.connections == 1


@pytest.mark.parametrize(("reply", "action"), [(REFUSED, Action.ROTATE), (answer(403), Action.FETCH_POLICY)])
async def test_what_a_refusal_can_be_mended_by_is_asked_of_the_control_plane(
    scripted: ScriptedServer,
    reply: bytes,
    action: Action,
) -> None:
    """Until it is mended no other heartbeat is sent; then the machine goes on where it is put back."""
    scripted.script = [Reaction((reply,)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    shard.shift_ns = 3600 * SECOND_NS // 2
    async with shard.running(patience_seconds=5):
        machine = started(shard)
        await shard.history.until(1)
        assert not shard.calls
        shard.shift_ns += 2 * SECOND_NS
        await until(lambda: shard.calls)
        assert shard.calls == [machine]
        assert machine.action(shard.now()) is action
        machine.rotated("mcert_2", shard.now(), 3600 * SECOND_NS)
        machine.fetched_policy(POLICY_ID, {}, shard.now())
        shard.shard.resume(machine)
        await shard.history.until(2)
    assert b"X-Machine-Certificate-Id: mcert_2" in scripted.arrivals[1].head


async def test_a_second_answer_is_noted_and_its_connection_used_no_more(scripted: ScriptedServer) -> None:
    """The first one counts; whose the second is cannot be known."""
    scripted.script = [Reaction((ACCEPTED + ACCEPTED,)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        started(shard)
        await shard.history.until(1)
        shard.shift_ns += 2 * SECOND_NS
        await shard.history.until(2)
    assert [shard.row(at)["got"] for at in range(2)] == [Answer.ACCEPTED] * 2
    assert scripted.connections == 2
    assert "contents.unasked" in {one.rule for one in shard.history.deviations}


async def test_a_connection_closed_at_rest_is_opened_anew_and_nothing_is_lost(scripted: ScriptedServer) -> None:
    scripted.script = [Reaction((ACCEPTED,), "close"), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=5):
        machine = started(shard, shard.machine(interval_ns=60 * SECOND_NS))
        await shard.history.until(1)
        await until(lambda: shard.progress.connected == 0)
        shard.shift_ns += machine.due_ns - shard.now()
        await shard.history.until(2)
    assert [shard.row(at)["got"] for at in range(2)] == [Answer.ACCEPTED] * 2
    assert shard.progress.lost == 0
    assert scripted.connections == 2


@pytest.mark.parametrize("casing", ["connection: close", "Connection: close"])
async def test_a_connection_the_server_gives_up_is_not_used_again(scripted: ScriptedServer, casing: str) -> None:
    """The answer says so; a request sent on it would be lost."""
    scripted.script = [Reaction((answer(200, b'{"accepted":true}', casing),)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        started(shard)
        await shard.history.until(2)
    assert scripted.connections == 2
    assert shard.progress.lost == 0


@pytest.mark.parametrize("length", ["content-length", "Content-Length"])
async def test_a_connection_is_kept_whatever_the_casing_of_the_answers_headers(
    scripted: ScriptedServer,
    length: str,
) -> None:
    body = b'{"success":true,"data":{"accepted":true}}'
    scripted.script = [Reaction((f"HTTP/1.1 200 OK\r\n{length}: {len(body)}\r\n\r\n".encode() + body,))]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        started(shard)
        await shard.history.until(4)
    assert scripted.connections == 1
    assert shard.progress.accepted == len(shard.history)


@pytest.mark.parametrize("pieces", [1, 2, 5, len(ACCEPTED)])
async def test_an_answer_that_comes_in_pieces_is_one_answer(scripted: ScriptedServer, pieces: int) -> None:
    size = -(-len(ACCEPTED) // pieces)
    split = tuple(ACCEPTED[at : at + size] for at in range(0, len(ACCEPTED), size))
    scripted.script = [Reaction(split), Reaction((b"HTTP/1.1 100 Continue\r\n\r\n", *split))]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        started(shard)
        await shard.history.until(3)
    assert {shard.row(at)["got"] for at in range(3)} == {Answer.ACCEPTED}
    assert scripted.connections == 1


async def test_bytes_that_nobody_asked_for_end_the_connection(scripted: ScriptedServer) -> None:
    """An answer to nothing must not be taken for the answer to the next request."""
    scripted.script = [Reaction((ACCEPTED, REFUSED)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        machine = started(shard, shard.machine(interval_ns=60 * SECOND_NS))
        await shard.history.until(1)
        await until(lambda: shard.progress.connected == 0)
        shard.shift_ns += machine.due_ns - shard.now()
        await shard.history.until(2)
    assert [shard.row(at)["got"] for at in range(2)] == [Answer.ACCEPTED] * 2
    assert scripted.connections == 2


async def test_a_port_nobody_listens_on_costs_connect_failures_and_no_rows(closed_port: int) -> None:
    """What was never sent is no request."""
    shard = ShardUnderTest(parse_target(f"http://127.0.0.1:{closed_port}", "t"))
    async with sockets_closed_after(), shard.running():
        machine = started(shard)
        await until(lambda: shard.progress.connect_failures == 1)
        shard.shift_ns += 2 * SECOND_NS
        await until(lambda: shard.progress.connect_failures == 2)
        assert machine.failures == 2
    assert len(shard.history) == 0
    assert shard.progress.sent == 0


async def test_an_answer_without_end_is_given_up_before_it_takes_memory(scripted: ScriptedServer) -> None:
    """Thousands of machines may each be given one."""
    part = b"1000\r\n%b\r\n" % bytes(4096)
    scripted.script = [Reaction((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[part] * 40)), ACCEPT]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        started(shard)
        await shard.history.until(1)
        assert shard.row(0)["got"] == Answer.LOST
    (trouble,) = shard.history.troubles
    assert (trouble.what, trouble.why) == ("heartbeat", "no HTTP answer: an answer without end")


async def test_what_is_under_way_at_the_end_gets_its_answer_or_is_lost(scripted: ScriptedServer) -> None:
    """The end waits for answers, but only so long; nothing that was sent is missing from the history."""
    scripted.script = [ACCEPT, ACCEPT, SILENT]
    shard = ShardUnderTest(scripted.target)
    async with sockets_closed_after(), shard.running(patience_seconds=0.05):
        for index in range(4):
            started(shard, shard.machine(index, interval_ns=60 * SECOND_NS))
        await until(lambda: len(scripted.arrivals) == 4)
    assert len(shard.history) == 4
    got = sorted(shard.row(at)["got"] for at in range(4))
    assert got == [Answer.ACCEPTED, Answer.ACCEPTED, Answer.LOST, Answer.LOST]
    assert {shard.row(at)["machine"] for at in range(4)} == set(range(4))


async def test_late_answers_are_waited_for_at_the_end(scripted: ScriptedServer) -> None:
    half = len(ACCEPTED) // 2
    gate = trio.Event()
    shard = ShardUnderTest(scripted.target)
    scripted.script = [Reaction((ACCEPTED[:half],), "hold")]

    async def answer_late(stream: trio.SocketStream, connection: int, client: str) -> None:
        del connection, client
        await stream.receive_some(65_536)
        gate.set()
        await until(lambda: shard.shard.playing.ended)
        await stream.send_all(ACCEPTED)

    scripted._talk = answer_late  # type: ignore[method-assign]
    async with shard.running(patience_seconds=PATIENCE_SECONDS):
        started(shard, shard.machine(interval_ns=60 * SECOND_NS))
        await gate.wait()
    assert shard.row(0)["got"] == Answer.ACCEPTED


async def test_each_machine_speaks_from_an_address_of_its_own(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        for index in range(30):
            started(shard, shard.machine(index, interval_ns=60 * SECOND_NS))
        await shard.history.until(30)
    assert {arrival.client for arrival in scripted.arrivals} == {
        machine_source(scripted.target, index) for index in range(30)
    }
    assert scripted.connections == 30


@pytest.mark.parametrize(
    ("reply", "expected", "got"),
    [
        (Reaction((REFUSED,)), Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.TIMESTAMP_OUT_OF_WINDOW),
        (ACCEPT, Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.ACCEPTED),
        (HANG_UP, Answer.TIMESTAMP_OUT_OF_WINDOW, Answer.LOST),
    ],
)
async def test_a_machine_with_a_wrong_clock_must_be_refused_also_when_its_answer_is_lost(
    scripted: ScriptedServer,
    reply: Reaction,
    expected: Answer,
    got: Answer,
) -> None:
    """The checkers ask a lost row for what it may have been counted as."""
    scripted.script = [reply]
    shard = ShardUnderTest(scripted.target)
    async with shard.running(patience_seconds=5):
        started(shard, shard.machine(interval_ns=60 * SECOND_NS, clock=ClockError(offset_ns=120 * SECOND_NS)))
        await shard.history.until(1)
    assert (shard.row(0)["expected"], shard.row(0)["got"]) == (expected, got)


async def test_a_clock_that_steps_after_a_heartbeat_was_made_does_not_change_what_it_must_get(
    scripted: ScriptedServer,
) -> None:
    """What counts is what the clock showed when the heartbeat was stamped, not when it was sent or answered."""
    shard = ShardUnderTest(scripted.target)
    step_at_ns = shard.now() + SECOND_NS // 2

    def step() -> None:
        shard.on_wall = lambda: None
        shard.shift_ns = SECOND_NS // 2

    shard.on_wall = step
    async with shard.running(patience_seconds=5):
        clock = ClockError(step_at_ns=step_at_ns, step_by_ns=3600 * SECOND_NS)
        started(shard, shard.machine(interval_ns=60 * SECOND_NS, clock=clock))
        await shard.history.until(1)
    assert shard.row(0)["sent_ns"] >= step_at_ns
    assert shard.row(0)["expected"] == shard.row(0)["got"] == Answer.ACCEPTED


async def test_nothing_is_left_open_when_a_run_is_cancelled_among_hundreds(scripted: ScriptedServer) -> None:
    before = open_sockets()
    shard = ShardUnderTest(scripted.target, jitter=0.5)
    async with shard.running():
        for index in range(200):
            started(shard, shard.machine(index, interval_ns=20 * MILLISECOND_NS))
        await shard.history.until(300)
        assert open_sockets() >= before + 300
    await until(lambda: open_sockets() == before)
    rows = shard.history.rows()
    assert len(set(rows["nonce"].tolist())) == len(rows) == shard.progress.sent
    assert (rows["planned_ns"] <= rows["sent_ns"]).all()
    assert (rows["sent_ns"] < rows["answered_ns"]).all()
