"""The express lane told by events: what it owes goes out, also where it had to wait for room among deferred answers."""

from __future__ import annotations

import numpy as np
import pytest
import trio

from reference_server.http.admission import Admission
from reference_server.pipeline import resolving
from reference_server.pipeline.resolving import Resolver
from reference_server.wire.values import Request
from simulator.client.target import parse_target
from simulator.worlds.virtual.clocks import ServerClock
from simulator.worlds.virtual.end_stream import EndStream
from simulator.worlds.virtual.lane import EventLane
from simulator.worlds.virtual.network import MemoryNetwork, ShortWay
from simulator.worlds.virtual.scheduling import JumpingClock, run_seeded
from tests.http.serving import Client
from tests.http.test_http_deferred_answers import Deferring
from tests.http.twins import written

PORT = 80
DESCRIPTION = Request("GET", "/openapi.json")
"""Its answer is longer than what is kept for who does not read."""
ARRIVED_SECONDS = 0.01
"""Of virtual time, in which all that is under way arrives, and no store has failed closed."""


@pytest.mark.parametrize("leaves", [False, True])
def test_an_answer_half_sent_goes_on_or_ends_once_there_is_room_among_deferred_ones(
    monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    monkeypatch.setattr(resolving, "DEFERRED_MAX", 1)
    clock = JumpingClock()
    network = MemoryNetwork(clock, ShortWay(np.random.default_rng(1)), ShortWay(np.random.default_rng(2)))
    deferring = Deferring()
    now = ServerClock(clock)
    resolver = Resolver(deferring.api, now)
    lane = EventLane(deferring.api, clock, now, Admission(9, 9, 1_000_000), resolver)
    network.listen(PORT, lane.take)

    async def client(receive_bytes: int = 0) -> Client:
        return Client(await network.connect(parse_target("http://127.0.0.1:80", "token"), None, PORT, receive_bytes))

    async def play() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(resolver.run)
            nursery.start_soon(lane.run, ())
            slow = await client(receive_bytes=1)
            await slow.send(written(DESCRIPTION))
            waiting = [await client(), await client()]
            await waiting[0].send(deferring.beat("a"))
            await deferring.nonces.asked.wait()
            await waiting[1].send(deferring.beat("b"))
            await trio.sleep(ARRIVED_SECONDS)
            assert resolver.full
            if leaves:
                assert isinstance(slow.stream, EndStream)
                network.break_off(slow.stream)
                await slow.stream.aclose()
            else:
                assert await slow.has_begun_an_answer()
            await trio.sleep(ARRIVED_SECONDS)
            deferring.nonces.gate.set()
            assert [(await one.answer()).status for one in waiting] == [200, 200]
            if leaves:
                await trio.sleep(ARRIVED_SECONDS)
                assert len(lane._patience.connections) == len(waiting)
            else:
                assert (await slow.answer()).status == 200
            nursery.cancel_scope.cancel()

    run_seeded(play, seed=1, clock=clock)
