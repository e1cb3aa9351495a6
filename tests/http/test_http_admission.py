"""Who makes room for whom, against a plain model, and over real connections (contract §6)."""

from __future__ import annotations

import gc
import socket
import weakref
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
from reference_server.limits import BODY_MAX_BYTES, LANE_LIMITED_AT_ONCE
from reference_server.wire.values import Request
from tests.http.corpus import BEARER, get
from tests.http.serving import PATIENCE_SECONDS, Client, Server, serving
from tests.http.twins import OWNER, LoopClock, SetClock, enrol, make_api, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TRANSPORTS = pytest.mark.parametrize("express_lane", [True, False], ids=["lane", "hypercorn"])
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
async def test_bytes_that_wait_are_bounded_and_a_fleet_goes_on(*, express_lane: bool) -> None:
    """Strangers who leave bodies half-sent drive each other out, the longest-waiting first; a machine stays."""
    api = make_api(waiting_bytes_max=4 * MEBIBYTE)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=express_lane) as server, server.client() as honest:
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


async def test_a_body_whose_head_suffices_is_read_past_and_never_kept(admissions: list[Admission]) -> None:
    """However many owners' requests without the token wait with their bodies half-sent, no byte of them stays."""
    api = make_api()
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


async def test_a_body_that_is_not_wanted_is_not_asked_for() -> None:
    """Whoever waits for consent to send gets the refusal instead, and the connection ends: nothing is ambiguous."""
    async with serving(make_api(), LoopClock(), express_lane=True) as server, server.client() as client:
        head = written(Request("POST", "/api/v1/policies", body=b"x"), "Expect: 100-continue")[:-1]
        await client.send(head)
        answer = await client.next_response("POST")
        assert (answer.status, answer.header("connection")) == (401, "close")
        assert await is_closed(client)


@TRANSPORTS
async def test_connections_of_one_address_that_prove_nothing_are_bounded(*, express_lane: bool) -> None:
    """The oldest goes; those on which a machine or an owner was recognised do not count, and stay."""
    api = make_api(unproven_connections_per_address=3)
    machine = enrol(api)
    async with serving(api, LoopClock(), express_lane=express_lane) as server:
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


async def test_a_stranger_who_was_answered_outlasts_one_who_says_nothing() -> None:
    async with (
        serving(make_api(unproven_connections_per_address=2), LoopClock(), express_lane=True) as server,
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


async def test_whoever_is_over_the_limit_is_refused_after_everybody_else() -> None:
    """In each turn of the lane those within the limit are all served, but only some of those over it."""
    api, clock = make_api(rate_limit_burst=1, rate_limit_refill_per_second=0.001), SetClock()
    lane = ExpressLane(api, clock, api.settings, Admission(99, 99, MEBIBYTE), Settler(api, clock))
    clients = {}
    for number in range(2 * LANE_LIMITED_AT_ONCE):
        for kind, client in (("over", "192.0.2.1"), ("within", f"192.0.2.{number + 2}")):
            near, far = socket.socketpair()
            near.setblocking(False)  # noqa: FBT003 - the socket API's own flag
            far.setblocking(False)  # noqa: FBT003 - the same
            lane._welcome(far, client)
            clients[near] = kind
    over = [near for near, kind in clients.items() if kind == "over"]
    for statuses in ([200] + [429] * (len(over) - 1), [429] * len(over)):
        for near in over:
            near.send(written(HEALTH))
            await lane._turns.take(lane._go_on, lane._resume)
        assert [int(near.recv(65_536)[9:12]) for near in over] == statuses
    for near in clients:
        near.send(written(HEALTH))
    await lane._turns.take(lane._go_on, lane._resume)
    served = [kind for near, kind in clients.items() if readable(near)]
    assert (served.count("within"), served.count("over")) == (2 * LANE_LIMITED_AT_ONCE, LANE_LIMITED_AT_ONCE)
    await lane._turns.take(lane._go_on, lane._resume)
    assert all(map(readable, over))
    lane.close()
    for near in clients:
        near.close()


def readable(client: socket.socket) -> bool:
    """Say whether an answer is there."""
    try:
        return bool(client.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
