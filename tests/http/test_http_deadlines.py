from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock, SetClock
from reference_server.limits import LANE_HEAD_MAX_BYTES
from tests.http.corpus import get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.twins import enrol, make_api, written
from tests.support.trying import tried_again_alone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.http.twins import Machine
    from tests.support.certificates import Pair

SOON, NEVER = 0.1, 3600.0
HEALTH = get("/health")
WAYS = ["lane", "hypercorn", "lane again", "tls"]
"""Where a connection is while it is late: in the lane, there after another request, in Hypercorn, inside TLS."""


def settings_of(**deadlines: float) -> dict[str, float]:
    """Set the deadlines given; the others never come."""
    return {f"{name}_timeout_seconds": deadlines.get(name, NEVER) for name in ("header", "body", "idle")}


@asynccontextmanager
async def server_with(way: str, pair: Pair, **deadlines: float) -> AsyncIterator[tuple[Server, Machine]]:
    """Serve with the deadlines given; the others never come."""
    api = make_api(**settings_of(**deadlines), **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        yield server, machine


@asynccontextmanager
async def late_client(server: Server, way: str) -> AsyncIterator[Client]:
    async with server.client() as client:
        if way == "lane again":
            assert (await client.ask(HEALTH)).status == 200
        yield client


def begun(machine: Machine, part: str) -> tuple[bytes, bytes]:
    """A heartbeat in two parts, cut in its head or in its body, or before it."""
    whole = written(machine.heartbeat("n"))
    at = {"header": whole.index(b"Content-Length"), "body": len(whole) - 9, "idle": 0}[part]
    return whole[:at], whole[at:]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("part", ["header", "body", "idle"])
@tried_again_alone
async def test_a_connection_that_stops_is_closed_by_the_deadline_of_what_it_owes(
    part: str, way: str, pair: Pair
) -> None:
    async with server_with(way, pair, **{part: SOON}) as (server, machine):
        started = trio.current_time()  # before the connection is there, for an idle one is late from then on
        async with late_client(server, way) as client:
            await client.send(begun(machine, part)[0])
            await client.closed()
            if trio.current_time() - started < SOON:
                pytest.fail("it was closed before its time")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("part", "other"), [("header", "body"), ("body", "header"), ("body", "idle"), ("header", "idle")]
)
@tried_again_alone
async def test_a_request_has_until_its_own_deadline(part: str, other: str, way: str, pair: Pair) -> None:
    """What is half-sent may still be completed after the deadlines of other things have passed."""
    async with (
        server_with(way, pair, **{other: SOON}) as (server, machine),
        server.client() as patient,
        late_client(server, way) as late,
    ):
        begin, rest = begun(machine, part)
        if way == "lane again" and other != "idle":
            assert (await patient.ask(HEALTH)).status == 200
        await patient.send(begin)
        await late.send(begun(machine, other)[0])
        await late.closed()
        await patient.send(rest)
        assert (await patient.answer("POST")).status == 200


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("part", "dripped"),
    [("header", b"POST /api/v1/workers/w/heartbeat HTTP/1.1\r\nA: " + b"x" * 60_000), ("idle", b"\r\n" * 30_000)],
    ids=["head", "empty lines"],
)
@tried_again_alone
async def test_dripping_bytes_gains_no_time(part: str, dripped: bytes, way: str, pair: Pair) -> None:
    """The deadline counts from the first byte, or from rest for empty lines, however often another byte comes."""
    async with server_with(way, pair, **{part: SOON}) as (server, _), late_client(server, way) as client:

        async def drip() -> None:
            for byte in dripped:
                await client.send_what_it_takes(bytes([byte]))
                await trio.sleep(SOON / 20)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            await client.closed()
            nursery.cancel_scope.cancel()


async def test_a_head_that_outgrows_a_plain_one_gains_no_time() -> None:
    """The lane has waited for nearly all of the deadline when the head becomes too large to be a heartbeat's."""
    api, clock = make_api(header_timeout_seconds=NEVER), SetClock()
    async with serving(api, clock, express_lane=True) as server, server.client() as client:
        await client.send(b"POST /api/v1/workers/w/heartbeat HTTP/1.1\r\nHost: server\r\n")
        await wait_all_tasks_blocked(0.01)
        clock.advance(NEVER - SOON)
        await client.send(b"A: " + b"b" * LANE_HEAD_MAX_BYTES)
        await wait_all_tasks_blocked(0.01)
        clock.advance(2 * SOON)
        await client.closed()


@pytest.mark.parametrize("way", WAYS)
@tried_again_alone
async def test_heartbeats_keep_a_connection_from_resting(way: str, pair: Pair) -> None:
    """A connection that asks again within the idle deadline outlives one that does not."""
    async with (
        server_with(way, pair, idle=4 * SOON) as (server, machine),
        late_client(server, way) as resting,
        late_client(server, way) as busy,
        trio.open_nursery() as nursery,
    ):
        ended = trio.Event()

        async def until_closed() -> None:
            await resting.closed()
            ended.set()

        nursery.start_soon(until_closed)
        with trio.fail_after(PATIENCE_SECONDS):
            for number in range(10_000):
                assert (await busy.ask(machine.heartbeat(f"n{number}"))).status == 200
                with trio.move_on_after(SOON):
                    await ended.wait()
                    break
        assert ended.is_set()
        assert (await busy.ask(HEALTH)).status == 200


async def test_the_lane_closes_each_connection_at_its_own_time() -> None:
    """No connection is kept by another that asks, whichever of them came first."""
    api, clock = make_api(idle_timeout_seconds=75.0), SetClock()
    machine = enrol(api)
    async with (
        serving(api, clock, express_lane=True) as server,
        server.client() as oldest,
        server.client() as silent,
        server.client() as asking,
    ):
        assert (await silent.ask(machine.heartbeat("a"))).status == 200
        clock.advance(1)
        assert (await asking.ask(machine.heartbeat("b"))).status == 200
        clock.advance(73)
        assert (await oldest.ask(machine.heartbeat("c"))).status == 200
        async with server.client() as newcomer:
            assert (await newcomer.ask(machine.heartbeat("d"))).status == 200
            clock.advance(1.5)
            await silent.closed()
            clock.advance(1)
            await asking.closed()
            for name, client in (("e", oldest), ("f", newcomer)):
                assert (await client.ask(machine.heartbeat(name))).status == 200


@pytest.mark.parametrize("way", WAYS)
async def test_a_late_request_is_not_answered_and_changes_nothing(way: str, pair: Pair) -> None:
    api = make_api(**settings_of(body=SOON), **pair.settings_of(way))
    machine = enrol(api)
    events = [len(stream) for stream in api.state.owners["ada"].streams]
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, late_client(server, way) as client:
        await client.send(begun(machine, "body")[0])
        await client.closed()
    assert api.state.workers[machine.worker_id].heard_monotonic_ns is None
    assert [len(stream) for stream in api.state.owners["ada"].streams] == events


@pytest.mark.parametrize("way", WAYS)
@tried_again_alone
async def test_a_body_held_back_for_consent_is_asked_for_and_awaited(way: str, pair: Pair) -> None:
    """`100 Continue` comes after the answers to what came before, once, and then the body's deadline runs."""
    async with server_with(way, pair, body=3 * SOON) as (server, machine), late_client(server, way) as client:
        beat = machine.heartbeat("n")
        head, _, body = written(beat, "Expect: 100-continue").partition(b"\r\n\r\n")
        await client.send(written(HEALTH) + head + b"\r\n\r\n")
        assert [(await client.next_response()).status for _ in range(2)] == [200, 100]
        await client.send(body)
        assert (await client.next_response("POST")).status == 200
        await client.send(head + b"\r\n\r\n")
        assert (await client.next_response()).status == 100
        await client.closed()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("refused", [True, False], ids=["refused", "closing"])
async def test_a_client_that_still_sends_sees_its_last_answer(way: str, pair: Pair, *, refused: bool) -> None:
    """The server ends its own half at once, and reads on for a moment rather than reset what it answered."""
    async with server_with(way, pair) as (server, machine), late_client(server, way) as client:
        head, _, body = written(machine.heartbeat("n"), "Connection: close").partition(b"\r\n\r\n")
        if refused:
            head, body = head.replace(b"Content-Length: ", b"Content-Length: 9999"), b""
        await client.send(head + b"\r\n\r\n" + body)
        assert (await client.answer("POST")).status == (413 if refused else 200)
        await client.closed()
        for _ in range(8):
            await client.socket_stream.send_all(b"x" * 65_536)
            await wait_all_tasks_blocked()
