"""Decisions that have to ask outside: what they changed before is kept first, and nobody else waits for the answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.identity import MemoryMoltbook
from reference_server.adapters.memory.limiter import MemoryLimiter, SharedWindows
from reference_server.adapters.memory.nonces import MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.core.calls import Caller
from reference_server.core.changes import change
from reference_server.core.inquiry import Inquiry
from reference_server.core.table import Table
from reference_server.core.tables import TABLES
from reference_server.identity_ports import UNAVAILABLE, AgentIdentity, VerifyAgent
from reference_server.limits import INQUIRIES_MAX
from reference_server.operations.api import Api
from reference_server.operations.callers import ANYONE, Principal
from reference_server.operations.operation import Operation
from reference_server.operations.routing import Routes
from reference_server.operations.table import OPERATIONS
from reference_server.pipeline.resolving import Resolver
from reference_server.settings import Settings
from reference_server.wire.replies import UNAUTHORIZED, failure, success
from reference_server.wire.sections import Section
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Reply, Request
from tests.http.serving import serving
from tests.http.twins import API_TOKEN, START, written

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.identity_ports import NoAgent, Unavailable
    from reference_server.wire.values import Instant

ADA = AgentIdentity("m1", "ada", 7, True)  # noqa: FBT003 - a record's field
USED = failure(409, "used")
DOWN = failure(503, "down")


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is used once, and whom it was found to be of."""

    id: str
    agent: str


TABLE: Table[dict[str, Ticket], Ticket] = Table(
    section=Section(name="tickets", record=Ticket, most=1000, hidden=frozenset())
)


@change("ticket_used")
def use_ticket(state: State, _at: Instant, ticket_id: str, agent: str) -> None:
    TABLE.of(state)[ticket_id] = Ticket(ticket_id, agent)


def use(state: State, call: Call[bytes]) -> Reply | Inquiry:
    """Use a ticket up, and only then ask whose it is."""
    (ticket_id,) = call.ids
    if ticket_id in TABLE.of(state):
        return USED
    use_ticket(state, call.now, ticket_id, "")
    return Inquiry(VerifyAgent(ticket_id), partial(_used, ticket_id))


def _used(ticket_id: str, state: State, now: Instant, answer: AgentIdentity | NoAgent | Unavailable) -> Reply:
    if answer is UNAVAILABLE:
        return DOWN
    if not isinstance(answer, AgentIdentity):
        return UNAUTHORIZED
    use_ticket(state, now, ticket_id, answer.id)
    return success(answer.name)


def _admit(_state: State, headers: dict[str, str]) -> Caller | Reply:
    return Caller("ticketed") if "x-ticket" in headers else UNAUTHORIZED


def _prove(_state: State, _now: Instant, _caller: Caller, headers: dict[str, str]) -> Inquiry:
    def prove(_state: State, _now: Instant, answer: AgentIdentity | NoAgent | Unavailable) -> Caller | Reply:
        return Caller("ticketed", answer.id) if isinstance(answer, AgentIdentity) else UNAUTHORIZED

    return Inquiry(VerifyAgent(headers["x-ticket"]), prove)


def show_caller(_state: State, call: Call[bytes]) -> Reply:
    return success(call.caller.id)


ROUTES = Routes(
    (
        *OPERATIONS,
        Operation("POST", "/tickets/{id}", ANYONE, use),
        Operation("GET", "/caller", Principal("ticketed", (), _admit, _prove), show_caller),
    )
)
USE = Request("POST", "/v1/tickets/a")


class World:
    """Instances that ask one Moltbook, which answers when it is let."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.gate = trio.Event()
        self.moltbook = MemoryMoltbook(self.gate.wait)
        self.moltbook.agents["a"] = ADA
        self.named = 0
        self.storage = SharedStorage(Settings())

    def next_name(self) -> str:
        self.named += 1
        return str(self.named)

    def make_api(self) -> Api:
        settings = Settings(api_token=API_TOKEN, port=0, rate_limit_burst=1_000)
        signer = CertificateSigner.from_seed(bytes(range(32)))
        api = Api(settings, SeededEntropy("api"), signer, START, TABLES.with_row(TABLE), ROUTES)
        api.moltbook = self.moltbook
        return api


async def asked(api: Api, resolver: Resolver, clock: LoopClock, request: Request) -> tuple[int, Any]:
    reply = await resolver.resolved(api.handle(request, clock.now()))
    shown = msgspec.json.decode(reply.body)
    return reply.status, shown.get("data", shown.get("error"))


class Instance:
    """An instance that is served."""

    def __init__(self, world: World, api: Api) -> None:
        self.world, self.api = world, api
        self.resolver = Resolver(api, world.clock)
        self.answers: list[tuple[int, Any]] = []

    async def ask(self, request: Request = USE) -> None:
        self.answers.append(await asked(self.api, self.resolver, self.world.clock, request))

    async def asking(self, count: int = 1) -> None:
        """Wait until it asks so many at once outside."""
        while self.resolver._inquirer.asking < count:
            await trio.lowlevel.checkpoint()


def in_memory(_world: World, _api: Api) -> None:
    """Keep everything in the process."""


def limited(_world: World, api: Api) -> None:
    """Have the rate limit outside."""
    settings = Settings(redis_rate_limit_max_requests=100, redis_rate_limit_window_seconds=60)
    api.share(MemoryNonces(SharedNonces(settings)), MemoryLimiter(SharedWindows(settings)))


def shared(world: World, api: Api) -> None:
    """Have the state outside."""
    api.share_state(MemorySharedJournal(world.storage, world.next_name()))


KEPT = [in_memory, limited, shared]


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture(params=KEPT)
async def instance(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Instance]:
    api = world.make_api()
    request.param(world, api)
    one = Instance(world, api)
    async with trio.open_nursery() as nursery:
        await nursery.start(one.resolver.run)
        yield one
        await one.resolver.stop()


async def test_it_is_asked_after_what_was_changed_and_decided_anew_with_the_answer(instance: Instance) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.ask)
        await instance.asking()
        assert TABLE.of(instance.api.state) == {"a": Ticket("a", "")}
        await instance.ask()  # another one of the same, meanwhile
        assert instance.answers == [(409, "used")]
        await instance.ask(Request("GET", "/v1/status"))  # and what asks nothing waits for nobody
        instance.world.gate.set()
    assert instance.answers == [
        (409, "used"),
        (200, {"service": "hatchfarm-api"} | instance.answers[1][1]),
        (200, "ada"),
    ]
    assert TABLE.of(instance.api.state) == {"a": Ticket("a", "m1")}


async def test_who_is_not_vouched_for_is_refused(instance: Instance) -> None:
    instance.world.gate.set()
    await instance.ask(Request("POST", "/v1/tickets/b"))
    instance.world.moltbook.down = True
    await instance.ask(Request("POST", "/v1/tickets/c"))
    assert instance.answers == [(401, "unauthorized"), (503, "down")]


async def test_a_principal_may_have_to_be_vouched_for(instance: Instance) -> None:
    instance.world.gate.set()
    for ticket in ("a", "b"):
        await instance.ask(Request("GET", "/v1/caller", headers=(("x-ticket", ticket),)))
    assert instance.answers == [(200, "m1"), (401, "unauthorized")]


async def test_a_fault_of_whoever_is_asked_is_nobody_who_answers(instance: Instance) -> None:
    del instance.world.moltbook.agents
    instance.world.gate.set()
    await instance.ask()
    assert instance.answers == [(503, "down")]


async def test_what_is_asked_when_it_stops_is_answered(instance: Instance) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(instance.ask)
        await instance.asking()
        await instance.resolver.stop()
    assert instance.answers == [(503, "down")]


async def test_what_is_not_answered_in_time_is_given_up(
    autojump_clock: trio.testing.MockClock, instance: Instance
) -> None:
    del autojump_clock
    before = trio.current_time()
    await instance.ask()
    assert instance.answers == [(503, "down")]
    assert trio.current_time() - before == pytest.approx(10, abs=1)


async def test_no_more_than_so_many_are_asked_at_once(instance: Instance) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(INQUIRIES_MAX):
            nursery.start_soon(instance.ask, Request("POST", f"/v1/tickets/{number}"))
        await instance.asking(INQUIRIES_MAX)
        await instance.ask()
        assert instance.answers == [(503, "down")]
        instance.world.gate.set()
    assert instance.answers == [(503, "down"), *[(401, "unauthorized")] * INQUIRIES_MAX]


async def test_of_instances_that_share_the_state_one_alone_asks(world: World) -> None:
    async with trio.open_nursery() as nursery:
        instances = []
        for _ in range(3):
            api = world.make_api()
            shared(world, api)
            instances.append(Instance(world, api))
            await nursery.start(instances[-1].resolver.run)
        async with trio.open_nursery() as asking:
            for one in instances:
                asking.start_soon(one.ask)
            with trio.fail_after(60):
                while sum(len(one.answers) for one in instances) < 2:
                    await trio.lowlevel.checkpoint()
            world.gate.set()
        assert sorted(one.answers[0] for one in instances) == [(200, "ada"), (409, "used"), (409, "used")]
        for one in instances:
            await one.resolver.stop()


@pytest.mark.parametrize("express_lane", [True, False])
async def test_a_connection_gets_its_answers_in_their_order(world: World, *, express_lane: bool) -> None:
    async with serving(world.make_api(), world.clock, express_lane=express_lane) as server, server.client() as client:
        await client.send(written(USE) + written(Request("GET", "/health")) + written(USE))
        await trio.testing.wait_all_tasks_blocked()
        assert not client.unread
        world.gate.set()
        assert [(await client.answer()).status for _ in range(3)] == [200, 200, 409]
