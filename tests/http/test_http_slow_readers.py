from __future__ import annotations

import socket as stdlib_socket
from itertools import cycle
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.listening import open_listeners
from tests.http.corpus import get
from tests.http.serving import PATIENCE_SECONDS, Client, serving
from tests.http.twins import OWNER, Machine, as_owner, ask, enrol, make_api, written

if TYPE_CHECKING:
    from reference_server.settings import Settings
    from reference_server.wire.values import Request
    from tests.support.certificates import Pair

SOON, LONG, NEVER = 0.2, 40.0, 3600.0
SENT_BYTES, RECEIVED_BYTES = 4_096, 16_384
"""What the kernel may hold of answers and of requests (it takes the double): a batch of answers is more than fits."""
TAKEN_MAX_BYTES = 1 << 20
HEALTH = get("/health")
AUDIT = get("/api/v1/audit/events", OWNER)
WAYS = ["lane", "hypercorn", "conversation", "tls"]


@pytest.fixture(autouse=True)
def _small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the kernel hold little, so that a reader is slow after kilobytes instead of megabytes."""

    def with_small_buffers(settings: Settings) -> list[stdlib_socket.socket]:
        listeners = open_listeners(settings)
        for listener in listeners:
            listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_SNDBUF, SENT_BYTES)
            listener.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_RCVBUF, RECEIVED_BYTES)
        return listeners

    monkeypatch.setattr("reference_server.http.serve.open_listeners", with_small_buffers)


def flood_of(way: str, machine: Machine) -> list[tuple[Request, int]]:
    """What is pipelined in turn, without end: heartbeats where the lane answers them, else reads with large answers."""
    if way == "lane":
        replayed = machine.heartbeat("first")
        return [(replayed, 401), (msgspec.structs.replace(replayed, body=b"{"), 400), (replayed, 401)]
    return [(AUDIT, 200), (get("/nothing"), 404), (AUDIT, 200)]


async def flood(client: Client, requests: list[tuple[Request, int]], taken: list[int]) -> None:
    """Pipeline requests until the server hangs up; `taken` counts those it took."""
    turns = cycle([written(request) for request, _ in requests])
    while taken[0] * len(written(requests[0][0])) < TAKEN_MAX_BYTES:
        try:
            await client.send(next(turns))
        except trio.BrokenResourceError:
            return
        taken[0] += 1
    pytest.fail(f"the server took {taken[0]} requests from a client that reads no answer")


async def until_stuck(taken: list[int]) -> None:
    """Wait until the server takes no more."""
    with trio.fail_after(PATIENCE_SECONDS):
        before = -1
        while before != taken[0] or not before:
            before = taken[0]
            await wait_all_tasks_blocked(0.05)


@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_never_reads_is_dropped_in_time_and_others_are_served(way: str, pair: Pair) -> None:
    api = make_api(body_timeout_seconds=SOON, **pair.settings_of(way))
    machine = enrol(api)
    async with (
        serving(api, LoopClock(), express_lane=way != "hypercorn") as server,
        server.client() as other,
        trio.open_nursery() as nursery,
    ):
        slow = await server.connect(room_bytes=SENT_BYTES)
        dropped = trio.Event()

        async def flood_until_dropped() -> None:
            await flood(slow, flood_of(way, machine), [0])
            dropped.set()

        nursery.start_soon(flood_until_dropped)
        with trio.fail_after(PATIENCE_SECONDS):
            served = 0
            while not dropped.is_set():
                assert (await other.ask(machine.heartbeat(f"n{served}"))).status == 200
                served += 1
        assert served > 0
        await slow.stream.aclose()


@pytest.mark.parametrize("way", WAYS)
async def test_a_reader_that_was_slow_gets_every_answer_in_order(way: str, pair: Pair) -> None:
    """The server stops reading while its answers are not read, and goes on where it stopped."""
    api = make_api(body_timeout_seconds=NEVER, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        async with server.client() as quick:
            assert (await quick.ask(machine.heartbeat("first"))).status == 200
        slow = await server.connect(room_bytes=SENT_BYTES)
        turns = flood_of(way, machine)
        taken = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, slow, turns, taken)
            await until_stuck(taken)
            for _, (request, status) in zip(range(taken[0]), cycle(turns), strict=False):
                assert (await slow.answer(request.method)).status == status
            nursery.cancel_scope.cancel()
        await slow.stream.aclose()


async def test_the_lane_takes_back_a_reader_that_was_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it has read its answers, its heartbeats are answered by the lane again, and half of one is not lost."""
    api = make_api(body_timeout_seconds=NEVER)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=True) as server:
        slow = await server.connect(room_bytes=SENT_BYTES)
        again, last = written(machine.heartbeat("again")), written(machine.heartbeat("last"))
        many = 1500
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.send, again * many + last[:50])
            await wait_all_tasks_blocked(0.05)
            assert [(await slow.answer("POST")).status for _ in range(many)] == [200] + [401] * (many - 1)
        handled: list[Any] = []
        monkeypatch.setattr(api, "handle", handled.append)
        await slow.send(last[50:])
        assert (await slow.answer("POST")).status == 200
        assert handled == []
        await slow.stream.aclose()


async def test_an_answer_begun_while_the_server_stops_keeps_it_for_the_grace_period_only() -> None:
    """Hypercorn shields its sending from cancellation; a client that does not read must not gain by that."""
    api = make_api(shutdown_grace_seconds=SOON, body_timeout_seconds=LONG)
    for number in range(300):
        ask(api, as_owner("/machines/register", {"owner_id": "ada", "name": f"rack {number}"}))
    async with serving(api, LoopClock(), express_lane=False) as server:
        slow = await server.connect(room_bytes=SENT_BYTES)
        assert (await slow.ask(HEALTH)).status == 200
        data = written(get("/api/v1/audit/events", OWNER, "limit=500"))
        await slow.send(data[:-1])
        await wait_all_tasks_blocked()
        server.stop.set()
        await wait_all_tasks_blocked()
        await slow.send(data[-1:])
        assert await slow.has_begun_an_answer()
    await slow.stream.aclose()


@pytest.mark.parametrize("way", WAYS)
async def test_clients_that_vanish_leave_nothing_behind(way: str, pair: Pair) -> None:
    """Whatever a client was in the middle of, its tasks end with it."""
    timeouts = {f"{name}_timeout_seconds": NEVER for name in ("header", "body", "idle")}
    api = make_api(**timeouts, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        beat = written(machine.heartbeat("n"))
        for begun in (b"", b"\r", b"GET", beat[:60], beat[:-1], beat + written(HEALTH), written(HEALTH) + beat[:60]):
            for abruptly in (False, True):
                client = await server.connect(room_bytes=SENT_BYTES)
                await client.send(begun)
                await wait_all_tasks_blocked()
                await hang_up(client, abruptly=abruptly)
        for abruptly in (False, True):
            client = await server.connect(room_bytes=SENT_BYTES)
            taken = [0]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flood, client, flood_of(way, machine), taken)
                await until_stuck(taken)
                nursery.cancel_scope.cancel()
            await hang_up(client, abruptly=abruptly)
        with trio.fail_after(PATIENCE_SECONDS):
            while trio.lowlevel.current_statistics().tasks_living > tasks:
                await wait_all_tasks_blocked(0.01)


async def hang_up(client: Client, *, abruptly: bool) -> None:
    """Close, or reset."""
    if abruptly:
        reset = b"\1\0\0\0\0\0\0\0"
        client.socket_stream.socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, reset)
    await trio.aclose_forcefully(client.stream)
