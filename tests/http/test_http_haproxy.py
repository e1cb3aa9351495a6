"""A real HAProxy in front: its pools, its headers and its TLS passthrough; limits are for who stands behind it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from tests.http.corpus import get
from tests.http.serving import Client, Server, serving
from tests.http.test_http_proxies import BURST, HERE, KNOWN, limited
from tests.http.test_http_tls import http2
from tests.http.twins import make_api, written
from tests.support.haproxy import POOL, THROUGH, haproxy, needs_haproxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.http.admission import Admission
    from tests.support.certificates import Pair

pytestmark = needs_haproxy
HEALTH = get("/health")
WAYS = pytest.mark.parametrize("way", ["lane", "hypercorn"])
ONE, OTHER = "127.0.0.2", "127.0.0.3"
"""Clients' own addresses; HAProxy speaks to the server from 127.0.0.1."""


def option(server: Server) -> str:
    """Write where a server is, as HAProxy reads it."""
    return f"{server.address[0]}:{server.address[1]}"


@asynccontextmanager
async def client_at(address: str, proxy: tuple[str, int]) -> AsyncIterator[Client]:
    """Connect to a proxy from an address of one's own."""
    socket = trio.socket.socket()
    await socket.bind((address, 0))
    await socket.connect(proxy)
    async with trio.SocketStream(socket) as stream:
        yield Client(stream)


@WAYS
async def test_clients_of_one_pool_have_limits_of_their_own(way: str, admissions: list[Admission]) -> None:
    """Though all that they ask comes on one connection of the proxy, and whatever they claim to be."""
    api, machine = limited(BURST, trusted_proxies=HERE)
    async with (
        serving(api, SetClock(), express_lane=way != "hypercorn") as server,
        haproxy((POOL, f"{option(server)} maxconn 1")) as (proxy,),
        client_at(ONE, proxy) as one,
        client_at(OTHER, proxy) as other,
        client_at(ONE, proxy) as one_again,
    ):
        asked = []
        for number, client in enumerate((one, other, one_again, other)):
            await client.send(written(machine.heartbeat(str(number))))
            asked.append((await client.answer("POST")).status)
        claiming = get("/health", (("x-forwarded-for", "203.0.113.9"),))
        asked += [(await client.ask(claiming)).status for client in (one, other, one_again, other)]
        assert asked == [200] * 6 + [429] * 2
        assert admissions[0].connections == 1


@WAYS
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
async def test_a_proxy_names_each_connections_client(way: str, version: str) -> None:
    api, machine = limited(BURST, **KNOWN)
    async with (
        serving(api, SetClock(), express_lane=way != "hypercorn") as server,
        haproxy((THROUGH, f"{option(server)} {version}")) as (proxy,),
        client_at(ONE, proxy) as one,
        client_at(OTHER, proxy) as other,
        client_at(ONE, proxy) as one_again,
    ):
        asked = []
        for number, client in enumerate((one, other, one_again, one, one_again, other)):
            await client.send(written(machine.heartbeat(str(number))))
            asked.append((await client.answer("POST")).status)
        assert asked == [200, 200, 200, 200, 429, 200]


@pytest.mark.parametrize("version", ["", "send-proxy", "send-proxy-v2"])
async def test_tls_goes_through_to_this_server(version: str, pair: Pair) -> None:
    """HTTP/1.1 and HTTP/2, as client and server agree on behind the proxy."""
    api = make_api(rate_limit_burst=1, **(KNOWN if version else {}), **pair.settings)
    async with (
        serving(api, SetClock(), express_lane=True) as server,
        haproxy((THROUGH, f"{option(server)} {version}")) as ((host, port),),
    ):
        behind = Server(f"https://{host}:{port}", authority=str(pair.certificate))
        async with behind.client() as client:
            assert [(await client.ask(HEALTH)).status for _ in range(2)] == [200, 429]
        async with http2(behind, pair) as client_2:
            assert (await client_2.ask(HEALTH)).status == 429


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
async def test_a_proxy_that_looks_whether_the_server_lives_is_answered(version: str) -> None:
    """Such a look has a header that names nobody, or one of the proxy's own address."""
    api = make_api(**KNOWN)
    look = f"check inter 100ms fall 1000 {version} check-send-proxy"
    async with (
        serving(api, SetClock(), express_lane=True) as server,
        haproxy((f"{POOL}\n    option httpchk GET /health", f"{option(server)} {look}")) as (proxy,),
        client_at(ONE, proxy) as client,
    ):
        await until(lambda: api.state.buckets._full_at.keys() == {"127.0.0.1"})
        assert (await client.ask(HEALTH)).status == 200
        assert ONE in api.state.buckets._full_at
