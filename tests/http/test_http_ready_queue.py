"""Whose turn it is in the lane, round by round, and what it counts of what waits (contract §6)."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from reference_server.http.ready_queue import READ, WRITE, EpollReadiness, SelectorReadiness
from reference_server.limits import (
    CHUNKS_AT_ONCE,
    LANE_ANSWERS_AT_ONCE,
    LANE_LIMITED_AT_ONCE,
)
from reference_server.wire.values import Request
from tests.http.corpus import body_but_a_byte, get
from tests.http.lane_by_hand import Lane, statuses
from tests.http.twins import OWNER, enrol, written
from tests.support.memory import counted_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator


HEALTH = get("/health")


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A lane in which an address may ask once."""
    lane = Lane(rate_limit_burst=1, rate_limit_refill_per_second=0.001)
    yield lane
    lane.close()


async def test_addresses_of_one_64_share_the_bound_of_their_connections() -> None:
    """Whoever has one IPv6 address has 2^64 of them."""
    lane = Lane(per_address_max=1)
    clients = [lane.connect(address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1")]
    for client in clients[1:]:
        client.send(written(HEALTH))
    await lane.play()
    assert clients[0].recv(1) == b""
    assert [statuses(client) for client in clients[1:]] == [[200]] * 3
    lane.close()


async def calls_of(lane: Lane, client: socket.socket, sent: bytes) -> int:
    """Count the calls that a round with one request takes."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    client.send(sent)
    sys.setprofile(count)
    try:
        await lane.play()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("kind", "share"), [("health", 1.15), ("nothing there", 1.15), ("an owner's", 1.0), ("a heartbeat", 0.7)]
)
async def test_a_refusal_over_the_rate_limit_is_less_work_than_an_answer(kind: str, share: float) -> None:
    """It takes what is read of a request, and its turn: of the cheapest answers there are it costs no more than that.

    A machine's, which a fleet asks for beside a flood, costs half as much again at least.
    """
    lane = Lane(rate_limit_burst=20, rate_limit_refill_per_second=0.001)
    machine = enrol(lane.api)
    asked = {"health": HEALTH, "nothing there": get("/nothing"), "an owner's": get("/api/v1/workers/summary", OWNER)}
    client = lane.connect("198.51.100.1")
    seen, calls = [], []
    for turn in range(24):
        made = asked[kind] if kind in asked else machine.heartbeat(f"n{turn}")
        calls.append(await calls_of(lane, client, written(made)))
        seen += statuses(client)
    lane.close()
    assert seen[20:] == [429] * 4
    assert 429 not in seen[:20]
    assert max(calls[21:]) < share * min(calls[1:20])  # what the first of a kind makes ready is not counted


async def test_those_within_the_limit_are_served_before_those_over_it_who_take_turns(lane: Lane) -> None:
    """However many are over it, and though they go on asking: each is refused in its turn, and none waits for ever."""
    over = [lane.connect("192.0.2.1") for _ in range(3 * LANE_LIMITED_AT_ONCE)]
    for client in over:
        client.send(written(HEALTH))
        await lane.play()
    assert [statuses(client) for client in over] == [[200]] + [[429]] * (len(over) - 1)
    over[0].send(written(HEALTH))
    await lane.play()
    assert statuses(over[0]) == [429]
    reported = dict.fromkeys(over, 0)
    for turn in range(6):
        within = lane.connect(f"192.0.2.{turn + 2}")
        for client in [*over, within]:
            client.send(written(HEALTH))
        await lane.play()
        assert statuses(within) == [200]
        for client in over:
            reported[client] += len(statuses(client))
    assert sum(reported.values()) == 6 * LANE_LIMITED_AT_ONCE
    assert set(reported.values()) == {2}


async def test_one_over_its_limit_that_asks_on_has_one_turn_a_round(lane: Lane) -> None:
    """It is watched while it waits for its turn, so it is found ready again: that is no second turn."""
    client = lane.connect("192.0.2.1")
    client.send(written(HEALTH) * 2)
    await lane.play()
    assert statuses(client) == [200, 429]
    client.send(written(HEALTH) * 20)
    answered = []
    for _ in range(12):
        client.send(written(HEALTH))
        await lane.play()
        answered.append(len(statuses(client)))
    assert max(answered) == 1
    assert sum(answered) >= len(answered) - 1


async def test_one_over_its_limit_whose_answer_is_pending_is_not_looked_at_until_that_is_out(lane: Lane) -> None:
    """Else whoever asks on while somebody outside is asked would be found ready, and left, round by round."""
    client = lane.connect("192.0.2.1")
    client.send(written(HEALTH) * 2)
    await lane.play()
    (connection,) = lane.lane._patience.connections
    assert statuses(client) == [200, 429]
    assert connection.limited
    connection.pending = [b""]
    client.send(written(HEALTH))
    await lane.play()
    assert connection.events == 0
    with trio.move_on_after(0) as scope:
        await lane.lane._queue.wait_ready()
    assert scope.cancelled_caught


async def test_a_proven_machine_is_decided_before_strangers_of_its_address_take_what_is_left() -> None:
    """Its heartbeat is read first and decided with those of others, yet before anybody who comes after them."""
    lane = Lane(rate_limit_burst=20, rate_limit_refill_per_second=0.001)
    machine = enrol(lane.api)
    proven = lane.connect("198.51.100.1")
    for turn in range(19):
        proven.send(written(machine.heartbeat(f"n{turn}")))
        await lane.play()
    strangers = [lane.connect("198.51.100.1") for _ in range(3)]
    for client in strangers:
        client.send(written(HEALTH))
    proven.send(written(machine.heartbeat("last")))
    await lane.play()
    assert statuses(proven) == [200] * 20
    assert [statuses(client) for client in strangers] == [[429]] * 3
    lane.close()


@pytest.mark.parametrize("kind", ["requests", "heartbeats", "options", "crumbs"])
async def test_whatever_one_client_has_sent_others_have_their_turn(kind: str) -> None:
    """A round gives no connection more than a few answers, or a part of a body that comes in crumbs."""
    lane = Lane()
    machine = enrol(lane.api)
    asked = {
        "requests": written(HEALTH),
        "heartbeats": written(machine.heartbeat("n")),
        "options": written(Request("OPTIONS", "/health")),
        "crumbs": b"",
    }[kind]
    crumbs = b"1\r\nx\r\n" * 2 * CHUNKS_AT_ONCE
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % machine.path.encode()
    greedy = lane.connect("192.0.2.1")
    greedy.send(asked * 3 * LANE_ANSWERS_AT_ONCE or head + crumbs + b"0\r\n\r\n")
    seen = []
    for turn in range(6):
        modest = lane.connect(f"192.0.2.{turn + 2}")
        modest.send(written(HEALTH))
        await lane.play()
        assert statuses(modest) == [200]
        seen.append(len(statuses(greedy)))
    assert max(seen) <= LANE_ANSWERS_AT_ONCE
    assert sum(seen) == (1 if kind == "crumbs" else 3 * LANE_ANSWERS_AT_ONCE)
    assert seen[0] == (0 if kind == "crumbs" else LANE_ANSWERS_AT_ONCE)
    lane.close()


MANY_HEADERS = b"".join(b"a%d:\r\n" % number for number in range(90))


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /api/v1/workers/w/heartbeat HTTP/1.1\r\nHost: a\r\n" + MANY_HEADERS,
        b"POST /api/v1/workers/w/heartbeat HTTP/1.1\r\nHost: a\r\n" + MANY_HEADERS + b"Content-Length: 9\r\n\r\n",
        b"POST /api/v1/workers/w/heartbeat HTTP/1.1\r\nHost: a\r\nA: "
        + b"x" * 60_000
        + b"\r\nContent-Length: 9\r\n\r\n",
        body_but_a_byte("/api/v1/workers/w/heartbeat")[:300_000],
    ],
    ids=["half a head", "a head", "a large head", "a body"],
)
async def test_what_waits_is_counted_as_what_it_costs(sent: bytes) -> None:
    """The bound is one of memory: whatever a stranger leaves half-sent, its real size is not much above what counts."""
    lane = Lane()
    clients = [lane.connect("192.0.2.1") for _ in range(20)]
    for _ in range(2):  # pools and caches fill up the first time
        with counted_bytes() as cost:
            for client in clients:
                rest = memoryview(sent)
                while rest:
                    with suppress(BlockingIOError):
                        rest = rest[client.send(rest) :]
                    await lane.play()
            assert cost() <= 1.5 * lane.admission.waiting_bytes + 20 * 4_096
        lane.close()
        lane = Lane()
        clients = [lane.connect("192.0.2.1") for _ in range(20)]
    lane.close()


@pytest.mark.parametrize("make", [SelectorReadiness, *([EpollReadiness] if sys.platform == "linux" else [])])
async def test_who_is_ready_is_told_alike_on_every_platform(make: type[SelectorReadiness | EpollReadiness]) -> None:
    """Ready is who may be read from or written to, as asked; and who is gone, whatever was asked."""
    readiness = make()
    near, far = socket.socketpair()
    connection: Any = object()
    try:
        readiness.register(far.fileno(), READ, connection)
        assert list(readiness.ready()) == []
        near.send(b"a")
        await readiness.wait()
        assert list(readiness.ready()) == [(connection, READ)]
        readiness.modify(far.fileno(), WRITE, connection)
        assert list(readiness.ready()) == [(connection, WRITE)]
        readiness.modify(far.fileno(), READ, connection)
        near.close()
        assert [events & READ for _, events in readiness.ready()] == [READ]
        readiness.unregister(far.fileno())
        assert list(readiness.ready()) == []
        readiness.register(far.fileno(), WRITE, connection)
        assert [events & WRITE for _, events in readiness.ready()] == [WRITE]
    finally:
        readiness.close()
        near.close()
        far.close()
