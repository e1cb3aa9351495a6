"""Whatever a request says of itself, it is answered in the envelope, takes its token, and leaves no line in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from reference_server.http.quart_app import create_app
from reference_server.limits import BODY_MAX_BYTES
from reference_server.pipeline.answering import Answerer
from reference_server.pipeline.resolving import Resolver
from tests.http.corpus import get
from tests.http.serving import serving
from tests.http.twins import OWNER, make_api

if TYPE_CHECKING:
    from reference_server.operations.api import Api

HEALTH = get("/health")
HEADERS = [(name.encode(), value.encode()) for name, value in OWNER]
ODD_HOSTS = ["..", "a..b", "x" * 64, "xn--", "-", "[::1]:80"]


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
@pytest.mark.parametrize("host", ODD_HOSTS)
async def test_a_name_that_is_no_host_costs_no_more_than_another(
    host: str, caplog: pytest.LogCaptureFixture, *, express_lane: bool
) -> None:
    api = make_api(rate_limit_burst=2)
    async with serving(api, SetClock(), express_lane=express_lane) as server:
        statuses = []
        for _ in range(3):
            async with server.client() as client:
                await client.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                statuses.append((await client.answer()).status)
    assert statuses == [statuses[0], statuses[0], 429]
    assert statuses[0] in {200, 400}
    assert caplog.text == ""


async def called(api: Api, kind: str = "http", body: bytes = b"", **stated: Any) -> tuple[int, bytes]:
    """Call the application as any ASGI server may, and return the status and the body of its answer."""
    clock = SetClock()
    scope = {"type": kind, "http_version": "2", "method": "GET", "scheme": "https", "path": "/health",
             "raw_path": b"/health", "query_string": b"", "headers": [], "client": ("192.0.2.1", 1), "server": None,
             "root_path": "", "extensions": {"websocket.http.response": {}}, **stated}  # fmt: skip
    parts = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    events: list[dict[str, Any]] = [{"type": "websocket.connect"}] if kind == "websocket" else []
    events += [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if events:
            return events.pop(0)
        if kind == "http" and not sent and "ended" not in scope:
            scope["ended"] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return await trio.sleep_forever()

    async def send(event: dict[str, Any]) -> None:
        sent.append(event)

    await create_app(Answerer(api, clock, Resolver(api, clock)), api.settings)(scope, receive, send)  # type: ignore[arg-type]
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/json"
    assert len(dict(sent[0]["headers"])[b"x-request-id"]) == 16
    return sent[0]["status"], b"".join(event.get("body", b"") for event in sent[1:])


ODD: dict[str, tuple[dict[str, Any], int]] = {
    "empty path": ({"path": "", "raw_path": b""}, 404),
    "path without a slash": ({"path": "health", "raw_path": b"health"}, 404),
    "path beyond ASCII": ({"path": "/é", "raw_path": b"/\xc3\xa9"}, 404),
    "no host": ({"headers": []}, 200),
    "host that is no name": ({"headers": [(b"host", b"..")]}, 200),
    "host beyond ASCII": ({"headers": [(b"host", b"\xff")]}, 200),
    "method of nobody": ({"method": "BREW"}, 405),
    "connect": ({"method": "CONNECT", "raw_path": b"", "path": ""}, 404),
    "length of 5,000 digits": ({"method": "POST", "headers": [(b"content-length", b"9" * 5_000)]}, 405),
    "length that is none": ({"headers": [(b"content-length", b"\xb2")]}, 200),
    "query beyond ASCII": ({"query_string": b"\xff=\xfe"}, 200),
}


@pytest.mark.parametrize("name", ODD)
async def test_the_application_answers_whatever_a_server_lets_through(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stated, status = ODD[name]
    api = make_api(rate_limit_burst=1)
    assert (await called(api, **stated))[0] == status
    assert (await called(api, **stated))[0] == 429
    assert caplog.text == ""


async def test_a_websocket_is_answered_as_if_it_had_not_been_asked_for() -> None:
    api = make_api(rate_limit_burst=2)
    assert (await called(api, "websocket", scheme="wss"))[0] == 200
    status, body = await called(api, "websocket", scheme="wss", path="/nothing", raw_path=b"/nothing")
    assert (status, body) == (404, b'{"success":false,"error":"not found"}')
    assert (await called(api, "websocket", scheme="wss"))[0] == 429


async def test_a_body_is_read_only_where_the_head_does_not_answer_and_never_past_the_limit() -> None:
    api = make_api()
    policies: dict[str, Any] = {"method": "POST", "path": "/api/v1/policies", "raw_path": b"/api/v1/policies"}
    long = b" " * (BODY_MAX_BYTES + 65_536)
    assert (await called(api, body=long, **policies))[0] == 401
    assert (await called(api, body=long, headers=HEADERS, **policies))[0] == 413
    declared = [*HEADERS, (b"content-length", b"9" * 5_000)]
    assert (await called(api, headers=declared, **policies))[0] == 413
    assert (await called(api, body=b"{}", headers=HEADERS, **policies))[0] == 400


async def test_a_fault_of_quart_is_answered_and_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    api = make_api()

    def broken(*_: object) -> object:
        raise RuntimeError("inside")

    monkeypatch.setattr("reference_server.http.quart_app._read_head", broken)
    assert await called(api) == (500, b'{"success":false,"error":"internal error"}')
    assert len(caplog.records) == 1
