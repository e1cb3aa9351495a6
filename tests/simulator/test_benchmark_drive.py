from __future__ import annotations

import pytest

from simulator.worlds.live.drive import drive
from tests.simulator.conftest import REFUSED, Reaction, ScriptedServer, sockets_closed_after


async def test_driving_counts_accepted_answers_a_second_and_closes_what_it_opened(scripted: ScriptedServer) -> None:
    async with sockets_closed_after():
        rate = await drive(scripted.target, machines=3, seconds=0.2)
    assert scripted.connections == 3
    bodies = [arrival.body for arrival in scripted.arrivals]
    assert len(set(bodies)) == len(bodies), "each heartbeat has a nonce of its own"
    assert 0 < rate * 0.2 <= len(bodies)


async def test_refused_heartbeats_make_no_rate(scripted: ScriptedServer) -> None:
    scripted.script = [Reaction((REFUSED,))]
    async with sockets_closed_after():
        assert await drive(scripted.target, machines=1, seconds=0.01) == pytest.approx(0)
