"""Small worlds of instances on memory twins, in which clients ask at moments that a seed draws."""

from __future__ import annotations

import random  # noqa: TID251 - seeded
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import trio

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.memory.nonces import MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.core.recovery import begin
from reference_server.core.snapshots import snapshot
from reference_server.operations.api import Api
from reference_server.operations.outcomes import Deferred
from reference_server.pipeline.resolving import Resolver
from reference_server.settings import Settings
from reference_server.wire.signing import CertificateSigner
from tests.http.twins import API_TOKEN, START, Machine, as_owner, data_of, enrol, enrolment, make_api

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.wire.values import Reply, Request

SLOWEST_SECONDS = 0.02
"""What a step of what is outside takes at most, to and fro each: far less than the pipeline waits."""


class Event(NamedTuple):
    """An answer: by which instance, to what, and with what, and the moments it was asked and given at."""

    asked_seconds: float
    answered_seconds: float
    instance: int
    what: str
    status: int
    body: bytes


class World:
    """What happens, and the draws that decide how long it takes."""

    def __init__(self, seed: int) -> None:
        self.draws = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.events: list[Event] = []
        self.clock = LoopClock()
        self.resolvers: list[Resolver] = []
        self.apis: list[Api] = []
        self.asked: list[int] = []
        self.given: list[list[int]] = []
        self.look: Callable[[Reply], None] = lambda _reply: None
        """Sees each answer at the moment at which it would be sent."""
        self.shown_too_early = 0

    async def pause(self) -> None:
        """Take as long as a step of what is outside does: often no time at all, so that tasks meet."""
        await trio.sleep(self.draws.choice((0.0, 0.0, self.draws.random() * SLOWEST_SECONDS)))

    async def start(self, nursery: trio.Nursery, api: Api) -> None:
        """Start an instance."""
        self.apis.append(api)
        self.asked.append(0)
        self.given.append([])
        self.resolvers.append(Resolver(api, self.clock))
        await nursery.start(self.resolvers[-1].run)

    async def ask(self, instance: int, what: str, request: Request) -> Reply:
        """Ask an instance as a transport does, and note what it answers."""
        asked = trio.current_time()
        resolver = self.resolvers[instance]
        await resolver.room()
        decided = self.apis[instance].handle(request, self.clock.now())
        assert isinstance(decided, Deferred)
        order = self.asked[instance]
        self.asked[instance] += 1
        given: list[Reply] = []
        over = trio.Event()

        def send(reply: Reply) -> None:
            self.given[instance].append(order)
            self.look(reply)
            given.append(reply)
            over.set()

        resolver.defer(decided, send)
        await over.wait()
        (reply,) = given
        self.events.append(Event(asked, trio.current_time(), instance, what, reply.status, reply.body))
        return reply

    async def stop(self) -> None:
        """Stop all instances, one after the other."""
        for resolver in self.resolvers:
            await resolver.stop()

    def history(self) -> bytes:
        """Return all that happened as bytes."""
        return msgspec.json.encode(self.events)


async def play_nonces(seed: int, store: type[MemoryNonces] = MemoryNonces) -> World:
    """Send copies of each heartbeat to three instances whose nonces are outside."""
    world = World(seed)
    shared = SharedNonces(Settings())
    async with trio.open_nursery() as nursery:
        machines: list[Machine] = []
        for _ in range(3):
            api = make_api()  # each has the same ids and tokens, and so knows the same machine
            machines.append(enrol(api))
            api.share(store(shared, world.pause))
            await world.start(nursery, api)
        async with trio.open_nursery() as clients:
            for number in range(9):

                async def beat(number: int = number) -> None:
                    await world.pause()
                    name = f"n{number // 3}"
                    await world.ask(number % 3, name, machines[0].heartbeat(name))

                clients.start_soon(beat)
        await world.stop()
    return world


async def play_durable(seed: int) -> World:
    """Register machines at an instance whose journal takes its time; each answer is held against what is durable."""
    world = World(seed)
    storage = Storage()

    def look(reply: Reply) -> None:
        if reply.status == HTTPStatus.CREATED:
            worker_id = data_of(reply.status, reply.body)["machine"]["id"].encode()
            written = [group for groups in storage.segments.values() for group in groups]
            world.shown_too_early += not any(worker_id in part for part in [*written, storage.snapshot or b""])

    api = make_api()
    journal = MemoryJournal(storage, due_after=4, pause=world.pause)
    begin(api.state)
    machine = enrol(api)
    journal.start()
    journal.begin_snapshot(snapshot(api.state, START, journal.segment))()
    journal.publish()
    api.state.changes = []
    api.journal = journal
    world.look = look
    async with trio.open_nursery() as nursery:
        await world.start(nursery, api)
        async with trio.open_nursery() as clients:
            for number in range(6):

                async def register(number: int = number) -> None:
                    for step in range(2):
                        await world.pause()
                        what = as_owner("/machines/register", {"owner_id": "ada", "name": f"m{number}-{step}"})
                        await world.ask(0, "register", what)
                        await world.ask(0, "beat", machine.heartbeat(f"n{number}-{step}"))

                clients.start_soon(register)
        await world.stop()
    return world


def sharing_api(world: World, storage: SharedStorage, name: str) -> Api:
    """Make an instance that shares all state."""
    settings = Settings(api_token=API_TOKEN, rate_limit_burst=1_000_000)
    signer = CertificateSigner.from_seed(bytes(range(32)))
    api = Api(settings, SeededEntropy(name), signer, world.clock.now())
    api.share_state(MemorySharedJournal(storage, name, world.pause))
    return api


async def play_shared(seed: int) -> World:
    """Enrol a machine at instances that share all state, send copies of its heartbeats, and revoke its consent."""
    world = World(seed)
    storage = SharedStorage(Settings())
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            await world.start(nursery, sharing_api(world, storage, name))
        machine = await enrolled(world)
        async with trio.open_nursery() as clients:
            for number in range(9):

                async def beat(number: int = number) -> None:
                    for step in range(2):
                        await trio.sleep(world.draws.random() * 0.2)
                        name = f"n{number // 3}-{step}"
                        await world.ask(number % 3, name, machine.heartbeat(name, world.clock.now().wall_ns))

                clients.start_soon(beat)

            async def revoke() -> None:
                await trio.sleep(0.1 + world.draws.random() * 0.1)
                await world.ask(0, "revoke", as_owner(f"/consents/{machine.consent_id}/revoke"))

            clients.start_soon(revoke)
        await world.stop()
    return world


async def enrolled(world: World) -> Machine:
    """Enrol a machine, each step at another instance, each again while the state is not to be had."""
    steps = enrolment("rack 1")
    request = next(steps)
    at = 0
    while True:
        at += 1
        reply = await world.ask(at % 3, "enrol", request)
        if reply.status in {503, 404}:  # the latter would be wrong, which is for whoever judges
            await trio.sleep(0.01)
            continue
        try:
            request = steps.send(data_of(reply.status, reply.body))
        except StopIteration as end:
            machine: Machine = end.value
            return machine
