"""Attacks that strain a server find nothing on a right one, and each finds the server that it is there to find."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamReset
from h2.exceptions import ProtocolError

from simulator.attacks import strain_http2
from simulator.attacks.defences import Defences
from simulator.client.raw import speaks_http2
from simulator.client.target import parse_target
from simulator.contract.answers import Answer, Operation
from simulator.history.records import GeneratorSample
from simulator.history.rows import History
from simulator.limits import UNFINISHED_BLOCK_FRAMES
from tests.attacks.live import play_live, play_patiently, well_behaved, written, wrong_server
from tests.attacks.playing import World, script_attack
from tests.simulator.conftest import API_TOKEN, serving, sockets_closed_after
from tests.support.beside import side_by_side
from tests.support.certificates import make_pair
from tests.support.trying import tried_again_alone, tried_again_where_undecided
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from reference_server.operations.api import Api
    from reference_server.wire.values import Instant, Reply, Request
    from simulator.client.target import Target
    from tests.attacks.live import Connection, Played, Talk
    from tests.support.certificates import Pair

WHOLE = ["strain.slashes", "strain.regex", "strain.flood", "strain.headers"]
"""Attacks with whole requests, each of which must be answered or closed."""
HELD = ["strain.bodies", "strain.connects", "strain.slow-read"]
LIMITS = {"rate_limit_burst": 20, "rate_limit_refill_per_second": 5.0}
STALL_SECONDS = 0.6
PLAIN_MAX_BYTES = 1_000
PLAIN_CONNECTIONS_MAX = 8
STEP_NS = 10_000_000
NOISE = 60
STREAMS = 200


BRIEF = {
    "seconds": 0.6, "probe_seconds": 0.1, "newcomer_after_seconds": 0.1, "spread_seconds": 0.1,
}  # fmt: skip
NUMBERS: dict[str, dict[str, Any]] = {
    "strain.slashes": {"slashes": 1_200},
    "strain.bodies": {"connections": 12, "waiting": 6},
    "strain.connects": {"connections": 20},
    "strain.headers": {"connections": 10, "small_headers": 300},
    "strain.slow-read": {"connections": 4, "pipelined": 200},
    "strain.flood": {"requests": 50, "clients": 16},
    "strain.regex": {"quoted_pairs": 400, "digits": 1_200},
    "strain.rapid-reset": {"streams": STREAMS},
}
"""Hundreds of bytes, and tenths of a second, in place of thousands and of seconds."""
IMPATIENT = {"probe_max_seconds": STALL_SECONDS / 2, "patience_seconds": STALL_SECONDS}
"""Only a moment for what a wrong server never does."""


async def play_small(
    name: str, target: Target, *, how: Mapping[str, Any] = MappingProxyType({}), **more: Any
) -> Played:
    """Play an attack with little of everything."""
    return await play_live(name, target, numbers={**BRIEF, **NUMBERS[name], **how}, **more)


def is_plain(connection: Connection) -> bool:
    """Return whether a client is like the honest ones: few, and brief."""
    return len(connection.unread) <= PLAIN_MAX_BYTES and connection.number <= PLAIN_CONNECTIONS_MAX


async def answer_whole(connection: Connection) -> bool:
    """Answer what has come whole, and wait for nothing. False once the client has had its last answer."""
    while b"\r\n\r\n" in connection.unread and (message := await connection.message()):
        await connection.send(connection.handle(message))
        if b"Connection: close" in message:
            return False
    return True


# --- a right server


@pytest.mark.parametrize("name", [*WHOLE, *HELD])
@tried_again_where_undecided
async def test_nothing_is_found_on_a_right_server_and_no_socket_stays(name: str) -> None:
    async with serving(**LIMITS) as (_, target), sockets_closed_after():
        numbers = {**BRIEF, **NUMBERS[name]}
        (await play_patiently(name, target, numbers=numbers)).see_that_all_is_well()


# --- servers that are wrong


def taking_long() -> Talk:
    """Serve everybody in turn, and take long over whatever is not plain."""
    turn = trio.Lock()

    async def talk(connection: Connection) -> None:
        while await connection.more():
            async with turn:
                if not is_plain(connection):
                    await trio.sleep(STALL_SECONDS)
                    return
                if not await answer_whole(connection):
                    return

    return talk


@pytest.mark.parametrize("name", [*WHOLE, *HELD])
@side_by_side
async def test_a_server_that_stalls_for_everybody_is_found(name: str) -> None:
    async with wrong_server(taking_long()) as target:
        played = await play_small(name, target, how=IMPATIENT)
    assert "honest-served" in played.broken, played.stated


@pytest.mark.parametrize("name", ["strain.connects", "strain.bodies"])
@tried_again_alone
async def test_a_server_whose_places_are_all_taken_by_one_address_is_found(name: str) -> None:
    """Whoever was there before is served; the honest client that comes in the middle is not."""
    places = trio.CapacityLimiter(6)

    async def crowded(connection: Connection) -> None:
        await places.acquire_on_behalf_of(connection)
        try:
            while await connection.more():
                if not is_plain(connection):
                    await trio.sleep(STALL_SECONDS)
                elif not await answer_whole(connection):
                    return
        finally:
            places.release_on_behalf_of(connection)

    async with wrong_server(crowded) as target:
        played = await play_small(name, target, how=IMPATIENT)
    assert "honest-served" in played.broken, played.stated


async def deaf(connection: Connection, *, late_seconds: float = 0.0) -> None:
    """Answer what is plain, and leave the rest without an answer."""
    while await connection.more():
        if len(connection.unread) > PLAIN_MAX_BYTES:
            await trio.sleep_forever()
        await trio.sleep(late_seconds)
        if not await answer_whole(connection):
            return


@pytest.mark.parametrize("name", WHOLE)
@side_by_side
async def test_a_server_that_leaves_whole_requests_without_an_answer_is_found(name: str) -> None:
    async with wrong_server(deaf) as target:
        played = await play_small(name, target, how=IMPATIENT)
    assert played.broken == {"all-answered"}, played.stated


@tried_again_alone
async def test_a_server_without_a_rate_limit_is_found() -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_small("strain.flood", target)
    assert "limited" in played.broken, played.stated


@tried_again_alone
async def test_a_server_that_finds_something_at_a_path_of_slashes_is_found() -> None:
    async def obliging(connection: Connection) -> None:
        while await connection.message():
            await connection.send(written(200))

    async with wrong_server(obliging) as target:
        played = await play_small("strain.slashes", target, how=IMPATIENT)
    rows = played.history.rows()
    assert played.wrong == int(((rows["got"] == Answer.ACCEPTED) & (rows["expected"] == Answer.REFUSED)).sum()) == 15
    assert sum(bool(one.expected) for one in played.history.exchanges) == played.wrong, "each wrong answer is evidence"


# --- who is not accused


async def test_where_all_share_one_address_its_limits_say_nothing_about_honest_clients() -> None:
    async with wrong_server(taking_long()) as target:
        played = await play_small(
            "strain.slashes", msgspec.structs.replace(target, own_addresses=False), own_addresses=False, how=IMPATIENT
        )
    assert played.claims["honest-served"] == [None], played.stated


@pytest.mark.parametrize(("lag_ns", "held"), [(300_000_000, None), (200_000_000, False)])
@tried_again_alone
async def test_a_harness_that_was_late_itself_accuses_nobody(lag_ns: int, *, held: bool | None) -> None:
    history = History()
    history.generator = [GeneratorSample(number * STEP_NS, lag_ns, 0.1, 0) for number in range(1000)]
    async with wrong_server(taking_long()) as target:
        played = await play_small("strain.regex", target, history=history, how=IMPATIENT)
    played.see_that_none_is_accused(*(["honest-served"] if held is None else []))
    assert played.claims["honest-served"] == [held], played.stated


@pytest.mark.parametrize(("busy_seconds", "held"), [(0.02, None), (5.0, False)])
@tried_again_alone
async def test_a_server_that_keeps_honest_clients_waiting_too_is_not_called_deaf(
    busy_seconds: float, *, held: bool | None
) -> None:
    how = {**IMPATIENT, "busy_seconds": busy_seconds, "probe_max_seconds": PATIENCE_SECONDS}
    async with wrong_server(lambda connection: deaf(connection, late_seconds=0.05)) as target:
        played = await play_small("strain.regex", target, how=how)
    played.see_that_none_is_accused("honest-served", *(["all-answered"] if held is None else []))
    assert played.claims == {"honest-served": [True], "all-answered": [held]}, played.stated


async def test_under_a_limit_raised_out_of_reach_nothing_is_said_about_it() -> None:
    async with wrong_server(well_behaved) as target:
        played = await play_small("strain.flood", target, defences=Defences(burst=100_000))
    assert played.claims["limited"] == [None], played.stated


# --- HTTP/2


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A certificate for `localhost`, and its key."""
    return make_pair(tmp_path)


def over_tls(target: Target, pair: Pair) -> Target:
    """Trust a pair's certificate."""
    return msgspec.structs.replace(
        target, scheme="https", host="localhost", tls=pair.context("http/1.1"), http2=pair.context("h2")
    )


@tried_again_where_undecided
async def test_streams_that_are_reset_find_nothing_on_a_right_server(pair: Pair) -> None:
    async with serving(**LIMITS, **pair.settings) as (_, target), sockets_closed_after():
        numbers = {**BRIEF, **NUMBERS["strain.rapid-reset"]}
        played = await play_patiently("strain.rapid-reset", over_tls(target, pair), numbers=numbers)
        played.see_that_all_is_well()
    sent = played.history.rows()
    assert len(sent) == 2 + 3 * strain_http2.CONNECTIONS


async def test_streams_are_not_reset_where_nobody_speaks_http_2() -> None:
    async with serving(**LIMITS) as (_, target):
        played = await play_small("strain.rapid-reset", target)
    assert played.campaign.not_tried == "it needs a target that speaks HTTP/2, over TLS"
    assert (played.campaign.fired, len(played.history)) == (0, 0)


def speaking(pair: Pair, *protocols: str) -> ssl.SSLContext:
    """Serve as a pair's owner, in these protocols."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols(list(protocols))
    return context


@asynccontextmanager
async def busy_with_streams(context: ssl.SSLContext) -> AsyncIterator[Target]:
    """Serve HTTP/1.1 plainly, and nobody else while streams of HTTP/2 come."""
    turn = trio.Lock()

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            http2 = stream.selected_alpn_protocol() == "h2"
            while await stream.receive_some(65_536):
                async with turn:
                    if http2:
                        await trio.sleep(STALL_SECONDS)
                    else:
                        await stream.send_all(written(200))

    async with trio.open_nursery() as nursery:
        serve_all = partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
        listeners = await nursery.start(serve_all)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        yield parse_target(f"https://127.0.0.1:{port}", API_TOKEN)
        nursery.cancel_scope.cancel()


@tried_again_alone
async def test_a_server_that_is_busy_with_streams_that_were_reset_is_found(pair: Pair) -> None:
    async with busy_with_streams(speaking(pair, "h2", "http/1.1")) as target:
        played = await play_small("strain.rapid-reset", over_tls(target, pair), how=IMPATIENT)
    assert played.broken == {"honest-served"}, played.stated


async def test_a_target_with_tls_alone_does_not_speak_http_2(pair: Pair) -> None:
    async with busy_with_streams(speaking(pair, "http/1.1")) as target:
        assert not await speaks_http2(over_tls(target, pair))


def test_each_stream_is_a_whole_request_that_is_taken_back() -> None:
    """As h2 reads it, which knows the protocol better than these bytes do."""
    world = World()
    attack = script_attack("strain.rapid-reset", NUMBERS["strain.rapid-reset"])
    assert isinstance(attack, strain_http2.RapidReset)
    wires = attack.held(world.context)
    assert len(wires) == 3 * strain_http2.CONNECTIONS
    server = H2Connection(H2Configuration(client_side=False))
    events = [event for part, _ in wires[0].parts for event in server.receive_data(part)]
    requests = [dict(one.headers) for one in events if isinstance(one, RequestReceived)]
    assert len(requests) == sum(isinstance(one, StreamReset) for one in events) == STREAMS
    host = world.context.host.encode()
    wanted = {b":method": b"GET", b":scheme": b"https", b":path": b"/health", b":authority": host}
    assert all(one == wanted for one in requests)


# --- strangers who would turn an owner's audit over


def test_what_an_owner_did_stays_beside_noise_that_its_streams_have_room_for() -> None:
    performance = World({"audit_events_per_stream": 10 * NOISE}).play("strain.audit-turn", events=NOISE)
    assert [stated.held for stated in performance.stated] == [True, True]
    assert not performance.wrong
    noise = [one for one in performance.outcomes if one.expect.answer is Answer.MISSING_FIELDS]
    assert len(noise) == NOISE


def test_a_stream_that_strangers_can_turn_over_is_found() -> None:
    """The events of what an owner did are gone once so many others have come."""
    heard = 0

    def answer(api: Api, request: Request, now: Instant) -> Reply:
        nonlocal heard
        heard += request.path.endswith("/heartbeat")
        reply = api.handle(request, now)
        if b"consent_created" in request.query.encode() and heard >= NOISE:
            page = msgspec.json.decode(reply.body)
            page["data"]["total"] -= 1
            return msgspec.structs.replace(reply, body=msgspec.json.encode(page))
        return reply

    performance = World(answer=answer).play("strain.audit-turn", events=NOISE)
    assert [stated.rule for stated in performance.broken] == ["nothing-lost"]


def test_noise_in_a_workers_name_is_told_as_its_own() -> None:
    """So that the alerts and the audit are judged by it."""
    world = World()
    world.play("strain.audit-turn", events=NOISE)
    rows = world.history.rows()
    noise = rows[rows["expected"] == Answer.MISSING_FIELDS]
    assert set(noise["operation"]) == {Operation.HEARTBEAT}
    assert len(set(noise["machine"])) == 1
    assert noise["machine"][0] in world.history.machines


def test_blocks_never_end_or_repeat_a_long_field() -> None:
    """As h2 reads them: nothing of the first, and of the second more than it takes."""
    wires = strain_http2.RapidReset().held(World().context)
    unfinished, repeated = (wires[number * strain_http2.CONNECTIONS].parts for number in (1, 2))
    assert sum(len(part) for part, _ in unfinished) > 10 * UNFINISHED_BLOCK_FRAMES
    patient = H2Connection(H2Configuration(client_side=False))
    begun = b"".join(part for part, _ in unfinished)[: 24 + 9 + 9 + 60]
    assert not any(isinstance(one, RequestReceived) for one in patient.receive_data(begun))
    with pytest.raises(ProtocolError, match="Oversized header block"):
        H2Connection(H2Configuration(client_side=False)).receive_data(b"".join(part for part, _ in repeated))
