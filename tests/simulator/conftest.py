"""What the simulator's tests share: an API in process, a server that answers as told, a history that can be awaited."""

from __future__ import annotations

import time
from collections import deque
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pytest
import trio
import trio.testing

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.http.serve import serve_until
from reference_server.operations.api import Api
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from reference_server.wire.values import Reply
from simulator.client.target import Target, parse_target
from simulator.fleet.clocks import PERFECT, ClockError
from simulator.fleet.machine import Machine
from simulator.history.rows import History
from simulator.worlds.live.shard import Shard
from simulator.worlds.progress import Progress
from tests.support.open_sockets import AMONG_OTHERS, open_sockets
from tests.support.ports import closed_port
from tests.support.waiting import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from reference_server.operations.outcomes import Admitted
    from reference_server.wire.values import Instant, Request

API_TOKEN = "owner-token-of-the-tests"
WORKER_TOKEN = "5a" * 24
POLICY_ID = "pol_0123456789abcdef"
METRICS = '{"cpu_percent":12.5}'


class Heard(NamedTuple):
    """One request as the API met it, and the status it gave."""

    client: str
    path: str
    status: int


class WatchedApi(Api):
    """The real API, which also notes who asked for what."""

    def __init__(self, started: Instant, **settings: Any) -> None:
        given = {"api_token": API_TOKEN, "port": 0, **settings}
        super().__init__(
            Settings(**given), SeededEntropy("api"), CertificateSigner.from_seed(bytes(range(32))), started
        )
        self.heard: list[Heard] = []
        self._verified: deque[tuple[str, str]] = deque()

    def admit(self, head: Request, now: Instant) -> Reply | Admitted:
        """Answer a request by its head, and note it, or say what to do with its body."""
        outcome = super().admit(head, now)
        if isinstance(outcome, Reply):
            self._note(head, outcome)
        return outcome

    def complete(self, admitted: Admitted, body: bytes, now: Instant) -> Reply:
        """Answer a request that was admitted, and note it."""
        return self._note(admitted.request, super().complete(admitted, body, now))

    def give_up(self, admitted: Admitted, reply: Reply) -> Reply:
        """Answer a request whose body cannot be had, and note it."""
        return self._note(admitted.request, super().give_up(admitted, reply))

    def _note(self, request: Request, reply: Reply) -> Reply:
        self.heard.append(Heard(request.client, request.path, reply.status))
        return reply

    def verify_heartbeat(self, worker_id: str, *sent: Any) -> Any:
        """Verify a heartbeat of the express lane; its address comes after its secrets."""
        _, _, _, address, *_ = sent
        self._verified.append((address, f"/api/v1/workers/{worker_id}/heartbeat"))
        return super().verify_heartbeat(worker_id, *sent)

    def settle_heartbeat(self, verified: Any, now: Instant) -> Reply:
        """Decide the first of those that were verified, and note it."""
        reply = super().settle_heartbeat(verified, now)
        self.heard.append(Heard(*self._verified.popleft(), reply.status))
        return reply

    @property
    def heartbeats_accepted(self) -> int:
        """Count all acceptances, by the audit streams."""
        return sum(owner.routine.sequence for owner in self.state.owners.values())

    @property
    def clients_of_workers(self) -> dict[str, set[str]]:
        """Name the addresses each worker's accepted heartbeats came from."""
        clients: dict[str, set[str]] = {}
        for client, path, status in self.heard:
            if path.endswith("/heartbeat") and status == 200:
                clients.setdefault(path.split("/")[-2], set()).add(client)
        return clients


class WatchedHistory(History):
    """A history whose growth can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = trio.Event()

    def append(self, *row: Any) -> None:
        """Add one row, and wake who waits."""
        super().append(*row)
        self._grown.set()
        self._grown = trio.Event()

    async def until(self, rows: int) -> None:
        """Wait for a number of rows."""
        with trio.fail_after(PATIENCE_SECONDS):
            while len(self) < rows:
                await self._grown.wait()


@asynccontextmanager
async def sockets_closed_after() -> AsyncIterator[None]:
    """See that no socket opened inside stays open; a server in the same loop needs a moment to see its clients go."""
    before = open_sockets()
    yield
    if not AMONG_OTHERS.get():
        await until(lambda: open_sockets() == before)


# --- a server that answers as told


def answer(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """Write an answer as the reference server does."""
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 {status} \r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


ACCEPTED = answer(200, b'{"success":true,"data":{"worker_id":"wrk_1","accepted":true}}')
REFUSED = answer(401, b'{"success":false,"error":"invalid heartbeat auth"}')


class Reaction(NamedTuple):
    """What the scripted server does with one request: sends the pieces, and then keeps, closes or holds."""

    pieces: tuple[bytes, ...] = (ACCEPTED,)
    then: str = "keep"


ACCEPT = Reaction()
SILENT = Reaction((), "hold")
HANG_UP = Reaction((), "close")


class Arrival(NamedTuple):
    """One request as it came: on which connection, from which address, at which moment of the loop."""

    connection: int
    client: str
    head: bytes
    body: bytes


class ScriptedServer:
    """Reacts to requests in the order they come; after the last reaction, with that one again."""

    def __init__(self) -> None:
        self.script: list[Reaction] = [ACCEPT]
        self.arrivals: list[Arrival] = []
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.connections = 0
        self.open = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def target(self) -> Target:
        """Itself, as a target."""
        return parse_target(self.url, API_TOKEN)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        self.open += 1
        try:
            async with stream:
                await self._talk(stream, self.connections, stream.socket.getpeername()[0])
        except trio.BrokenResourceError:
            pass  # a client that went away; what it must have noticed is asserted there
        finally:
            self.open -= 1

    async def _talk(self, stream: trio.SocketStream, connection: int, client: str) -> None:
        data = b""
        while True:
            head, end, rest = data.partition(b"\r\n\r\n")
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if not end or len(rest) < length:
                part = await stream.receive_some(65_536)
                if not part:
                    return
                data += part
                continue
            data = rest[length:]
            self.arrivals.append(Arrival(connection, client, head, rest[:length]))
            reaction = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            await self.may_answer.wait()
            for piece in reaction.pieces:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked(0.001)
            if reaction.then == "hold":
                await stream.receive_some(1)
                return
            if reaction.then == "close":
                return


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    """A server in the test's own loop that answers as told."""
    async with trio.open_nursery() as nursery:
        server = ScriptedServer()
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


# --- the real server


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[WatchedApi, Target]]:
    """Run the real server in the test's own loop, with the real express lane and sockets."""
    clock = SystemClock()
    api = WatchedApi(clock.now(), **settings)
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve_until, api, clock, SystemEntropy(), stop.wait))
        try:
            yield api, parse_target(url, API_TOKEN)
        finally:
            stop.set()


# --- a shard


class ShardUnderTest:
    """A shard aimed at a server, and all it is given. `shift_ns` moves its clock on; a clock that is stopped, alone."""

    def __init__(self, target: Target, jitter: float = 0.0) -> None:
        self.target = target
        self.history = WatchedHistory()
        self.progress = Progress()
        self.calls: list[Machine] = []
        self.shift_ns = 0
        self._stopped_ns: int | None = None
        self.on_wall: Callable[[], None] = lambda: None
        self._start_ns = time.monotonic_ns()
        self._wall_ns = SystemClock().now().wall_ns
        rng = np.random.default_rng(7)
        self.shard = Shard(
            target, self.history, self.progress, rng, self.now, self.wall, lambda _index: METRICS, self.calls.append,
            jitter,
        )  # fmt: skip

    def stop_clock(self) -> None:
        """Have time pass only as the test says, however long the machine takes."""
        self._stopped_ns = time.monotonic_ns() - self._start_ns

    def now(self) -> int:
        """Nanoseconds since the start, and what the test has added."""
        passed_ns = time.monotonic_ns() - self._start_ns if self._stopped_ns is None else self._stopped_ns
        return passed_ns + self.shift_ns

    def wall(self) -> int:
        """Unix nanoseconds, in step with `now`."""
        wall_ns = self._wall_ns + self.now()
        self.on_wall()
        return wall_ns

    def machine(
        self,
        index: int = 0,
        interval_ns: int = 10 * MILLISECOND_NS,
        clock: ClockError = PERFECT,
        silence: tuple[tuple[int, int], ...] = (),
    ) -> Machine:
        """Make a machine that is through with onboarding and due now; it is not in the schedule yet."""
        machine = Machine(index, "ada", interval_ns, clock, silence)
        machine.registered(f"wrk_{index:016x}", WORKER_TOKEN, f"mcert_{index:020x}", 3600 * SECOND_NS)
        machine.consented = True
        machine.fetched_policy(POLICY_ID, {}, 0)
        machine.due_ns = self.now()
        return machine

    @asynccontextmanager
    async def running(self, patience_seconds: float = 0.0) -> AsyncIterator[None]:
        """Run it, and finish it at the end; no socket of it is left."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.shard.run)
            yield
            nursery.cancel_scope.cancel()
        await self.shard.finish(patience_seconds)
        assert self.progress.connected == 0
        assert self.progress.in_flight == 0

    def row(self, at: int) -> dict[str, Any]:
        """Return one row of the history by name."""
        row = self.history.rows()[at]
        return {name: row[name].item() if name != "nonce" else bytes(row[name]) for name in row.dtype.names}


# --- the rest


def decoded(reply: Reply) -> Any:
    """Read a reply's data."""
    return msgspec.json.decode(reply.body)["data"]


@pytest.fixture(name="closed_port")
def _closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody listens on, and nobody else can take meanwhile."""
    with closed_port() as port:
        yield port
