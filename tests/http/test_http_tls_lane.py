"""HTTP/1.1 over TLS: what the lane has to do beyond what it does for plain connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock, SetClock
from reference_server.http.express_lane import ExpressLane
from reference_server.http.hypercorn_front import HypercornFront
from reference_server.limits import TLS_RECORD_BYTES
from tests.http.corpus import get
from tests.http.serving import serving
from tests.http.twins import enrol, make_api, written

if TYPE_CHECKING:
    from reference_server.http.admission import Admission
    from tests.http.serving import Client
    from tests.support.certificates import Pair

HEALTH = get("/health")
NEVER = 3600.0


async def sealed_by(client: Client, data: bytes, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Return what a client's TLS makes of bytes, to be sent another way."""
    sent: list[bytes] = []

    async def keep(_stream: trio.SocketStream, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(bytes(data))

    with monkeypatch.context() as patched:
        patched.setattr(trio.SocketStream, "send_all", keep)
        await client.send(data)
    return b"".join(sent)


@pytest.mark.parametrize("express_lane", [True, False])
async def test_tls_is_never_served_by_hypercorn(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, *, express_lane: bool
) -> None:
    monkeypatch.delattr(HypercornFront, "serve")
    api = make_api(require_https=True, **pair.settings)
    async with serving(api, LoopClock(), express_lane=express_lane) as server, server.client() as client:
        assert (await client.ask(get("/api/v1/status"))).status == 200


async def test_a_request_that_arrives_as_the_server_stops_is_answered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there to be read when the stop comes has begun."""
    api = make_api(shutdown_grace_seconds=NEVER, **pair.settings)
    machine = enrol(api)
    finish = ExpressLane.finish
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as client:
        await wait_all_tasks_blocked()
        socket = client.socket_stream.socket
        sealed = await sealed_by(client, written(machine.heartbeat("n")), monkeypatch)

        async def send_at_the_last_moment(lane: ExpressLane, deadline: float) -> None:
            socket._sock.send(sealed)  # type: ignore[attr-defined]
            await finish(lane, deadline)

        monkeypatch.setattr(ExpressLane, "finish", send_at_the_last_moment)
        server.stop.set()
        answer = await client.answer("POST")
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await client.rest() == b""


async def test_a_machine_is_recognised_by_what_it_proves_only(pair: Pair) -> None:
    """A right heartbeat keeps its connection when strangers crowd in; a wrong one does not."""
    api = make_api(unproven_connections_per_address=1, **pair.settings)
    machine = enrol(api)
    wrong = msgspec.structs.replace(machine.heartbeat("m"), body=b"{")
    async with (
        serving(api, LoopClock(), express_lane=True) as server,
        server.client() as honest,
    ):
        assert (await honest.ask(machine.heartbeat("n"))).status == 200
        async with server.client() as stranger:
            assert (await stranger.ask(wrong)).status == 400
            async with server.client() as newcomer:
                assert await stranger.rest() == b""
                assert (await newcomer.ask(HEALTH)).status == 200
        assert (await honest.ask(machine.heartbeat("o"))).status == 200


async def test_a_part_of_a_record_waits_as_a_part_of_a_head_does(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, admissions: list[Admission]
) -> None:
    """OpenSSL has it, so its bytes are counted with the others; whole, it is answered, and nothing waits any more."""
    api = make_api(**pair.settings)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as client:
        for nonce, at in (("a", 3), ("b", -1)):
            sealed = await sealed_by(client, written(machine.heartbeat(nonce)), monkeypatch)
            for part in (sealed[:at], sealed[at:]):
                await client.socket_stream.send_all(part)
                await wait_all_tasks_blocked(0.01)
                assert admissions[0].waiting_bytes == (TLS_RECORD_BYTES if part == sealed[:at] else 0)
            assert (await client.answer("POST")).status == 200


@pytest.mark.parametrize("at", [1, 5, -1])
async def test_a_record_that_does_not_end_has_the_time_of_a_head(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Counted from its first byte, however often another comes; a request in the next record has its own time."""
    clock = SetClock()
    api = make_api(idle_timeout_seconds=NEVER, header_timeout_seconds=10.0, **pair.settings)
    async with serving(api, clock, express_lane=True) as server, server.client() as client, server.client() as other:
        for connected in (client, other):
            assert (await connected.ask(HEALTH)).status == 200
        sealed = await sealed_by(client, written(HEALTH), monkeypatch)
        await client.socket_stream.send_all(sealed[:at])
        await wait_all_tasks_blocked(0.01)
        clock.advance(9.0)
        await client.socket_stream.send_all(sealed[at : at + 1] if at > 0 else b"")
        await wait_all_tasks_blocked(0.01)
        clock.advance(2.0)
        assert await client.rest() == b""
        assert (await other.ask(HEALTH)).status == 200


async def test_records_without_a_request_keep_no_connection(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are cut: the time at rest goes on as if nothing had come, and no other ends it sooner."""
    clock = SetClock()
    api = make_api(idle_timeout_seconds=60.0, header_timeout_seconds=10.0, **pair.settings)
    async with serving(api, clock, express_lane=True) as server, server.client() as client, server.client() as other:
        for _ in range(2):
            clock.advance(35.0)
            assert (await other.ask(HEALTH)).status == 200
            sealed = await sealed_by(client, b"\r\n", monkeypatch)
            for part in (sealed[:9], sealed[9:]):
                await client.socket_stream.send_all(part)
                await wait_all_tasks_blocked(0.01)
        await client.closed()
        clock.advance(35.0)
        assert (await other.ask(HEALTH)).status == 200


async def test_a_record_that_ends_in_time_leaves_no_deadline(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetClock()
    api = make_api(idle_timeout_seconds=60.0, header_timeout_seconds=10.0, **pair.settings)
    async with serving(api, clock, express_lane=True) as server, server.client() as client, server.client() as late:
        sealed = await sealed_by(client, b"\r\n", monkeypatch)
        for part in (sealed[:9], sealed[9:]):
            await client.socket_stream.send_all(part)
            await wait_all_tasks_blocked(0.01)
        await late.send(b"GET")
        await wait_all_tasks_blocked(0.01)
        clock.advance(20.0)
        await late.closed()
        assert (await client.ask(HEALTH)).status == 200


async def test_a_request_may_come_in_many_records(pair: Pair) -> None:
    api = make_api(**pair.settings)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as client:
        for byte in written(machine.heartbeat("n")):
            await client.send(bytes([byte]))
        assert (await client.answer("POST")).status == 200
