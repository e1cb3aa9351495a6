from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.adapters.memory.clocks import SetClock
from reference_server.core import heartbeats, machines
from tests.http.corpus import framed, get, make_world, post
from tests.http.corpus_framing import MALFORMED
from tests.http.serving import serving
from tests.http.twins import API_TOKEN, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from tests.http.corpus import World
    from tests.http.serving import Answer
    from tests.support.certificates import Pair

WAYS = pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
REGISTRATION = {"owner_id": "ada", "name": "secret-name"}


class BrokenInsideError(Exception):
    """What breaks inside."""


def break_once(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
    """Have a function of the core raise when it is next called, and work again afterwards."""
    working: Callable[..., Any] = getattr(module, name)

    def broken(*_: Any) -> Any:
        monkeypatch.setattr(module, name, working)
        raise BrokenInsideError("no secret")

    monkeypatch.setattr(module, name, broken)


def secrets_of(world: World) -> list[str]:
    return [API_TOKEN, world.machine.token, world.machine.certificate_id, "secret-name", "secret-nonce", "secret-query"]


def assert_fault(answer: Answer, caplog: pytest.LogCaptureFixture, secrets: list[str]) -> None:
    """The answer is in the envelope, the fault in the log with its place, and nothing of the request that is secret."""
    assert answer.status == 500
    assert answer.body == b'{"success":false,"error":"internal error"}'
    expected = {"content-type": "application/json", "vary": "Origin", "content-length": str(len(answer.body))}
    assert dict(answer.headers) == expected
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("hatchfarm", logging.ERROR)
    assert "BrokenInsideError: no secret" in caplog.text
    assert "in broken" in caplog.text
    assert [secret for secret in secrets if secret in caplog.text] == []


@pytest.mark.parametrize("step", ["verify", "settle"])
@WAYS
async def test_a_fault_in_a_heartbeat_is_a_500_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    step: str,
    pair: Pair,
) -> None:
    """Also among pipelined ones, in its place; and the heartbeat that met it may be sent again."""
    api, world = make_world(**pair.settings_of(way))
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        break_once(monkeypatch, heartbeats, step)
        nonces = ["secret-nonce", "b", "secret-nonce"]
        await client.send(b"".join(written(world.machine.heartbeat(nonce)) for nonce in nonces))
        assert_fault(await client.answer("POST"), caplog, secrets_of(world))
        assert [(await client.answer("POST")).status for _ in nonces[1:]] == [200, 200]
        assert await client.end() == b""


@WAYS
async def test_a_fault_in_another_route_is_a_500_and_the_next_is_served(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    way: str,
    pair: Pair,
) -> None:
    api, world = make_world(**pair.settings_of(way))
    register = msgspec.structs.replace(post("/api/v1/machines/register", REGISTRATION), query="key=secret-query")
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server, server.client() as client:
        break_once(monkeypatch, machines, "valid_owner_id")
        assert_fault(await client.ask(register), caplog, secrets_of(world))
        assert (await client.ask(register)).status == 201
        assert (await client.ask(world.machine.heartbeat("n"))).status == 200


@WAYS
async def test_refusals_are_not_logged(caplog: pytest.LogCaptureFixture, way: str, pair: Pair) -> None:
    """What a client gets wrong is the client's own affair, and may hold its secrets."""
    api, world = make_world(**pair.settings_of(way))
    caplog.set_level(logging.INFO)
    wrong = [
        framed("replayed", 2 * written(world.machine.heartbeat("n"))),
        framed("no such route", written(get("/nothing", world.machine.headers))),
        framed("not JSON", written(post("/api/v1/policies", b"{"))),
        *MALFORMED[:20],
    ]
    async with serving(api, SetClock(), express_lane=way != "hypercorn") as server:
        for case in wrong:
            async with server.client() as client:
                await client.send_what_it_takes(case.sent)
                assert (await client.end()).startswith(b"HTTP/1.1 ")
    assert caplog.text == ""
