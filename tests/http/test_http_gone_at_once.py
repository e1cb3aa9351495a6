"""Clients that are gone before anybody has looked at their connection."""

from __future__ import annotations

import socket as stdlib_socket
from typing import TYPE_CHECKING, NoReturn

from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.opening import Opening
from tests.http.corpus import get
from tests.http.serving import serving
from tests.http.twins import make_api

if TYPE_CHECKING:
    import pytest

    from tests.support.certificates import Pair

HEALTH = get("/health")


async def test_a_fault_around_a_connection_ends_that_one_alone(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong outside of what is served there: it is logged."""

    async def fail(_opening: Opening, _guest: object) -> NoReturn:
        raise KeyError

    api = make_api(**pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as other:
        with monkeypatch.context() as patched:
            patched.setattr(Opening, "serve", fail)
            with stdlib_socket.create_connection(server.address) as client:
                await wait_all_tasks_blocked(0.01)
                assert client.recv(1) == b""
        assert (await other.ask(HEALTH)).status == 200
    assert "A fault around a connection" in caplog.text
