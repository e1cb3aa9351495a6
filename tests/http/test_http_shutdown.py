from __future__ import annotations

import gc
import socket as stdlib_socket
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest
import trio
from hypercorn.config import Config
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.express_lane import ExpressLane
from tests.http.corpus import get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.twins import OWNER, Machine, enrol, make_api, written
from tests.support.open_sockets import open_sockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.wire.values import Request
    from tests.support.certificates import Pair

NEVER = 3600.0
LONG = 40.0
ROOM_BYTES = 1 << 12
"""What the kernel holds of answers that nobody reads: Hypercorn takes half a minute of CPU for megabytes of them."""
"""A deadline that a test which passes never meets, and one that fails does not wait for long."""
HEALTH = get("/health")
WAYS = pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])


async def ask_until_it_closes(server: Server, make_request: Callable[[int], Request], answered: list[int]) -> None:
    """Ask and ask again. An answer that has begun must end."""
    async with server.client() as client:
        for number in count():
            request = make_request(number)
            await client.send_what_it_takes(written(request))
            if not await client.has_begun_an_answer():
                return
            assert (await client.answer(request.method)).status == 200
            answered[0] += 1


@WAYS
async def test_no_answer_is_cut_when_the_server_stops_under_load(way: str, pair: Pair) -> None:
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings_of(way))
    machines = [enrol(api, f"rack {number}") for number in range(4)]
    answered = [0]
    async with trio.open_nursery() as clients, serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        for number, machine in enumerate(machines):
            beat = partial(lambda number, machine: machine.heartbeat(f"n{number}"), machine=machine)
            clients.start_soon(ask_until_it_closes, server, beat if number % 2 else lambda _: HEALTH, answered)
        with trio.fail_after(PATIENCE_SECONDS):
            while answered[0] < 200:
                await trio.lowlevel.checkpoint()


async def rest(_client: Client, _machine: Machine) -> None:
    pass


async def rest_after_a_heartbeat(client: Client, machine: Machine) -> None:
    assert (await client.ask(machine.heartbeat("n"))).status == 200


async def rest_after_a_read(client: Client, _machine: Machine) -> None:
    assert (await client.ask(HEALTH)).status == 200


async def rest_after_an_empty_line(client: Client, _machine: Machine) -> None:
    assert (await client.ask(HEALTH)).status == 200
    await client.send(b"\r\n\r")


async def have_many_answered(client: Client, _machine: Machine) -> None:
    await client.send(20 * written(HEALTH))
    await client.answer()


@WAYS
@pytest.mark.parametrize(
    "begin",
    [rest, rest_after_a_heartbeat, rest_after_a_read, rest_after_an_empty_line, have_many_answered],
)
async def test_connections_at_rest_do_not_keep_the_server(
    begin: Callable[[Client, Machine], Awaitable[None]], way: str, pair: Pair
) -> None:
    """With nothing left to answer the server stops at once, however long the grace period."""
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        client = await server.connect()
        await begin(client, machine)
        await wait_all_tasks_blocked()
        server.stop.set()
        await client.rest()
        await client.stream.aclose()


@WAYS
async def test_a_pipeline_that_the_stop_interrupts_ends_after_a_whole_answer(way: str, pair: Pair) -> None:
    """What Hypercorn has read and will not answer any more must not keep the connection."""
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        await client.send(200 * written(HEALTH))
        assert (await client.answer()).status == 200
        server.stop.set()
        answered = 1
        while await client.has_begun_an_answer():
            assert (await client.answer()).status == 200
            answered += 1
        assert answered < 200 or way == "lane"  # the lane had answered all of them by then


async def stick_in_a_head(client: Client, machine: Machine) -> None:
    await client.send(written(machine.heartbeat("n"))[:50])


async def stick_in_a_body(client: Client, machine: Machine) -> None:
    await client.send(written(machine.heartbeat("n"))[:-1])


async def stick_in_a_body_after_a_read(client: Client, machine: Machine) -> None:
    await rest_after_a_read(client, machine)
    await stick_in_a_body(client, machine)


async def read_no_answer(client: Client, machine: Machine) -> None:
    await pipeline_until_stuck(client, machine.heartbeat("n"))


async def read_no_answer_from_hypercorn(client: Client, _machine: Machine) -> None:
    await pipeline_until_stuck(client, get("/api/v1/audit/events", OWNER))


async def pipeline_until_stuck(client: Client, request: Request) -> None:
    async with trio.open_nursery() as nursery:
        sent = [0]

        async def pipeline() -> None:
            while True:
                await client.send(500 * written(request))
                sent[0] += 1

        nursery.start_soon(pipeline)
        before = -1
        while before != sent[0]:
            before = sent[0]
            await wait_all_tasks_blocked(0.05)
        nursery.cancel_scope.cancel()


# Quart-Trio, cancelled amid an answer that nobody reads, leaves these two coroutines to the collector unawaited.
@pytest.mark.filterwarnings("ignore:coroutine 'DataBody.__aexit__' was never awaited:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:coroutine 'TrioASGIHTTPConnection.handle_request' was never awaited:RuntimeWarning")
@WAYS
@pytest.mark.parametrize(
    "begin",
    [
        stick_in_a_head,
        stick_in_a_body,
        stick_in_a_body_after_a_read,
        read_no_answer,
        read_no_answer_from_hypercorn,
    ],
)
async def test_stuck_connections_keep_the_server_for_the_grace_period_only(
    begin: Callable[[Client, Machine], Awaitable[None]], way: str, pair: Pair
) -> None:
    api = make_api(
        **pair.settings_of(way), shutdown_grace_seconds=0.2, header_timeout_seconds=LONG, body_timeout_seconds=LONG
    )
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        client = await server.connect(room_bytes=ROOM_BYTES)
        await begin(client, machine)
    await client.stream.aclose()
    gc.collect()  # here, not in a later test, where what is left behind would be an error


@WAYS
@pytest.mark.parametrize("cut", [20, -1])
async def test_a_half_sent_heartbeat_may_end_after_the_server_was_told_to_stop(cut: int, way: str, pair: Pair) -> None:
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        data = written(machine.heartbeat("n"))
        await client.send(data[:cut])
        await wait_all_tasks_blocked()
        server.stop.set()
        await wait_all_tasks_blocked()
        await client.send(data[cut:])
        answer = await client.answer("POST")
        assert answer.status == 200
        assert answer.header("connection") == (None if way == "hypercorn" else "close")
        assert await client.rest() == b""


async def test_a_heartbeat_that_arrives_while_the_lane_stops_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lane looks once more at every connection after it has stopped accepting."""
    api = make_api(shutdown_grace_seconds=NEVER)
    machine = enrol(api)
    finish = ExpressLane.finish
    async with serving(api, LoopClock(), express_lane=True) as server:
        socket = stdlib_socket.create_connection(server.address)
        await wait_all_tasks_blocked()

        async def send_at_the_last_moment(lane: ExpressLane, deadline: float) -> None:
            socket.send(written(machine.heartbeat("n")))
            await finish(lane, deadline)

        monkeypatch.setattr(ExpressLane, "finish", send_at_the_last_moment)
        server.stop.set()
        socket.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        async with trio.SocketStream(trio.socket.from_stdlib_socket(socket)) as stream:
            client = Client(stream)
            answer = await client.answer("POST")
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await client.rest() == b""


@WAYS
async def test_a_stopping_server_accepts_no_connection(way: str, pair: Pair) -> None:
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        await rest_after_a_read(client, machine)
        await client.send(written(HEALTH)[:-1])
        await wait_all_tasks_blocked()
        server.stop.set()
        await wait_all_tasks_blocked()
        with pytest.raises(OSError, match="failed"):
            await server.connect()
        await client.send(b"\n")
        assert (await client.answer()).status == 200
        assert await client.rest() == b""
        for _ in range(2):  # what is still under way meets a server that reads on, not a reset
            await client.socket_stream.send_all(written(HEALTH))
            await wait_all_tasks_blocked()


async def test_one_connection_may_ask_as_often_as_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypercorn's own limit closes after so many requests, and would leave a pipelining client hanging."""
    monkeypatch.setattr(Config, "keep_alive_max_requests", 5)
    async with serving(make_api(), LoopClock(), express_lane=False) as server, server.client() as client:
        await client.send(20 * written(HEALTH))
        for _ in range(20):
            assert (await client.answer()).header("connection") is None
        assert await client.end() == b""


@WAYS
@pytest.mark.parametrize("asked", [False, True], ids=["idle", "asked"])
async def test_a_server_ends_when_what_runs_it_fails(way: str, pair: Pair, *, asked: bool) -> None:
    """It is cancelled then, not told to stop. One that waited on would not serve and not end; none leaves sockets."""
    before = open_sockets()
    with pytest.RaisesGroup(ZeroDivisionError):
        async with (
            serving(make_api(**pair.settings_of(way)), LoopClock(), express_lane=way != "hypercorn") as server,
            server.client() as client,
        ):
            await client.send(written(HEALTH)[:-9])
            if asked:
                await client.send(written(HEALTH)[-9:])
                await client.answer()
            raise ZeroDivisionError
    assert open_sockets() <= before
