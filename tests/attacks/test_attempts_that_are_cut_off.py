"""What the end of a run cuts off may still take effect: it is in the history as what nobody knows the end of."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from simulator.attacks import CATALOGUE
from simulator.attacks.http_connection import Reset
from simulator.attacks.script import ExpectedEvent, Together, Wire, granted
from simulator.contract.answers import Answer
from simulator.fleet.requests import http_message
from simulator.history.rows import NEVER_NS, History
from tests.attacks.live import play_live, wrong_server
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from simulator.attacks.script import Script, ScriptContext
    from tests.attacks.live import Connection

NAME = Reset.name


@pytest.mark.parametrize("connections", [1, 3])
async def test_raw_exchanges_that_are_cut_off_are_told_with_the_events_they_may_have_left(
    connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived = 0
    all_arrived = trio.Event()

    async def silent(connection: Connection) -> None:
        nonlocal arrived
        await connection.message()
        arrived += 1
        if arrived == connections:
            all_arrived.set()
        await connection.more()

    class Unanswered(Reset):
        """Whole requests whose answers never come."""

        def script(self, context: ScriptContext) -> Script[None]:
            event = ExpectedEvent("policy_created", "owner:a", "", ("a",))
            message = http_message("GET", "/health", context.host, {})
            one = Wire(((message, 0.0),), granted(200), expected_events=(event,), patience_seconds=PATIENCE_SECONDS)
            yield Together((one,) * connections) if connections > 1 else one

    monkeypatch.setitem(CATALOGUE, NAME, Unanswered)
    history = History()
    async with wrong_server(silent) as target:
        with trio.fail_after(PATIENCE_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(play_live, NAME, target, history=history))
                await all_arrived.wait()
                nursery.cancel_scope.cancel()
    rows = history.rows()
    assert rows["got"].tolist() == [Answer.LOST] * connections
    assert rows["answered_ns"].tolist() == [NEVER_NS] * connections
    assert [(one.answered_ns, one.sure) for one in history.effects] == [(NEVER_NS, False)] * connections
    assert [(claim.rule, claim.held) for claim in history.claims] == [("cut-off", None)]
