from __future__ import annotations

import pytest
import trio

from simulator.client.connection import ControlConnection, LostError
from simulator.client.target import parse_target
from simulator.contract.reading import MalformedDataError, read_data
from simulator.fleet.requests import owner_headers
from simulator.history.losses import Loss
from tests.simulator.conftest import (
    ACCEPT,
    API_TOKEN,
    HANG_UP,
    SILENT,
    Reaction,
    ScriptedServer,
    answer,
    serving,
    sockets_closed_after,
)
from tests.support.waiting import until


async def test_requests_of_one_connection_share_it_and_come_from_its_address(scripted: ScriptedServer) -> None:
    scripted.script = [Reaction((answer(201, b'{"data":{"id":"pol_1"}}'),)), ACCEPT]
    async with sockets_closed_after(), ControlConnection(scripted.target, "127.8.1.2") as connection:
        first = await connection.request("POST", "/policies", {"X-Owner-ID": "ada"}, {"owner_id": "ada"})
        second = await connection.request("GET", "/metrics", {}, rooted=True)
        assert (first.status, read_data(first.status, first.body), second.status) == (201, {"id": "pol_1"}, 200)
    assert scripted.connections == 1
    assert {arrival.client for arrival in scripted.arrivals} == {"127.8.1.2"}
    post, get = scripted.arrivals
    assert post.head.startswith(b"POST /api/v1/policies HTTP/1.1\r\n")
    assert b"\r\nX-Owner-ID: ada\r\n" in post.head
    assert b"\r\nContent-Type: application/json\r\n" in post.head
    assert post.body == b'{"owner_id":"ada"}'
    assert get.head.startswith(b"GET /metrics HTTP/1.1\r\n")
    assert f"\r\nHost: {scripted.target.authority}".encode() in get.head
    assert get.body == b""


async def test_a_post_without_a_body_says_so(scripted: ScriptedServer) -> None:
    async with ControlConnection(scripted.target, None) as connection:
        await connection.request("POST", "/policies/pol_1/activate", {})
    assert b"Content-Length: 0" in scripted.arrivals[0].head


async def test_a_connection_the_server_ends_is_opened_anew(scripted: ScriptedServer) -> None:
    scripted.script = [Reaction((answer(200, b"{}", "connection: close"),), "close"), ACCEPT]
    async with sockets_closed_after(), ControlConnection(scripted.target, None) as connection:
        for _ in range(2):
            assert (await connection.request("GET", "/health", {}, rooted=True)).status == 200
    assert scripted.connections == 2


async def test_only_reading_is_repeated_when_the_server_has_closed_a_rested_connection(
    scripted: ScriptedServer,
) -> None:
    scripted.script = [ACCEPT, HANG_UP, ACCEPT, HANG_UP]
    async with sockets_closed_after(), ControlConnection(scripted.target, None) as connection:
        for _ in range(2):
            assert (await connection.request("GET", "/health", {}, rooted=True)).status == 200
        with pytest.raises(LostError):
            await connection.request("POST", "/policies", {}, {})
    assert [arrival.head.split()[0] for arrival in scripted.arrivals] == [b"GET", b"GET", b"GET", b"POST"]


async def test_reading_is_not_repeated_where_an_answer_had_begun(scripted: ScriptedServer) -> None:
    """The server has read it, and counted it if it refused it."""
    half = Reaction((b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 9\r\n\r\nabc",), "close")
    scripted.script = [ACCEPT, half, ACCEPT]
    async with sockets_closed_after(), ControlConnection(scripted.target, None) as connection:
        await connection.request("GET", "/health", {}, rooted=True)
        with pytest.raises(LostError) as raised:
            await connection.request("GET", "/health", {}, rooted=True)
    assert raised.value.loss is Loss.CUT
    assert len(scripted.arrivals) == 2


@pytest.mark.parametrize(
    ("reaction", "says"),
    [
        (HANG_UP, "closed before the answer was whole"),
        (
            Reaction((b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc",), "close"),
            "closed before the answer was whole",
        ),
        (Reaction((b"SSH-2.0-OpenSSH\r\n",)), "not HTTP"),
    ],
)
async def test_an_answer_that_is_not_whole_is_lost_and_the_next_request_starts_afresh(
    scripted: ScriptedServer,
    reaction: Reaction,
    says: str,
) -> None:
    scripted.script = [reaction, ACCEPT]
    async with sockets_closed_after(), ControlConnection(scripted.target, None) as connection:
        with pytest.raises(LostError, match=says):
            await connection.request("GET", "/health", {}, rooted=True)
        assert (await connection.request("GET", "/health", {}, rooted=True)).status == 200
    assert scripted.connections == 2


async def test_an_answer_that_does_not_come_is_given_up(scripted: ScriptedServer) -> None:
    scripted.script = [SILENT]
    async with sockets_closed_after(), ControlConnection(scripted.target, None, answer_seconds=0.1) as connection:
        with pytest.raises(LostError, match=r"no whole answer within 0\.1 s"):
            await connection.request("GET", "/health", {}, rooted=True)
        await until(lambda: not scripted.open)


async def test_a_port_nobody_listens_on_is_lost_too(closed_port: int) -> None:
    target = parse_target(f"http://127.0.0.1:{closed_port}", "t")
    async with sockets_closed_after(), ControlConnection(target, "127.8.0.1") as connection:
        with pytest.raises(LostError, match="refused"):
            await connection.request("GET", "/health", {}, rooted=True)


@pytest.mark.parametrize("reaction", [SILENT, Reaction((answer(200)[:10],), "hold")])
async def test_cancelling_a_request_closes_its_socket(scripted: ScriptedServer, reaction: Reaction) -> None:
    scripted.script = [reaction]
    async with sockets_closed_after():
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def ask() -> None:
                    async with ControlConnection(scripted.target, None) as connection:
                        await connection.request("GET", "/health", {}, rooted=True)

                nursery.start_soon(ask)
                await until(lambda: scripted.arrivals)
                scope.cancel()
        assert scope.cancelled_caught


async def test_the_real_server_answers_over_it() -> None:
    async with serving() as (_, target), ControlConnection(target, None) as connection:
        health = await connection.request("GET", "/health", {}, rooted=True)
        refused = await connection.request("GET", "/workers/summary", {})
        head = await connection.request("HEAD", "/health", {}, rooted=True)
        nameless = await connection.request("GET", "/workers/summary", owner_headers(target.token))
        summary = await connection.request("GET", "/workers/summary", owner_headers(target.token, "ada"))
    assert (health.status, refused.status, nameless.status, summary.status) == (200, 401, 401, 200)
    assert (head.status, head.body) == (200, b"")
    assert read_data(summary.status, summary.body)["total"] == 0


def test_owner_headers_carry_the_token_and_the_owner() -> None:
    target = parse_target("http://127.0.0.1:1", API_TOKEN)
    assert owner_headers(target.token) == {"Authorization": f"Bearer {API_TOKEN}"}
    assert owner_headers(target.token, "ada") == {"Authorization": f"Bearer {API_TOKEN}", "X-Owner-ID": "ada"}


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{}", b'{"data":[]}', b'{"data":1}', b'{"data":', b"\xff"])
def test_an_answer_without_data_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDataError, match="HTTP 200"):
        read_data(200, body)
