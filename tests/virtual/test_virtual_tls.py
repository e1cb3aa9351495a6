"""TLS in virtual time: the lane serves HTTP/1.1 in it, HTTP/2 is HTTP/2, and no draw of OpenSSL's changes a run."""

from __future__ import annotations

import ssl
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from h2.exceptions import ProtocolError

from reference_server.wire.values import Request
from simulator.attacks.script import Expect, Wire
from simulator.client.raw import exchange_raw
from simulator.client.target import TargetError
from simulator.contract.answers import Answer
from simulator.deployment import certificate
from simulator.history.tables import history_digest
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.virtual import tls_contexts
from simulator.worlds.virtual import world as virtual_world
from simulator.worlds.virtual.end_stream import READ
from simulator.worlds.virtual.scheduling import run_seeded
from simulator.worlds.virtual.tls_end import TlsEnd
from simulator.worlds.virtual.world import VirtualWorld, seeded_token
from tests.http.http2_client import Http2Client
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import planted
from tests.virtual.small_run import play
from tests.virtual.test_virtual_runs import BESIDE, SHORT
from tests.virtual.tiny_runs import FAULTY, SCENARIO, play_tiny

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from simulator.attacks.script import WireOutcome
    from simulator.worlds.virtual.network import End
    from tests.http import serving

TLS = "[server]\ntls = true\n"
SHORT_SECURE = SHORT.replace("[server.settings]", TLS + "[server.settings]")
TINY_SECURE = SCENARIO.replace("[fleet]", TLS + "[fleet]")
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTH = Request("GET", "/health")
FRAME_TYPE, GOAWAY = slice(3, 4), b"\x07"
"""Where a frame says what it is (RFC 9113 §4.1), and that it is the last (§6.8)."""
OPENING = "reference_server.http.opening"
HANDED_OVER = "self._lane.welcome(socket, guest.client, tls)"


def in_world(act: Callable[[VirtualWorld], Awaitable[Any]], **settings: str) -> Any:
    """Return what comes of acting in a world whose server speaks TLS."""
    world = VirtualWorld(1, seeded_token(1), settings, tls=True)

    async def work() -> Any:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.server.run)
            done = await act(world)
            nursery.cancel_scope.cancel()
        return done

    try:
        return run_seeded(work, seed=1, clock=world.clock)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def stream_of_http2(world: VirtualWorld) -> Any:
    """Connect, and agree on HTTP/2."""
    target = world.target
    assert target.http2 is not None
    plain = await world.network.connect(target, None, target.port)
    stream = trio.SSLStream(plain, target.http2, server_hostname=target.host, https_compatible=True)
    await stream.do_handshake()
    assert stream.selected_alpn_protocol() == "h2"
    return stream


async def asked_by_http2(world: VirtualWorld, requests: tuple[Request, ...] = (HEALTH,)) -> list[serving.Answer]:
    """Return how requests are answered on one connection."""
    client = Http2Client(await stream_of_http2(world))
    return [await client.ask(request) for request in requests]


def test_what_was_refused_is_played_and_http2_is_tried() -> None:
    played = play(1, SHORT_SECURE + BESIDE)
    assert played.code == 0, played.printed
    campaigns = {one.attack: one for one in played.history.campaigns}
    assert campaigns["strain.rapid-reset"].completed > 0
    assert campaigns["tls.spoofed-proto"].completed > 0  # over plain HTTP, beside the first


def test_http2_is_http2_up_to_an_answer_that_waits_for_the_disk() -> None:
    body = msgspec.json.encode({"owner_id": "ada", "name": "rack"})
    token = ("authorization", f"Bearer {seeded_token(1)}")
    register = Request(
        "POST", "/v1/machines/register", headers=(token, ("content-type", "application/json")), body=body
    )

    async def ask(world: VirtualWorld) -> list[serving.Answer]:
        return await asked_by_http2(world, (HEALTH, register, HEALTH))

    assert [one.status for one in in_world(ask)] == [200, 201, 200]
    assert [one.status for one in in_world(ask, HATCHFARM_STATE_FILE="/state.json")] == [200, 201, 200]


def test_a_client_that_half_closes_is_through_at_once_in_tls_too() -> None:
    """A server that was not told would wait for the rest, by its deadline for that."""
    cut = Wire(((GET[:-1], 0.0),), Expect(Answer.REFUSED, (0,)), "half-close", patience_seconds=60)

    async def act(world: VirtualWorld) -> tuple[WireOutcome, float]:
        began = trio.current_time()
        outcome = await exchange_raw(world.target, None, cut, lambda: 0)
        return outcome, trio.current_time() - began

    outcome, seconds = in_world(act)
    assert (outcome.connected, outcome.closed) == (True, True)
    assert seconds < 1


@pytest.mark.parametrize(("fault", "last"), [("stop", GOAWAY), ("kill", b"")])
def test_a_server_that_ends_ends_its_connections_of_http2(fault: str, last: bytes) -> None:
    """In order with a word about it, and without one where it is killed."""

    async def act(world: VirtualWorld) -> bytes:
        stream = await stream_of_http2(world)
        client = Http2Client(stream)
        assert (await client.ask(HEALTH)).status == 200
        with trio.fail_after(3):  # it waits for nobody, but for who does not see the end
            await getattr(world.server, fault)()
        assert stream.transport_stream.end.peer.closed  # before any of its tasks has had a turn
        frame = b""
        with trio.fail_after(1):
            while data := await stream.receive_some():
                frame = bytes(data)
        return frame[FRAME_TYPE]

    assert in_world(act) == last


def test_whoever_comes_once_a_server_was_cut_off_finds_it_closed() -> None:
    """As machines do that were to connect when somebody interrupted the run."""
    world = VirtualWorld(1, seeded_token(1), {"WORKER_STATUS_STATE_FILE": ""}, tls=True)

    async def work() -> tuple[list[bool], bool]:
        async with trio.open_nursery() as nursery:
            await nursery.start(world.server.run)
            nursery.cancel_scope.cancel()
        taken = list[bool]()
        end = world.network.dial(None, world.target.port, taken.append)
        await trio.sleep(1)
        return taken, end.ended or end.reset

    assert run_seeded(work, seed=1, clock=world.clock) == ([True], True)


def test_a_handshake_that_is_not_ended_is_not_waited_for_longer_than_a_head() -> None:
    async def act(world: VirtualWorld) -> float:
        plain = await world.network.connect(world.target, None, world.target.port)
        await plain.send_all(b"\x16\x03\x01")
        began = trio.current_time()
        assert await plain.receive_some() == b""
        return trio.current_time() - began

    assert in_world(act, HTTP_HEADER_TIMEOUT_SECONDS="3") == pytest.approx(3, abs=0.1)


def large(folder: Path, now: dt.datetime, *, make: Callable[..., certificate.OwnCertificate]) -> Any:
    """Make a certificate whose signatures are several times as long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ec, "generate_private_key", lambda _curve: rsa.generate_private_key(65_537, 2048))
        return make(folder, now)


def test_no_moment_depends_on_how_long_keys_and_signatures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = (TINY_SECURE, FAULTY[2])
    one, again = ([history_digest(play_tiny(1, text)) for text in texts] for _ in range(2))
    monkeypatch.setattr(tls_contexts, "make_certificate", partial(large, make=certificate.make_certificate))
    assert one == again == [history_digest(play_tiny(1, text)) for text in texts]


def test_a_history_says_nothing_of_tls_but_when_things_were() -> None:
    """As many heartbeats as without, all of them accepted: a round trip later, where a connection is new."""
    plain, secure = (play_tiny(1, text).rows() for text in (SCENARIO, TINY_SECURE))
    assert len(plain) == len(secure)
    assert (plain["got"] == secure["got"]).mean() > 0.9


def test_a_server_whose_certificate_nobody_signed_for_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> tls_contexts.TlsContexts:
        ours, others = tls_contexts.make_contexts(), tls_contexts.make_contexts()
        return msgspec.structs.replace(ours, server=others.server)

    monkeypatch.setattr(virtual_world, "make_contexts", make)
    assert "its certificate is not trusted" in unreachable()


def unreachable() -> str:
    """Return why a run's server cannot be reached."""
    try:
        played = play(1, SHORT_SECURE)
    except BaseExceptionGroup as group:
        (error,) = leaf_errors(group)
        assert isinstance(error, TargetError)
        return str(error)
    return f"it could be: {played.printed}"


@pytest.mark.parametrize(
    "edit",
    [
        Edit(OPENING, "Opening.serve", HANDED_OVER, HANDED_OVER.replace("tls", "None")),
        Edit(OPENING, "Opening.serve", "if socket is not None:", "if socket is None:"),
        Edit("reference_server.http.guests", "Guest.leave", "self.left = True", "self.left = False"),
        Edit("reference_server.http.tls_socket", "TlsSocket.shake_hands", "return True", "return False"),
    ],
)
def test_a_broken_hand_over_to_the_lane_is_noticed(edit: Edit) -> None:
    with planted((edit,)):
        assert "cannot be reached" in unreachable()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('if protocol == "h2":', "if protocol is None:"),
        ("await self._serve_http2(guest, stream)", "await trio.lowlevel.checkpoint()"),
    ],
)
def test_a_broken_hand_over_to_http2_is_noticed(old: str, new: str) -> None:
    """By who speaks it: to the lane its first bytes are a bad request, and without anybody they are not answered."""
    with planted((Edit(OPENING, "Opening.serve", old, new),)), pytest.raises((AssertionError, ProtocolError)):
        in_world(asked_by_http2)


def test_a_client_that_ends_tls_behind_its_request_is_answered_and_then_closed() -> None:
    async def act(world: VirtualWorld) -> tuple[bytes, float]:
        target = world.target
        assert target.tls is not None
        plain = await world.network.connect(target, None, target.port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = target.tls.wrap_bio(incoming, outgoing, server_hostname=target.host)
        with suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        await plain.send_all(outgoing.read())
        incoming.write(await plain.receive_some())
        tls.do_handshake()
        tls.write(GET)
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        await plain.send_all(outgoing.read())
        while data := await plain.receive_some():
            incoming.write(data)
        return tls.read(), trio.current_time()

    answer, seconds = in_world(act)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert seconds < 1


def test_an_end_inside_tls_gives_all_that_came_and_ends_where_it_is_cut_off() -> None:
    async def act(world: VirtualWorld) -> list[bytes]:
        target = world.target
        assert target.tls is not None
        up = trio.Event()
        plain: End = world.network.dial(None, target.port, lambda _taken: up.set())
        await up.wait()
        end = TlsEnd(plain, target.tls, target.host)
        looked: list[bytes] = []
        shaken = False

        def look(_events: int) -> None:
            nonlocal shaken
            if not shaken:
                shaken = end.shake_hands()
                if shaken:
                    end.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                return
            try:
                looked.append(end.recv(16))
            except BlockingIOError:
                looked.append(b"nothing yet")

        plain.look = look
        plain.watch(READ)
        assert not end.shake_hands()
        await trio.sleep(10)
        end.close()
        return looked

    answer, *rest = in_world(act)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\n\r\n{" in answer
    assert rest == [b""]
