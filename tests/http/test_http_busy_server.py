"""A server that is busy for longer than its deadlines holds them against nobody who kept them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.quart_app import create_app
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver
from tests.http.twins import enrol, make_api

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio.testing import MockClock

MARK = "x-framing-0123"
DEADLINE_SECONDS = 1.0


async def status_of_late_body(mark: str, http_version: str) -> int:
    """Have a heartbeat's body come when its deadline has passed, as when other requests kept the server busy."""
    api = make_api(body_timeout_seconds=DEADLINE_SECONDS)
    machine = enrol(api)
    beat = machine.heartbeat("n")
    clock = LoopClock()
    app = create_app(Answerer(api, clock, Resolver(api, clock)), api.settings, mark)
    started: list[Mapping[str, Any]] = []
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": http_version,
        "scheme": "http", "method": beat.method, "path": beat.path, "raw_path": beat.path.encode(), "root_path": "",
        "query_string": b"", "client": ("192.0.2.1", 1), "server": ("127.0.0.1", 80), "extensions": {},
        "headers": [(name.encode(), value.encode()) for name, value in beat.headers],
    }  # fmt: skip

    async def receive() -> Any:
        if started:
            await trio.sleep_forever()
        await trio.sleep(2 * DEADLINE_SECONDS)
        return {"type": "http.request", "body": beat.body, "more_body": False}

    async def send(message: Any) -> None:
        started.append(message)

    await app(scope, receive, send)
    status = started[0]["status"]
    assert isinstance(status, int)
    return status


async def test_a_whole_request_behind_the_guard_is_answered_however_long_the_server_was_busy(
    autojump_clock: MockClock,
) -> None:
    assert await status_of_late_body(MARK, "1.1") == 200
    assert trio.current_time() >= 2 * DEADLINE_SECONDS
    del autojump_clock


@pytest.mark.parametrize("http_version", ["1.1", "2"])
async def test_where_nothing_else_keeps_the_deadline_a_body_in_parts_is_refused_by_it(
    http_version: str, autojump_clock: MockClock
) -> None:
    """Under another ASGI server there is no guard."""
    del autojump_clock
    assert await status_of_late_body("", http_version) == 400
