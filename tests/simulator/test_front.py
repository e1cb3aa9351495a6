"""What the way to a target wants is written into each request as it leaves, wherever it is cut, and nowhere else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.attacks.script import Expect, Wire
from simulator.client.access import Access
from simulator.client.connection import ControlConnection
from simulator.client.front import Front
from simulator.client.raw import exchange_raw
from simulator.client.target import Target, parse_target
from simulator.contract.answers import Answer
from tests.simulator.conftest import ScriptedServer, ShardUnderTest
from tests.support.waiting import until

FRONT = Front(b"/farm", b"X-Gate: open\r\n")
GET = b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
GOT = b"GET /farm/health HTTP/1.1\r\nX-Gate: open\r\nHost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nContent-Length: 34\r\n\r\n"
POSTED = b"POST /farm/p HTTP/1.1\r\nX-Gate: open\r\nContent-Length: 34\r\n\r\n"
SENT_CHUNKED = b"POST /farm/p HTTP/1.1\r\nX-Gate: open\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("message", "written"),
    [
        (GET, GOT),
        (GET + GET, GOT + GOT),
        (b"\r\n" + GET, b"\r\n" + GOT),
        (POST + GET + b"/", POSTED + GET + b"/"),  # a body may look like a request
        (POST + b"-" * 34 + GET, POSTED + b"-" * 34 + GOT),
        (CHUNKED + b"0\r\n\r\n" + GET, SENT_CHUNKED + b"0\r\n\r\n" + GET),
        (b"GET http://h/health HTTP/1.1\r\n\r\n", b"GET http://h/farm/health HTTP/1.1\r\nX-Gate: open\r\n\r\n"),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nX-Gate: open\r\n\r\n"),
        (b"GET /he", b"GET /farm/he"),
        (b"\x16\x03\x01", b"\x16\x03\x01"),
        (b"", b""),
    ],
)  # fmt: skip
def test_a_message_gets_the_base_and_the_headers_in_each_of_its_requests(message: bytes, written: bytes) -> None:
    assert FRONT.written(message) == written


@given(st.lists(st.sampled_from([GET, POST + b"-" * 34, CHUNKED]), max_size=3), st.lists(st.integers(0, 300)))
def test_a_message_in_parts_is_written_as_the_whole_is(requests: list[bytes], cuts: list[int]) -> None:
    message = b"".join(requests)
    places = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]
    parts = tuple(message[start:end] for start, end in pairwise(places))
    written = FRONT.written_parts(parts)
    assert len(written) == len(parts)
    assert b"".join(written) == FRONT.written(message)


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_all_still_there(message: bytes) -> None:
    assert Front().written(message) == message
    assert FRONT.written(message).replace(b"/farm", b"").replace(b"X-Gate: open\r\n", b"") == message.replace(
        b"/farm", b""
    ).replace(b"X-Gate: open\r\n", b"")


def fronted(scripted: ScriptedServer) -> Target:
    return parse_target(f"{scripted.url}/farm", "t", Access(headers=(("X-Gate", "open"),)))


async def test_every_kind_of_connection_writes_it_and_none_records_it(scripted: ScriptedServer) -> None:
    target = fronted(scripted)
    async with ControlConnection(target, None) as connection:
        await connection.request("GET", "/health", {}, rooted=True)
        await connection.request("GET", "/workers/summary", {})
    step = Wire(((GET[:9], 0.0), (GET[9:], 0.0)), Expect(Answer.REFUSED, (200,)), patience_seconds=0.5)
    assert (await exchange_raw(target, None, step, lambda: 0)).answers
    lines = [arrival.head.split(b"\r\n")[0] for arrival in scripted.arrivals]
    assert lines == [
        b"GET /farm/health HTTP/1.1", b"GET /farm/api/v1/workers/summary HTTP/1.1", b"GET /farm/health HTTP/1.1",
    ]  # fmt: skip
    assert all(arrival.head.count(b"X-Gate: open") == 1 for arrival in scripted.arrivals)


async def test_a_heartbeat_of_the_shard_is_written_so_and_recorded_without(scripted: ScriptedServer) -> None:
    shard = ShardUnderTest(fronted(scripted))
    machine = shard.machine()
    async with shard.running():
        shard.shard.resume(machine)
        await until(lambda: machine.last_accepted)
    head = scripted.arrivals[0].head
    assert head.startswith(b"POST /farm/api/v1/workers/")
    assert head.count(b"\r\nX-Gate: open") == 1
    assert b"/farm" not in machine.last_accepted
    assert b"X-Gate" not in machine.last_accepted
