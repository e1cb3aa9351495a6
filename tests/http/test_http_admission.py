"""Who makes room for whom, against a plain model, and over real connections (contract §6)."""

from __future__ import annotations

import gc
import re
import socket
import tracemalloc
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from reference_server.http import express_lane, serve
from reference_server.http.admission import Admission
from reference_server.http.express_lane import ExpressLane
from reference_server.http.lane_clients import Connection
from reference_server.http.settling import Settler
from reference_server.limits import BODY_MAX_BYTES, CHUNKS_AT_ONCE, LANE_ANSWERS_AT_ONCE, LANE_LIMITED_AT_ONCE
from reference_server.wire.values import Request
from tests.http.corpus import BEARER, get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.twins import OWNER, LoopClock, SetClock, enrol, make_api, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.http.certificates import Pair

TRANSPORTS = pytest.mark.parametrize("way", ["lane", "hypercorn", "tls"])
BY_HEAD = pytest.mark.parametrize("way", ["lane", "tls"])
HEALTH = get("/health")
MEBIBYTE = 1024 * 1024
ADDRESSES_MAX, PER_ADDRESS_MAX, BYTES_MAX, CONNECTIONS_MAX = 3, 2, 100, 5


@dataclass(eq=False)
class Visitor:
    """A connection that only notes what becomes of it."""

    admission: Admission
    address: str
    proven: bool = False
    waiting_bytes: int = 0
    gone: bool = False

    def evict(self) -> None:
        """Leave."""
        self.gone = True
        self.admission.leave(self)


@dataclass
class Model:
    """The rules, written down plainly: lists in order of waiting."""

    here: list[Visitor] = field(default_factory=list)
    holding: list[Visitor] = field(default_factory=list)
    bytes_of: dict[int, int] = field(default_factory=dict)

    def strangers(self, address: str | None = None) -> list[Visitor]:
        """List those who have proven nothing, the one to go first in front."""
        return [one for one in self.here if not one.proven and address in (None, one.address)]

    def drop(self, visitor: Visitor) -> None:
        """Forget somebody."""
        self.here.remove(visitor)
        self.bytes_of.pop(id(visitor), None)
        if visitor in self.holding:
            self.holding.remove(visitor)

    def enter(self, visitor: Visitor) -> None:
        """Let somebody in."""
        mates = self.strangers(visitor.address)
        if len(mates) >= PER_ADDRESS_MAX:
            self.drop(mates[0])
        if len(self.here) >= CONNECTIONS_MAX:
            self.drop(self.strangers()[0])
        self.here.append(visitor)

    def hold(self, visitor: Visitor, size: int) -> None:
        """Let bytes wait."""
        before = self.bytes_of.pop(id(visitor), 0)
        if size:
            self.bytes_of[id(visitor)] = size
        if size and not before:
            self.holding.append(visitor)
        elif before and not size:
            self.holding.remove(visitor)
        while sum(self.bytes_of.values()) > BYTES_MAX:
            strangers = [one for one in self.holding if not one.proven]
            self.drop((strangers or self.holding)[0])


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "leave", "prove", "progress", "hold", "hold"]),
        st.integers(0, 30),
        st.integers(0, 60),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@given(ACTIONS)
def test_whoever_has_to_go_is_whom_the_rules_name(actions: list[tuple[str, int, int]]) -> None:
    admission, model = Admission(CONNECTIONS_MAX, PER_ADDRESS_MAX, BYTES_MAX), Model()
    came: list[Visitor] = []
    for action, which, size in actions:
        if action == "enter":
            assert admission.full == (len(model.here) >= CONNECTIONS_MAX and not model.strangers())
            if admission.full:
                continue
            visitor = Visitor(admission, f"address {which % ADDRESSES_MAX}")
            came.append(visitor)
            model.enter(visitor)
            admission.enter(visitor)
        elif model.here:
            visitor = model.here[which % len(model.here)]
            if action == "leave":
                model.drop(visitor)
                visitor.evict()
            elif action == "prove":
                # Bytes of those who are known go after those of the others, in the order in which they were known.
                if visitor in model.holding and not visitor.proven:
                    model.holding.remove(visitor)
                    model.holding.append(visitor)
                admission.prove(visitor)
            elif action == "progress":
                admission.progress(visitor)
                if not visitor.proven:
                    model.here.remove(visitor)
                    model.here.append(visitor)
            else:
                model.hold(visitor, size)
                admission.hold(visitor, size)
        assert [one for one in came if not one.gone] == [one for one in came if one in model.here]
        assert admission.connections == len(model.here) <= CONNECTIONS_MAX
        assert admission.waiting_bytes == sum(model.bytes_of.values()) <= BYTES_MAX
    for visitor in list(model.here):
        visitor.evict()
    assert [admission._unproven, admission._unproven_of, admission._holding_unproven, admission._holding_proven] == [
        {},
        {},
        {},
        {},
    ]


def body_but_a_byte(path: str, *headers: tuple[str, str]) -> bytes:
    """Announce a full body, and send all of it but one byte."""
    request = Request("POST", path, headers=headers, body=b"x" * BODY_MAX_BYTES)
    return written(request)[:-1]


async def is_closed(client: Client) -> bool:
    """Wait until the server has hung up without a word."""
    return await client.rest() == b""


@TRANSPORTS
async def test_bytes_that_wait_are_bounded_and_a_fleet_goes_on(way: str, pair: Pair) -> None:
    """Strangers who leave bodies half-sent drive each other out, the longest-waiting first; a machine stays."""
    api = make_api(waiting_bytes_max=4 * MEBIBYTE, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server, server.client() as honest:
        assert (await honest.ask(machine.heartbeat("first"))).status == 200
        strangers = [await server.connect() for _ in range(8)]
        for stranger in strangers:
            await stranger.send_what_it_takes(body_but_a_byte(machine.path))
            await wait_all_tasks_blocked()
        for stranger in strangers[:4]:
            assert await is_closed(stranger)
        await strangers[-1].send(b"x")
        assert (await strangers[-1].answer("POST")).status == 400
        assert (await honest.ask(machine.heartbeat("last"))).status == 200
        for stranger in strangers:
            await stranger.stream.aclose()


@pytest.fixture
def admissions(monkeypatch: pytest.MonkeyPatch) -> list[Admission]:
    """Tell of the admission of each server that is started."""
    made: list[Admission] = []

    def telling(*given: int) -> Admission:
        made.append(Admission(*given))
        return made[-1]

    monkeypatch.setattr(serve, "Admission", telling)
    return made


@BY_HEAD
async def test_a_body_whose_head_suffices_is_read_past_and_never_kept(
    admissions: list[Admission], way: str, pair: Pair
) -> None:
    """However many owners' requests without the token wait with their bodies half-sent, no byte of them stays."""
    api = make_api(**pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=True) as server:
        strangers = [await server.connect() for _ in range(4)]
        for stranger in strangers:
            await stranger.send(body_but_a_byte("/api/v1/policies"))
            assert (await stranger.answer("POST")).status == 401
        await wait_all_tasks_blocked()
        assert admissions[-1].waiting_bytes == 0
        for stranger in strangers:
            await stranger.send(b"x" + written(HEALTH))
            assert (await stranger.answer()).status == 200
        owner = await server.connect()
        await owner.send(body_but_a_byte("/api/v1/policies", *BEARER))
        await wait_all_tasks_blocked()
        with trio.fail_after(PATIENCE_SECONDS):
            while admissions[-1].waiting_bytes < BODY_MAX_BYTES - 1:
                await wait_all_tasks_blocked()
        for client in [*strangers, owner]:
            await client.stream.aclose()


@BY_HEAD
async def test_a_body_that_is_not_wanted_is_not_asked_for(way: str, pair: Pair) -> None:
    """Whoever waits for consent to send gets the refusal instead, and the connection ends: nothing is ambiguous."""
    api = make_api(**pair.settings_of(way))
    async with serving(api, LoopClock(), express_lane=True) as server, server.client() as client:
        head = written(Request("POST", "/api/v1/policies", body=b"x"), "Expect: 100-continue")[:-1]
        await client.send(head)
        answer = await client.next_response("POST")
        assert (answer.status, answer.header("connection")) == (401, "close")
        assert await is_closed(client)


@TRANSPORTS
async def test_connections_of_one_address_that_prove_nothing_are_bounded(way: str, pair: Pair) -> None:
    """The oldest goes; those on which a machine or an owner was recognised do not count, and stay."""
    api = make_api(unproven_connections_per_address=3, **pair.settings_of(way))
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=way != "hypercorn") as server:
        fleet = [await server.connect() for _ in range(3)]
        for number, client in enumerate(fleet):
            asked = machine.heartbeat(f"n{number}") if number else get("/api/v1/workers/summary", OWNER)
            assert (await client.ask(asked)).status == 200
        strangers = [await server.connect() for _ in range(5)]
        for stranger in strangers[:2]:
            assert await is_closed(stranger)
        for stranger in strangers[2:]:
            assert (await stranger.ask(HEALTH)).status == 200
        for number, client in enumerate(fleet):
            assert (await client.ask(machine.heartbeat(f"m{number}"))).status == 200
        for client in fleet + strangers:
            await client.stream.aclose()


@TRANSPORTS
async def test_a_stranger_who_was_answered_outlasts_one_who_says_nothing(way: str, pair: Pair) -> None:
    api = make_api(unproven_connections_per_address=2, **pair.settings_of(way))
    async with (
        serving(api, LoopClock(), express_lane=way != "hypercorn") as server,
        server.client() as asking,
        server.client() as silent,
    ):
        assert (await asking.ask(HEALTH)).status == 200
        async with server.client() as third:
            assert await is_closed(silent)
            assert (await third.ask(HEALTH)).status == 200
            assert (await asking.ask(HEALTH)).status == 200


@pytest.fixture
async def seen(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Server, list[weakref.ref[Connection]]]]:
    """Serve with a lane, and tell of each of its connections."""
    made: list[weakref.ref[Connection]] = []

    class Seen(Connection):
        """A connection that can be told of without being kept."""

        __slots__ = ("__weakref__",)

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(weakref.ref(self))

    monkeypatch.setattr(express_lane, "Connection", Seen)
    async with serving(make_api(), LoopClock(), express_lane=True) as server:
        yield server, made


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        written(HEALTH),
        body_but_a_byte("/api/v1/policies"),
        body_but_a_byte("/api/v1/workers/wrk_0/heartbeat"),
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        written(HEALTH, "Connection: close"),
    ],
    ids=[
        "nothing",
        "a byte",
        "a request",
        "a body to be read past",
        "a body to be kept",
        "a refusal",
        "a last request",
    ],
)
async def test_a_client_that_leaves_leaves_nothing_that_only_a_collector_finds(
    seen: tuple[Server, list[weakref.ref[Connection]]], sent: bytes
) -> None:
    server, made = seen
    gc.collect()
    gc.disable()
    try:
        client = await server.connect()
        await client.send_what_it_takes(sent)
        with trio.fail_after(PATIENCE_SECONDS):
            while not made:
                await wait_all_tasks_blocked()
            await client.stream.aclose()
            while made[0]() is not None:
                await wait_all_tasks_blocked(0.01)
    finally:
        gc.enable()


class Lane:
    """A lane whose rounds are played by hand, and clients at the other ends of its connections."""

    def __init__(self, **settings: float) -> None:
        self.api = make_api(**settings)
        self.admission = Admission(999, 999, 64 * MEBIBYTE)
        clock = SetClock()
        self.lane = ExpressLane(self.api, clock, self.api.settings, self.admission, Settler(self.api, clock))
        self.clients: list[socket.socket] = []

    def connect(self, address: str) -> socket.socket:
        """Connect from an address."""
        near, far = socket.socketpair()
        near.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        far.setblocking(False)  # noqa: FBT003 - the same
        self.lane._welcome(far, address)
        self.clients.append(near)
        return near

    async def play(self) -> None:
        """Play one round."""
        await self.lane._turns.take(self.lane._go_on, self.lane._resume)

    def close(self) -> None:
        """Close everything."""
        self.lane.close()
        for client in self.clients:
            client.close()


@pytest.fixture
def lane() -> Iterator[Lane]:
    """A lane in which an address may ask once."""
    lane = Lane(rate_limit_burst=1, rate_limit_refill_per_second=0.001)
    yield lane
    lane.close()


def statuses(client: socket.socket) -> list[int]:
    """Take the answers that are there."""
    taken = b""
    with suppress(BlockingIOError):
        while part := client.recv(65_536):
            taken += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", taken)]


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
    told = dict.fromkeys(over, 0)
    for turn in range(6):
        within = lane.connect(f"192.0.2.{turn + 2}")
        for client in [*over, within]:
            client.send(written(HEALTH))
        await lane.play()
        assert statuses(within) == [200]
        for client in over:
            told[client] += len(statuses(client))
    assert sum(told.values()) == 6 * LANE_LIMITED_AT_ONCE
    assert set(told.values()) == {2}


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
        tracemalloc.start()
        try:
            for client in clients:
                rest = memoryview(sent)
                while rest:
                    with suppress(BlockingIOError):
                        rest = rest[client.send(rest) :]
                    await lane.play()
            cost = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        counted = lane.admission.waiting_bytes
        assert cost <= 1.5 * counted + 20 * 4_096
        lane.close()
        lane = Lane()
        clients = [lane.connect("192.0.2.1") for _ in range(20)]
    lane.close()
