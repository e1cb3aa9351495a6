from __future__ import annotations

import socket as stdlib_socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from h2.settings import SettingCodes
from trio.testing import wait_all_tasks_blocked

from reference_server.adapters.memory.clocks import LoopClock, SetClock
from reference_server.limits import BODY_MAX_BYTES
from tests.http.corpus import get, make_world, post
from tests.http.http2_client import Http2Client
from tests.http.serving import PATIENCE_SECONDS, Client, Server, direct_answer, serving
from tests.http.twins import API_TOKEN, OWNER, START, make_api, written
from tests.support.certificates import AUTHORITY
from tests.support.trying import tried_again_alone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.certificates import Pair

HEALTH = get("/health")
NEVER, SOON = 3600.0, 0.2


@asynccontextmanager
async def connected(
    server: Server, pair: Pair, *protocols: str, before: bytes = b""
) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    """Connect, agree on the first of the protocols offered, and hang up in the end. Some bytes may come before that."""
    socket_stream = await trio.open_tcp_stream(*server.address)
    await socket_stream.send_all(before)
    context = pair.context(*protocols)
    stream = trio.SSLStream(socket_stream, context, server_hostname=AUTHORITY, https_compatible=True)
    try:
        with trio.fail_after(PATIENCE_SECONDS):
            await stream.do_handshake()
        assert stream.selected_alpn_protocol() == (protocols[0] if protocols else None)
        yield stream
    finally:
        await trio.aclose_forcefully(stream)
        vars(stream).pop("_handshook")  # by which it refers to itself: no circle of ours shall look like the server's


@asynccontextmanager
async def http2(server: Server, pair: Pair, before: bytes = b"") -> AsyncIterator[Http2Client]:
    async with connected(server, pair, "h2", "http/1.1", before=before) as stream:
        yield Http2Client(stream)


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
async def test_http_1_answers_the_same_inside_tls(pair: Pair, protocols: tuple[str, ...]) -> None:
    (api, world), (twin, _) = make_world(require_https=True, **pair.settings), make_world(require_https=True)
    asked = [world.machine.heartbeat("n"), HEALTH, world.machine.heartbeat("n"), post("/api/v1/policies", b"{")]
    async with serving(api, SetClock(), express_lane=True) as server, connected(server, pair, *protocols) as stream:
        assert server.url.startswith("https://")
        client = Client(stream)
        for number, request in enumerate(asked):
            secure = msgspec.structs.replace(request, scheme="https")
            closes = number == len(asked) - 1
            expected = direct_answer(twin.handle(secure, START), request.method, closes=closes)
            assert await client.ask(request, *(["Connection: close"] if closes else [])) == expected
        assert await client.rest() == b""


async def test_http_2_answers_the_same(pair: Pair) -> None:
    (api, world), (twin, _) = make_world(require_https=True, **pair.settings), make_world(require_https=True)
    asked = [HEALTH, world.machine.heartbeat("n"), get("/api/v1/workers/summary", OWNER), world.machine.heartbeat("n")]
    async with serving(api, SetClock(), express_lane=True) as server, http2(server, pair) as client:
        for request in asked:
            secure = msgspec.structs.replace(request, scheme="https")
            assert await client.ask(request) == direct_answer(twin.handle(secure, START), request.method, closes=False)


@pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
async def test_plain_http_is_refused_where_https_is_required(*, express_lane: bool) -> None:
    """All but the health check, in the lane too; a proxy's word counts only where it is trusted."""
    forwarded = (("x-forwarded-proto", "https"),)
    for trusted in (False, True):
        api, world = make_world(require_https=True, trust_proxy_headers=trusted)
        async with serving(api, SetClock(), express_lane=express_lane) as server, server.client() as client:
            for _ in range(2):
                refused = await client.ask(world.machine.heartbeat("n"))
                assert refused.status == 426
                assert refused.body == b'{"success":false,"error":"https required"}'
                assert (refused.header("upgrade"), refused.header("connection")) == ("TLS/1.2, HTTP/1.1", "upgrade")
            assert (await client.ask(HEALTH)).status == 200
            assert (await client.ask(get("/api/v1/status"))).status == 426
            assert (await client.ask(get("/api/v1/status", forwarded))).status == (200 if trusted else 426)


GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", AUTHORITY.encode())]
POST = [(b":method", b"POST"), *GET[1:], (b":path", b"/api/v1/policies")]


async def ask_for_a_path_beyond_ascii(client: Http2Client) -> None:
    stream_id = await client.begin([*GET, (b":path", b"/\xff")], ended=True)
    assert (await client.answer(stream_id)).status == 400


async def connect_to_somewhere(client: Http2Client) -> None:
    stream_id = await client.begin([(b":method", b"CONNECT"), (b":authority", b"elsewhere:80")], ended=False)
    assert (await client.answer(stream_id)).status == 400


async def send_a_body_after_its_answer(client: Http2Client) -> None:
    stream_id = client.connection.get_next_available_stream_id()
    client.connection.send_headers(stream_id, [*POST, (b"content-length", b"%d" % (BODY_MAX_BYTES + 1))])
    client.connection.send_data(stream_id, b"x" * 9)
    await client.flush()
    assert (await client.answer(stream_id)).status == 413


async def speak_something_else(client: Http2Client) -> None:
    await client.flush()
    await client.stream.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await client.closed()


async def leave_in_the_middle(client: Http2Client) -> None:
    await client.begin(POST, ended=False)


async def leave_without_reading(client: Http2Client) -> None:
    for _ in range(50):
        await client.begin([*GET, (b":path", b"/health")], ended=True)


async def leave_abruptly(client: Http2Client) -> None:
    reset = b"\1\0\0\0\0\0\0\0"
    client.stream.transport_stream.socket.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, reset)
    await trio.aclose_forcefully(client.stream)


@pytest.mark.parametrize(
    "attack",
    [
        leave_abruptly,
        ask_for_a_path_beyond_ascii,
        connect_to_somewhere,
        send_a_body_after_its_answer,
        speak_something_else,
        leave_in_the_middle,
        leave_without_reading,
    ],
)
async def test_a_hostile_http_2_client_costs_nobody_else_a_thing(
    attack: Any,
    pair: Pair,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nor a line of the log, nor a task once it has left."""
    api, _ = make_world(**pair.settings)
    async with serving(api, SetClock(), express_lane=True) as server, http2(server, pair) as other:
        assert (await other.ask(HEALTH)).status == 200
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with http2(server, pair) as client:
            await attack(client)
        assert (await other.ask(HEALTH)).status == 200
        with trio.fail_after(PATIENCE_SECONDS):
            while trio.lowlevel.current_statistics().tasks_living > tasks:
                await wait_all_tasks_blocked(0.01)
        async with http2(server, pair) as later:
            assert (await later.ask(HEALTH)).status == 200
    assert caplog.text == ""


@tried_again_alone
async def test_answers_that_are_not_read_end_the_connection_and_no_other(pair: Pair) -> None:
    """Also where the client keeps its windows shut, and goes on sending pings."""
    api, _ = make_world(body_timeout_seconds=SOON, **pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, http2(server, pair) as other:
        async with http2(server, pair) as client:
            client.connection.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            await client.begin([*GET, (b":path", b"/health")], ended=True)
            await client.closed()
        assert (await other.ask(HEALTH)).status == 200


async def test_many_requests_at_once_over_http_2_are_all_answered(pair: Pair) -> None:
    api, world = make_world(**pair.settings)
    async with serving(api, SetClock(), express_lane=True) as server, http2(server, pair) as client:
        streams = [await client.begin([*GET, (b":path", b"/health")], ended=True) for _ in range(60)]
        assert (await client.answer(streams[-1])).status == 200
        answers = [await client.ask(world.machine.heartbeat(f"n{number}")) for number in range(20)]
        assert [answer.status for answer in answers] == [200] * 20


@tried_again_alone
async def test_half_a_request_over_http_2_is_refused_in_time(pair: Pair) -> None:
    api, _ = make_world(body_timeout_seconds=SOON, **pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, http2(server, pair) as client:
        bearer = (b"authorization", f"Bearer {API_TOKEN}".encode())
        stream_id = await client.begin([*POST, bearer, (b"content-length", b"10")], ended=False)
        answer = await client.answer(stream_id)
        assert (answer.status, answer.body) == (400, b'{"success":false,"error":"invalid request"}')


@pytest.mark.parametrize("asks", [False, True])
@tried_again_alone
async def test_a_resting_http_2_connection_is_closed_in_time(pair: Pair, *, asks: bool) -> None:
    api, _ = make_world(idle_timeout_seconds=SOON, **pair.settings)
    async with serving(api, LoopClock(), express_lane=True) as server, http2(server, pair) as client:
        if asks:
            assert (await client.ask(HEALTH)).status == 200
        await client.closed()


@pytest.mark.parametrize("part", ["header", "body", "idle"])
@tried_again_alone
async def test_a_late_client_inside_tls_is_closed_in_time(pair: Pair, part: str) -> None:
    named = {f"{name}_timeout_seconds": SOON if name == part else NEVER for name in ("header", "body", "idle")}
    api, world = make_world(**named, **pair.settings)
    whole = written(world.machine.heartbeat("n"))
    async with serving(api, LoopClock(), express_lane=True) as server, connected(server, pair) as stream:
        client = Client(stream)
        await client.send(whole[: {"header": 40, "body": len(whole) - 1, "idle": 0}[part]] or b"\r\n")
        await client.closed()


async def test_a_handshake_that_never_comes_is_not_awaited_for_ever(pair: Pair) -> None:
    api, _ = make_world(header_timeout_seconds=SOON, **pair.settings)
    async with (
        serving(api, LoopClock(), express_lane=True) as server,
        await trio.open_tcp_stream(*server.address) as stream,
    ):
        assert await Client(stream).rest() == b""


@pytest.mark.parametrize("begin", ["handshake", "http/1.1", "h2"])
async def test_a_server_with_tls_stops_though_clients_rest(pair: Pair, begin: str) -> None:
    api, _ = make_world(shutdown_grace_seconds=NEVER, **pair.settings)
    asked = trio.Event()

    async def rest(server: Server) -> None:
        if begin == "handshake":
            async with await trio.open_tcp_stream(*server.address) as stream:
                asked.set()
                await Client(stream).rest()
        elif begin == "h2":
            async with http2(server, pair) as http2_client:
                assert (await http2_client.ask(HEALTH)).status == 200
                asked.set()
                await http2_client.closed()
        else:
            async with connected(server, pair) as stream:
                assert (await Client(stream).ask(HEALTH)).status == 200
                asked.set()
                await Client(stream).rest()

    async with trio.open_nursery() as clients, serving(api, LoopClock(), express_lane=True) as server:
        clients.start_soon(rest, server)
        with trio.fail_after(PATIENCE_SECONDS):
            await asked.wait()


async def test_a_stranger_who_was_answered_over_http_2_outlasts_one_who_says_nothing(pair: Pair) -> None:
    api = make_api(unproven_connections_per_address=2, **pair.settings)
    async with (
        serving(api, SetClock(), express_lane=True) as server,
        http2(server, pair) as asking,
        http2(server, pair) as silent,
    ):
        assert (await asking.ask(HEALTH)).status == 200
        async with http2(server, pair) as third:
            await silent.closed()
            assert (await third.ask(HEALTH)).status == 200
            assert (await asking.ask(HEALTH)).status == 200
