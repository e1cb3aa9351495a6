"""Clients that are gone before anybody has looked at their connection."""

from __future__ import annotations

import socket as stdlib_socket
import struct
from typing import TYPE_CHECKING, NoReturn

import pytest
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.http.opening import Opening
from tests.http.corpus import get
from tests.http.serving import Server, serving
from tests.http.twins import make_api

if TYPE_CHECKING:
    from tests.support.certificates import Pair

HEALTH = get("/health")
AT_ONCE = struct.pack("ii", 1, 0)


def reset_at_once(server: Server, sent: bytes) -> None:
    """Connect, say something and reset, all of it before the server's loop goes on."""
    with stdlib_socket.create_connection(server.address) as client:
        client.send(sent)
        client.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, AT_ONCE)


@pytest.mark.parametrize("sent", [b"", b"x"])
@pytest.mark.parametrize("way", ["lane", "tls", "hypercorn"])
async def test_a_connection_that_is_reset_at_once_costs_nobody_else_a_thing(
    way: str, sent: bytes, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor a line of the log."""
    api = make_api(**pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as other:
        for _ in range(5):
            reset_at_once(server, sent)
            await wait_all_tasks_blocked(0.01)
        assert (await other.ask(HEALTH)).status == 200
        async with server.client() as later:
            assert (await later.ask(HEALTH)).status == 200
    assert caplog.text == ""


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
