"""HTTP/1.1 over TLS: what the lane has to do beyond what it does for plain connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.express_lane import ExpressLane
from reference_server.http.hypercorn_front import HypercornFront
from tests.http.corpus import get
from tests.http.serving import serving
from tests.http.twins import enrol, make_api, written

if TYPE_CHECKING:
    from tests.support.certificates import Pair

HEALTH = get("/health")
NEVER = 3600.0


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
        sent: list[bytes] = []

        async def keep(_stream: trio.SocketStream, data: bytes) -> None:
            await trio.lowlevel.checkpoint()
            sent.append(bytes(data))

        with monkeypatch.context() as patched:
            patched.setattr(trio.SocketStream, "send_all", keep)  # what TLS makes of it, to be sent at a moment
            await client.send(written(machine.heartbeat("n")))

        async def send_at_the_last_moment(lane: ExpressLane, deadline: float) -> None:
            socket._sock.send(b"".join(sent))  # type: ignore[attr-defined]
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
