"""Eight writers and a fleet on real sockets, until the server is killed under them."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import msgspec
import numpy as np
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.client.connection import ControlConnection, LostError
from simulator.client.raw import Answers
from simulator.client.target import Target, bound_socket, machine_source, owner_source, parse_target
from simulator.fleet.machine import heartbeat_request, signed_heartbeat
from tests.durability.ledger import Ledger
from tests.durability.ledger_records import (
    HEARTBEAT,
    HOST,
    OK,
    UNAUTHORIZED,
    Event,
    Machine,
    Step,
    no_identity,
    nothing,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.deployment.server_process import ServerProcess

WRITERS = 8
FLEET = 6
PIPELINED_MAX = 4
"""Heartbeats on their way on one connection: so that one group commit covers several of one machine."""
PACE_MAX_SECONDS = 0.02
LATE_MAX_SECONDS = 0.005
"""How long after an answer the server is killed at most: most commits are younger than this."""
REPLAY_MAX_NS = 80 * SECOND_NS
"""How old a heartbeat is replayed: within the window of 90 s (contract §4), so that only its nonce can refuse it."""
PERSISTENCE_FAILED = (500, "state persistence failed")
"""What is answered in place of an acknowledgement where a write failed (contract §7)."""
REPLAYED_AGAIN = 10
"""Older heartbeats of each machine that are sent again after each restart, beside all new ones."""
FLEET_OWNER = "fleet"
METRICS = '{"cpu_percent":12.5}'
TOKEN = "owner-token-of-the-durability-tests"
FREELY = {
    "RATE_LIMIT_REFILL_PER_SECOND": "1000000",
    "RATE_LIMIT_BURST": "1000000000",
    "AUDIT_EVENTS_PER_STREAM": "1000000",
    "MACHINE_CERT_TTL_SECONDS": "86400",
}
"""Settings under which nothing is refused, evicted or over but by what these tests do."""
BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
_clock = SystemClock()


class Fuse:
    """Kills a server with SIGKILL shortly after so many answers; no answer can be sent after that."""

    def __init__(self, server: ServerProcess, answers: int, late_seconds: float) -> None:
        self._pid = server.pid
        self._left = answers
        self._late_seconds = late_seconds
        self._lit = trio.Event()

    def count(self) -> None:
        """Count an answer."""
        self._left -= 1
        if self._left <= 0:
            self._lit.set()

    async def burn(self) -> None:
        """Kill the server when it is time."""
        await self._lit.wait()
        await trio.sleep(self._late_seconds)
        os.kill(self._pid, signal.SIGKILL)


class Beater:
    """A machine that only sends heartbeats, under a certificate that stays.

    `accepted` holds (stamp, message) of what is to be sent again; `doubtful` maps messages without answer to stamps.
    """

    def __init__(self, ledger: Ledger, machine: Machine, policy_id: str, rng: np.random.Generator) -> None:
        self._ledger = ledger
        self._policy_id = policy_id
        self._rng = rng
        self._made = 0
        self.machine = machine
        self.accepted: list[tuple[int, bytes]] = []
        self._sent_again: list[tuple[int, bytes]] = []
        self.doubtful: dict[bytes, int] = {}

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the key of its heartbeats' events."""
        return HEARTBEAT, self.machine.worker_id, self._policy_id

    def heartbeat(self) -> Step:
        """Make a genuine heartbeat, stamped now."""
        self._made += 1
        now_ns = _clock.now().wall_ns
        message = heartbeat_message(self.machine, self._policy_id, now_ns, f"{self._made}-{self._rng.bytes(8).hex()}")
        self.doubtful[message] = now_ns
        return self.again(message)

    def again(self, message: bytes) -> Step:
        """Send a genuine heartbeat of which it is not known whether it was accepted."""

        def learn(_: Event) -> str:
            self.settled_as_accepted(message)
            return self.machine.worker_id

        return Step(message, OK, self.key, learn, nothing)

    def settled_as_accepted(self, message: bytes) -> None:
        """Note that a heartbeat was accepted."""
        self.accepted.append((self.doubtful.pop(message), message))

    def forged(self) -> Step:
        """Make a heartbeat with another machine's signature."""
        self._made += 1
        forger = msgspec.structs.replace(self.machine, token="0" * 48)
        message = heartbeat_message(forger, self._policy_id, _clock.now().wall_ns, f"forged {self._made}")
        return refused_heartbeat(message)

    def replayed(self) -> list[Step]:
        """Make verbatim copies of accepted heartbeats: all that are new, and a sample of those sent again before.

        All are young enough to be refused for their nonces alone.
        """
        since_ns = _clock.now().wall_ns - REPLAY_MAX_NS
        older = [beat for beat in self._sent_again if beat[0] >= since_ns]
        self._rng.shuffle(older)
        new = [beat for beat in self.accepted if beat[0] >= since_ns]
        self._sent_again += self.accepted
        self.accepted = []
        return [refused_heartbeat(message) for _, message in [*new, *older[:REPLAYED_AGAIN]]]

    def some(self) -> list[Step]:
        """Choose what goes on its way together."""
        steps = [self.heartbeat() for _ in range(int(self._rng.integers(1, PIPELINED_MAX + 1)))]
        if self._rng.random() < 0.2:
            steps.insert(int(self._rng.integers(len(steps))), self.forged())
        return steps

    async def beat(self, target: Target, source: str | None, batches: int) -> None:
        """Send so many batches of heartbeats, or as many as the connection carries."""
        with suppress(*BROKEN):
            async with Pipeline(target, source) as pipeline:
                for _ in range(batches):
                    if not await pipeline.send(self._ledger, self.some()):
                        break
                    await trio.sleep(float(self._rng.uniform(0, PACE_MAX_SECONDS)))


def heartbeat_message(machine: Machine, policy_id: str, wall_ns: int, nonce: str) -> bytes:
    """Write a heartbeat."""
    timestamp = format_timestamp(wall_ns // MILLISECOND_NS * MILLISECOND_NS)
    body = signed_heartbeat(machine.token.encode(), machine.worker_id, timestamp, nonce, policy_id, METRICS)
    return heartbeat_request(HOST, machine.worker_id, machine.token, machine.certificate_id, body)


def refused_heartbeat(message: bytes) -> Step:
    """Expect a heartbeat to be refused as unauthentic, without a change."""
    return Step(message, UNAUTHORIZED, None, no_identity, nothing, audited=True)


def settle(ledger: Ledger, step: Step, status: int, body: bytes) -> None:
    """Take in an answer. Raises AssertionError for one that no right server gives."""
    answer = msgspec.json.decode(body)
    if (status, answer.get("error")) == PERSISTENCE_FAILED:
        ledger.failed(step)
        return
    assert status == step.status, (status, answer, step.message[:100])
    ledger.answered(step, answer.get("data", {}))


async def do(connection: ControlConnection, ledger: Ledger, step: Step) -> bool:
    """Do one step. False when its answer was lost."""
    ledger.asked(step)
    try:
        answer = await connection.exchange(step.message)
    except LostError:
        return False
    settle(ledger, step, answer.status, answer.body)
    return True


class Pipeline:
    """One connection on which several requests are under way at a time. `async with` opens and closes it."""

    def __init__(self, target: Target, source: str | None) -> None:
        self._target = target
        self._socket = trio.socket.from_stdlib_socket(bound_socket(target, source))

    async def __aenter__(self) -> Self:
        try:
            await self._socket.connect((self._target.address, self._target.port))
        except BaseException:
            self._socket.close()
            raise
        self._stream = trio.SocketStream(self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def send(self, ledger: Ledger, steps: list[Step]) -> bool:
        """Send all at once, and take in the answers as they come, in order. False when some were lost."""
        for step in steps:
            ledger.asked(step)
        left = list(steps)
        with suppress(*BROKEN):
            # What is on its way is far less than what the kernel takes, so writing never waits for reading.
            await self._stream.send_all(b"".join(step.message for step in steps))
            answers = Answers(lambda: 0)
            while left and (data := await self._stream.receive_some(65_536)):
                answers.feed(bytes(data))
                while answers.whole:
                    answer = answers.whole.pop(0)
                    settle(ledger, left.pop(0), answer.status, answer.body)
        return not left


class World:
    """Everyone who speaks to one server through all its lives, and what they know."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ledgers = [Ledger(TOKEN, f"owner-{number}", self.rng) for number in range(WRITERS)]
        self.fleet = Ledger(TOKEN, FLEET_OWNER, self.rng)
        self.everyone = [*self.ledgers, self.fleet]
        self.beaters: list[Beater] = []

    async def bring_up_the_fleet(self, url: str) -> None:
        """Register the machines that only send heartbeats, all under one policy."""
        fleet, target = self.fleet, parse_target(url, TOKEN)
        async with ControlConnection(target, owner_source(target, WRITERS)) as connection:
            assert await do(connection, fleet, fleet.create_policy())
            (policy_id,) = fleet.policies
            assert await do(connection, fleet, fleet.activate(policy_id))
            for _ in range(FLEET):
                assert await do(connection, fleet, fleet.register())
            for machine in fleet.machines.values():
                assert await do(connection, fleet, fleet.consent(machine.worker_id, policy_id))
                self.beaters.append(Beater(fleet, machine, policy_id, self.rng))

    async def write_until_killed(self, server: ServerProcess, answers: int) -> None:
        """Have everyone write at once, and kill the server after so many answers to the writers."""
        fuse = Fuse(server, answers, float(self.rng.uniform(0, LATE_MAX_SECONDS)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fuse.burn)
            await self._write(server.url, sys.maxsize, fuse.count)

    async def write_some(self, url: str, steps: int) -> None:
        """Have everyone write at once, each so many steps or batches."""
        await self._write(url, steps, lambda: None)

    async def _write(self, url: str, steps: int, count: Callable[[], None]) -> None:
        target = parse_target(url, TOKEN)

        async def write(number: int) -> None:
            ledger = self.ledgers[number]
            async with ControlConnection(target, owner_source(target, number)) as connection:
                for _ in range(steps):
                    if not await do(connection, ledger, ledger.next_step()):
                        break
                    count()

        async with trio.open_nursery() as nursery:
            for number in range(WRITERS):
                nursery.start_soon(write, number)
            for number, beater in enumerate(self.beaters):
                nursery.start_soon(beater.beat, target, machine_source(target, number), steps)

    @property
    def failures(self) -> int:
        """Count the changes and heartbeats that were answered with a failed write."""
        return sum(len(ledger.undone) for ledger in self.everyone)

    def doubt_what_failed(self) -> None:
        """Have what failed be there after all (see the ledger's)."""
        for ledger in self.everyone:
            ledger.doubt_what_failed()
