"""Playing an attack over real sockets, against the real server or one that is wrong on purpose."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.attacks.defences import Defences
from simulator.attacks.script import ScriptContext
from simulator.checkers.attacks import FAULT
from simulator.checkers.judging import judge_answers
from simulator.client.target import parse_target
from simulator.history.rows import History
from simulator.scenario.kinds import Duration
from simulator.scenario.values import AttackOptions
from simulator.worlds.live.world import LIVE
from simulator.worlds.plan import Campaign
from simulator.worlds.players.scripts import ScriptPlayer
from simulator.worlds.progress import Progress
from tests.attacks.playing import read_request, script_attack
from tests.simulator.conftest import API_TOKEN, WatchedApi, sockets_closed_after
from tests.support.trying import UndecidedError
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from simulator.client.target import Target

    Talk = Callable[["Connection"], Awaitable[None]]

OPEN = {"rate_limit_burst": 1_000_000, "rate_limit_refill_per_second": 1e6}


class Played(NamedTuple):
    """What one attempt left: the history, and the campaign with what became of it."""

    history: History
    campaign: Campaign

    @property
    def claims(self) -> dict[str, list[bool | None]]:
        """Return what each rule said, in order."""
        claims: dict[str, list[bool | None]] = {}
        for claim in self.history.claims:
            claims.setdefault(claim.rule, []).append(claim.held)
        return claims

    @property
    def broken(self) -> set[str]:
        """Name the rules that did not hold."""
        return {rule for rule, held in self.claims.items() if False in held}

    @property
    def stated(self) -> str:
        """Return all messages, for a failing test to show."""
        return "\n".join(f"{one.rule} {one.held}: {one.message}" for one in self.history.claims)

    @property
    def wrong(self) -> int:
        """Count the rows whose answer was wrong."""
        judged, allowed = judge_answers(self.history.rows())
        return int((judged & ~allowed).sum())

    def see_that_all_is_well(self, undecided: frozenset[str] = frozenset()) -> None:
        """See that the attempt was played to its end, and that every claim and answer was right.

        Raises UndecidedError where of more than of `undecided` nothing could be told: only then it may be tried again.
        """
        assert not self.broken, self.stated
        assert not self.wrong, self.stated
        assert self.claims
        assert FAULT not in self.claims, self.stated
        unknown = {rule for rule, held in self.claims.items() if None in held}
        if unknown - undecided:
            raise UndecidedError(self.stated)
        assert unknown == undecided, self.stated
        assert self.campaign.completed == 1, self.stated

    def see_that_none_is_accused(self, *rules: str) -> None:
        """End the test for good where one of the rules is said to be broken, also a test that is tried again."""
        if self.broken & {*rules}:
            pytest.fail(self.stated)


async def play_live(
    name: str,
    target: Target,
    *,
    defences: Defences = Defences(),  # noqa: B008 - frozen
    own_addresses: bool = True,
    peers: tuple[str, ...] = (),
    sides: Mapping[str, Target] | None = None,
    history: History | None = None,
    numbers: Mapping[str, Any] = MappingProxyType({}),
    answer_seconds: float | None = None,
) -> Played:
    """Play one attempt of an attack, and see that it leaves no socket open; what it does goes into `history`.

    `numbers` take the place of the attack's own.
    """
    attack = script_attack(name, numbers)
    options = AttackOptions(name=name, start_ns=Duration(0), duration_ns=Duration(1), rate=1)
    campaign = Campaign(1, options, attack, [], 1)
    history = History() if history is None else history
    start_ns, wall_ns = time.monotonic_ns(), SystemClock().now().wall_ns
    machines = iter(range(1000))

    def now() -> int:
        return time.monotonic_ns() - start_ns

    def context_of(campaign: Campaign, rng: np.random.Generator, attempt: int) -> ScriptContext:
        aimed_at = (sides or {}).get(name, target)
        return ScriptContext(
            campaign=campaign.number,
            host=aimed_at.authority,
            token=API_TOKEN,
            victims=[],
            history=history if aimed_at is target else History(),
            rng=rng,
            now=now,
            wall=lambda: wall_ns + now(),
            new_number=lambda: next(machines),
            interval_ns=5 * SECOND_NS,
            rotation_ns=720 * SECOND_NS,
            end_ns=3600 * SECOND_NS,
            owner_prefix=f"evil-{attempt}",
            defences=defences,
            own_addresses=own_addresses,
            peer_sources=peers,
        )

    rng = np.random.default_rng(7)
    stated: Any = {} if answer_seconds is None else {"answer_seconds": answer_seconds}
    player = ScriptPlayer(
        target, history, Progress(), now, context_of, lambda _: None, rng, None, sides or {},
        sandboxes=LIVE.sandboxes, **stated,
    )  # fmt: skip
    with trio.fail_after(PATIENCE_SECONDS):
        await player.run(campaign)
    return Played(history, campaign)


async def play_patiently(
    name: str, target: Target, *, numbers: Mapping[str, Any] = MappingProxyType({}), **more: Any
) -> Played:
    """Play an attack that waits a minute for each answer: a server that is only slow is not accused."""
    patient = {
        number: PATIENCE_SECONDS
        for number in ("patience_seconds", "probe_max_seconds")
        if isinstance(getattr(CATALOGUE[name], number, None), float)
    }
    return await play_live(name, target, numbers={**numbers, **patient}, answer_seconds=PATIENCE_SECONDS, **more)


# --- servers that are wrong on purpose


class Connection:
    """One client of a wrong server. `number` counts connections from 1, `client` is the address."""

    def __init__(self, server: WrongServer, stream: trio.SocketStream, number: int) -> None:
        self.server = server
        self.stream = stream
        self.number = number
        self.client: str = stream.socket.getpeername()[0]  # OSError where it has been reset already
        self.unread = b""

    async def more(self) -> bool:
        """Read on. False at the end."""
        try:
            part = bytes(await self.stream.receive_some(65_536))
        except trio.BrokenResourceError:
            return False
        self.unread += part
        return bool(part)

    async def message(self) -> bytes:
        """Read one well-formed message whole; nothing at the end."""
        while True:
            head, end, rest = self.unread.partition(b"\r\n\r\n")
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if end and len(rest) >= length:
                self.unread = rest[length:]
                return head + end + rest[:length]
            if not await self.more():
                return b""

    def handle(self, message: bytes) -> bytes:
        """Have the real API answer a well-formed message."""
        reply = self.server.api.handle(read_request(message, self.client), SystemClock().now())
        return written(reply.status, reply.body, *(f"{name}: {value}" for name, value in reply.headers))

    async def send(self, answer: bytes) -> None:
        """Send bytes, whoever may still be there."""
        await self.stream.send_all(answer)


def written(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """Write an answer."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} \r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


class WrongServer:
    """The real API behind a transport of a test's own."""

    def __init__(self, api: WatchedApi, talk: Talk) -> None:
        self.api = api
        self._talk = talk
        self._connections = 0

    async def connection(self, stream: trio.SocketStream) -> None:
        """Serve one client."""
        self._connections += 1
        async with stream:
            try:
                await self._talk(Connection(self, stream, self._connections))
            except (trio.BrokenResourceError, OSError):
                return  # a client that went away


@asynccontextmanager
async def wrong_server(talk: Talk, host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[Target]:
    """Run a server whose connections are served as told, with the real API behind; no socket of a client stays."""
    async with sockets_closed_after(), trio.open_nursery() as nursery:
        server = WrongServer(WatchedApi(SystemClock().now(), **{**OPEN, **settings}), talk)
        listeners = await trio.open_tcp_listeners(0, host=host)
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, server.connection, listeners)
        yield parse_target(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", API_TOKEN)
        nursery.cancel_scope.cancel()


async def well_behaved(connection: Connection) -> None:
    """Answer whole messages one after the other, in their order."""
    while message := await connection.message():
        await connection.send(connection.handle(message))
        if b"Connection: close" in message:
            return
