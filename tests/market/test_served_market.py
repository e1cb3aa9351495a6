"""The market while it is served: what is due is done without being asked, and instances trade as one."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.memory.clocks import LoopClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.adapters.memory.shared_journal import MemorySharedJournal, SharedStorage
from reference_server.adapters.payouts import SimulatedPayouts
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.limits import PAYOUT_ANSWER_SECONDS
from reference_server.operations.api import Api
from reference_server.pipeline.resolving import Resolver
from reference_server.ports import Payout, PayoutOutcome
from reference_server.settings import Settings
from reference_server.wire.own_sections import OWN
from reference_server.wire.signing import CertificateSigner
from reference_server.wire.values import Request
from tests.core.server_under_test import TOKEN, canonical, hmac_base64, owner_headers, timestamp_text
from tests.market.small_market import TRON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

ADA = owner_headers("ada")
RULES = {"max_cpu_percent": 100, "max_memory_percent": 100}
JOB: dict[str, Any] = {
    "type": "render",
    "resources": {"cpu_cores": 1, "memory_gb": 1},
    "duration_minutes": 60,
    "max_price_usdt": "1",
}


class Instance:
    """One instance, and the words to speak to it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        settings = Settings(
            api_token=TOKEN,
            rate_limit_burst=1_000_000,
            wallet_dev_credit_usdt=Decimal(10),
            withdrawal_cooldown_seconds=0,
            job_queue_timeout_seconds=90,
        )
        signer = CertificateSigner.from_seed(bytes(range(32)))
        self.api = Api(settings, SeededEntropy(name), signer, world.clock.now())
        self.api.payouts = world.gateway
        world.keep(self.api, name)
        self.resolver = Resolver(self.api, world.clock)

    async def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        request = Request(method, f"/api/v1{path}", headers=tuple(headers.items()), body=content)
        reply = await self.resolver.resolved(self.api.handle(request, self.world.clock.now()))
        shown = msgspec.json.decode(reply.body)
        return reply.status, shown.get("data", shown.get("error"))

    async def get(self, path: str, headers: dict[str, str] = ADA) -> Any:
        status, data = await self.ask("GET", path, headers)
        assert status == 200, data
        return data

    async def machine(self) -> Machine:
        body = {"owner_id": "max", "name": "m"}
        data = (await self.ask("POST", "/machines/register", owner_headers(), body))[1]
        rules = {"owner_id": "max", "rules": RULES, "signature": hmac_base64(TOKEN, f"max|{canonical(RULES)}")}
        policy_id = (await self.ask("POST", "/policies", owner_headers(), rules))[1]["id"]
        await self.ask("POST", f"/policies/{policy_id}/activate", owner_headers("max"))
        worker_id = data["machine"]["id"]
        signature = hmac_base64(TOKEN, f"max|{worker_id}|{policy_id}")
        ids = {"owner_id": "max", "worker_id": worker_id, "policy_id": policy_id}
        consent = (await self.ask("POST", "/consents", owner_headers(), {**ids, "signature": signature}))[1]
        certificate_id = data["machine_certificate"]["certificate_id"]
        return Machine(worker_id, data["machine_token"], certificate_id, policy_id, consent["id"])

    async def beat(self, machine: Machine, metrics: Any = None) -> Any:
        self.world.nonces += 1
        nonce, at = f"n{self.world.nonces}", timestamp_text(self.world.clock.now().wall_ns)
        signature = hmac_base64(machine.token, f"{machine.id}|{at}|{nonce}|{machine.policy_id}")
        body = {"timestamp": at, "nonce": nonce, "policy_id": machine.policy_id, "metrics": metrics}
        status, data = await self.ask(
            "POST", f"/workers/{machine.id}/heartbeat", machine.headers, {**body, "signature": signature}
        )
        assert status == 200, data
        return data

    async def withdraw(self, amount: str, key: str) -> Any:
        body = {"asset": "USDT-TRC20", "amount": amount, "address": TRON}
        status, data = await self.ask("POST", "/wallet/withdraw", {**ADA, "idempotency-key": key}, body)
        assert status == 202, data
        return data["withdrawal"]

    def kept(self) -> Any:
        """Return what a snapshot has of the market, but for what depends on when the clocks were looked at."""
        shown = json.loads(b"".join(snapshot(self.api.state, self.world.clock.now(), "s")))
        for name in ("checksum", "saved_at", OWN):
            shown.pop(name)
        for job in shown.get("jobs", {}).values():
            job.pop("metered_ns")
        return shown


class Machine(msgspec.Struct, frozen=True):
    id: str
    token: str
    certificate_id: str
    policy_id: str
    consent_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"x-machine-token": self.token, "x-machine-certificate-id": self.certificate_id}


class World:
    """A clock, a payout gateway, and where instances keep their state."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.clock = LoopClock()
        self.nonces = 0
        self.asked: list[Payout] = []
        self.fails: set[str] = set()
        self.lost = 0
        self.gateway = SimulatedPayouts(self.clock, 1, self.does_fail, self.does_lose)
        self.storage = Storage()
        self.shared = SharedStorage(Settings())

    def does_fail(self, payout: Payout) -> bool:
        return payout.id in self.fails

    def does_lose(self, payout: Payout) -> bool:
        self.asked.append(payout)
        self.lost -= 1
        return self.lost >= 0

    def keep(self, api: Api, name: str) -> None:
        if self.how in {"durable", "compacted"}:
            journal = MemoryJournal(self.storage, due_after=5 if self.how == "compacted" else 1_000_000)
            recovered = recover(api.state, journal, self.clock.now())
            journal.start()
            if recovered.fresh:
                journal.begin_snapshot(snapshot(api.state, self.clock.now(), journal.next_segment))()
                journal.rotate()
                journal.publish()
            api.state.changes, api.journal = [], journal
        elif self.how == "shared":
            api.share_state(MemorySharedJournal(self.shared, name))


@pytest.fixture(params=["memory", "durable", "compacted", "shared"])
async def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
async def one(world: World) -> AsyncIterator[Instance]:
    instance = Instance(world, "one")
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.resolver.run)
        yield instance
        await instance.resolver.stop()


@pytest.fixture
async def other(world: World, one: Instance) -> AsyncIterator[Instance]:
    """Another instance where the state is shared; else the same one."""
    if world.how != "shared":
        yield one
        return
    instance = Instance(world, "other")
    async with trio.open_nursery() as nursery:
        await nursery.start(instance.resolver.run)
        yield instance
        await instance.resolver.stop()


async def test_what_is_due_is_done_though_nobody_asks(autojump_clock: MockClock, one: Instance) -> None:
    del autojump_clock
    job = (await one.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    assert job["state"] == "queued"
    await trio.sleep(91)
    assert one.api.state.market.jobs[job["id"]].state == "expired"
    assert [event["type"] for event in (await one.get("/audit/events"))["events"]] == ["job_created", "job_finished"]


async def test_payouts_are_settled_returned_and_asked_about_again(
    autojump_clock: MockClock, world: World, one: Instance, other: Instance
) -> None:
    del autojump_clock
    settled = await one.withdraw("1", "a")
    world.lost = 4
    returned = await other.withdraw("2", "b")
    world.fails.add(returned["id"])
    await trio.sleep(60)
    for instance in (one, other):
        for shown, state in ((settled, "settled"), (returned, "returned")):
            now = (await instance.get(f"/wallet/withdrawals/{shown['id']}"))["withdrawal"]
            assert now == {**shown, "state": state, "updated_at": now["updated_at"]}
        balance = (await instance.get("/wallet/balance"))["balances"][0]
        assert (balance["available"], balance["pending"]) == ("9.000000", "0.000000")
    assert {payout.id: payout.amount for payout in world.asked} == {settled["id"]: 1_000_000, returned["id"]: 2_000_000}
    types = [event["type"] for event in (await one.get("/audit/events"))["events"]]
    assert sorted(types) == sorted([*["withdrawal_requested"] * 2, "withdrawal_settled", "withdrawal_returned"])


class Silent:
    """A gateway that answers nothing."""

    async def pay_out(self, _payout: Payout) -> PayoutOutcome:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_gateway_that_hangs_delays_nothing_else(autojump_clock: MockClock, one: Instance) -> None:
    """It is waited for while a job's time runs out."""
    del autojump_clock
    one.api.payouts = Silent()
    job = (await one.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    await trio.sleep(91 - PAYOUT_ANSWER_SECONDS / 2)
    await one.withdraw("1", "a")
    await trio.sleep(PAYOUT_ANSWER_SECONDS / 2)
    assert one.api.state.market.jobs[job["id"]].state == "expired"


async def test_one_key_has_one_effect_however_many_ask_at_once(
    autojump_clock: MockClock, one: Instance, other: Instance
) -> None:
    """And all of them have its answer: nobody is told that a request is in progress."""
    del autojump_clock
    found: list[Any] = []

    async def ask(instance: Instance) -> None:
        found.append(await instance.withdraw("1", "same"))

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(ask, (one, other)[number % 2])
    assert len(found) == 16
    assert len({withdrawal["id"] for withdrawal in found}) == 1
    await trio.sleep(10)
    for instance in (one, other):
        balance = (await instance.get("/wallet/balance"))["balances"][0]
        assert (balance["available"], balance["pending"]) == ("9.000000", "0.000000")


async def test_a_simulated_gateway_pays_once_for_each_id(autojump_clock: MockClock) -> None:
    del autojump_clock
    gateway = SimulatedPayouts(LoopClock(), 1, fails=lambda payout: payout.id == "b")
    good, bad = Payout("a", "BTC", 1, "x"), Payout("b", "BTC", 1, "x")
    assert [await gateway.pay_out(one) for one in (good, bad)] == [PayoutOutcome.UNKNOWN] * 2
    await trio.sleep(1)
    for _ in range(2):
        assert [await gateway.pay_out(one) for one in (good, bad)] == [PayoutOutcome.SETTLED, PayoutOutcome.RETURNED]


async def test_instances_trade_as_one(autojump_clock: MockClock, one: Instance, other: Instance) -> None:
    """Whichever is asked, jobs go to machines, machines are told, and what they report counts."""
    del autojump_clock
    machine = await one.machine()
    assert (await other.beat(machine, {"capacity": {"cpu_cores": 2, "memory_gb": 4}})).keys() == {
        "worker_id",
        "accepted",
    }
    first = (await one.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    assert (first["state"], first["worker_id"]) == ("assigned", machine.id)
    second = (await other.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    third = (await one.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    assert (second["state"], third["state"]) == ("assigned", "queued")
    for instance in (one, other):
        notices = await instance.beat(machine)
        assert [job["job_id"] for job in notices["assignments"]] == [first["id"], second["id"]]
    running = {"jobs": [{"job_id": first["id"], "state": "running"}, {"job_id": second["id"], "state": "running"}]}
    for instance in (one, other, one, other):
        assert "assignments" not in await instance.beat(machine, running)
        await trio.sleep(15)
    assert (await other.ask("DELETE", f"/jobs/{second['id']}", ADA))[0] == 200
    notices = await one.beat(machine, {"jobs": [{"job_id": first["id"], "state": "succeeded"}]})
    assert notices["cancelled"] == [second["id"]]
    assert [job["job_id"] for job in notices["assignments"]] == [third["id"]]
    assert "cancelled" not in await other.beat(machine)
    for instance in (one, other):
        jobs = {job["id"]: job for job in (await instance.get("/jobs"))["jobs"]}
        assert [jobs[job["id"]]["state"] for job in (first, second, third)] == ["succeeded", "cancelled", "assigned"]
        assert Decimal(jobs[first["id"]]["billed"]) > 0
    assert (await one.ask("POST", f"/consents/{machine.consent_id}/revoke", owner_headers("max")))[0] == 200
    assert (await other.get(f"/jobs/{third['id']}"))["job"]["state"] == "queued"
    assert (await other.get("/resources"))["total"] == 0
    await trio.sleep(1)
    assert one.kept() == other.kept()
    assert one.api.state.market.ledger.imbalance() == 0


async def test_machines_that_fall_silent_give_their_jobs_back(
    autojump_clock: MockClock, one: Instance, other: Instance
) -> None:
    del autojump_clock
    machine = await one.machine()
    await one.beat(machine, {"capacity": {"cpu_cores": 2, "memory_gb": 4}})
    job = (await other.ask("POST", "/jobs", ADA, JOB))[1]["job"]
    assert job["state"] == "assigned"
    await trio.sleep(62)
    for instance in (one, other):
        shown = instance.api.state.market.jobs[job["id"]]
        assert (shown.state, shown.attempts) == ("queued", 1)
        assert (await instance.get("/resources"))["total"] == 0
    assert (await other.beat(machine))["assignments"][0]["job_id"] == job["id"]


async def test_what_a_new_instance_finds_is_what_the_last_one_had(
    autojump_clock: MockClock, world: World, one: Instance, other: Instance
) -> None:
    """From the journal alone, and from a snapshot that came after it."""
    del autojump_clock
    machine = await one.machine()
    await other.beat(machine, {"capacity": {"cpu_cores": 2, "memory_gb": 4}})
    agent = (await one.ask("POST", "/agents/register", {}, {"name": "Ada", "wallet_address": TRON}))[1]
    key = {"authorization": f"Bearer {agent['api_key']}"}
    jobs = [(await other.ask("POST", "/jobs", key, JOB))[1]["job"] for _ in range(4)]
    reports = [{"job_id": jobs[0]["id"], "state": "running", "result": {"at": 1}}]
    await one.beat(machine, {"jobs": reports})
    await other.ask("DELETE", f"/jobs/{jobs[1]['id']}", key)
    post = (await one.ask("POST", "/forum/posts", key, {"title": "t", "body": "b", "tags": ["x"]}))[1]["post"]
    await other.ask("POST", f"/forum/posts/{post['id']}/comments", ADA, {"body": "c"})
    await one.withdraw("1", "a")
    await trio.sleep(5)
    await one.beat(machine)
    if world.how == "memory":
        return
    new = Instance(world, "new")
    async with trio.open_nursery() as nursery:
        await nursery.start(new.resolver.run)
        await new.get("/jobs", key)
        assert new.kept() == one.kept()
        for path in ("/jobs", "/wallet/transactions", "/agents/me", "/forum/posts", "/wallet/balance"):
            assert await new.get(path, key) == await one.get(path, key)
        await trio.sleep(90)
        assert new.api.state.market.ledger.imbalance() == 0
        await new.resolver.stop()
