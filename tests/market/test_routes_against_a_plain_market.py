"""Whatever is asked over the whole way of a request: jobs and money are as on a slow and plain market, and last."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.wire.own_sections import OWN
from tests.core.market_server import JOB, Market
from tests.core.server_under_test import SECOND, Answer, Machine, owner_headers
from tests.market.plain_market import PlainJob, PlainMarket, PlainPolicy
from tests.market.small_market import assert_sound
from tests.support.tiers import examples

if TYPE_CHECKING:
    from reference_server.core.state import State

CREDIT = 10_000_000
RULES: dict[str, tuple[PlainPolicy, dict[str, Any]]] = {
    "all": (
        PlainPolicy(Fraction(100), Fraction(100), Fraction(100)),
        {"max_cpu_percent": 100, "max_memory_percent": 100, "max_gpu_percent": 100},
    ),
    "half": (
        PlainPolicy(Fraction(50), Fraction(50), Fraction(0)),
        {"max_cpu_percent": 50, "max_memory_percent": 50},
    ),
    "afternoon": (
        PlainPolicy(Fraction(100), Fraction(100), Fraction(0), hours=(14,)),
        {"allowed_hours": [14], "max_cpu_percent": 100, "max_memory_percent": 100},
    ),
}
CAPACITIES = st.none() | st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([2, 8]), st.integers(0, 2))


def units(text: str | None) -> int | None:
    return None if text is None else int(Fraction(text) * 1_000_000)


class RoutesBesideAPlainMarket(RuleBasedStateMachine):
    """Each request is made of the server and done to the plain market, and what owners and agents see is compared."""

    @initialize(fee=st.sampled_from([0, 250]), timeout=st.sampled_from([300, 3_600]))
    def begin(self, fee: int, timeout: int) -> None:
        self.server = Market(platform_fee_basis_points=fee, job_queue_timeout_seconds=timeout)
        self.plain = PlainMarket(fee, 60 * SECOND, timeout * SECOND)
        agents = [self.server.agent(name) for name in ("one", "two")]
        self.callers = {f"agent:{one.id}": one.headers for one in agents}
        self.callers |= {f"owner:{name}": owner_headers(name) for name in ("ada", "o1", "o2")}
        for account, headers in self.callers.items():
            assert self.server.usdt(headers) == ("10.000000", "0.000000", "0.000000")
            self.plain.pay(account, "available", CREDIT)
        self.accounts = list(self.callers)
        self.machines: list[Machine] = []
        self.policies: dict[tuple[str, str], str] = {}
        self.consents: dict[tuple[str, str], str] = {}
        self.heard_under: dict[str, str] = {}
        self.granted: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.serial = 0
        for owner_id in ("o1", "o2"):
            machine = self.server.register(owner_id)
            self.machines.append(machine)
            for name in RULES:
                self.agree(machine, name)
            self.beat(machine, "all", (4, 8, 2), [])

    def agree(self, machine: Machine, name: str) -> None:
        """Have a machine's owner sign a policy, and consent to it."""
        policy_id = self.server.policy_of(machine.owner_id, RULES[name][1])
        self.policies[machine.id, name] = policy_id
        self.consents[machine.id, name] = self.server.consent(machine, policy_id)

    @property
    def moment(self) -> tuple[int, int]:
        return self.server.now.monotonic_ns, self.server.now.wall_ns

    @rule(
        which=st.integers(0, 4),
        cores=st.sampled_from([1, 1, 2, 4]),
        gpus=st.sampled_from([0, 0, 0, 1]),
        minutes=st.sampled_from([1, 2, 60]),
        price=st.sampled_from(["0.0004", "0.0165", "0.02", "0.5", "1.1", "9"]),
    )
    def post(self, which: int, cores: int, gpus: int, minutes: int, price: str) -> None:
        account = self.accounts[which]
        resources = {"cpu_cores": cores, "memory_gb": 1, "gpu_count": gpus}
        body = {**JOB, "resources": resources, "duration_minutes": minutes, "max_price_usdt": price}
        answer = self.server.send("POST", "/jobs", body, self.callers[account])
        self.plain.tick(*self.moment)
        maximum = units(price) or 0
        if maximum > self.plain.money[account, "available"]:
            assert answer.error == (402, "insufficient balance")
            return
        self.serial += 1
        expires = self.moment[0] + self.plain.timeout
        needs = (Fraction(cores), Fraction(1), gpus, "", maximum, minutes, expires, maximum)
        self.plain.post(PlainJob(answer.data["job"]["id"], self.serial, account, *needs))
        self.plain.match(*self.moment)

    @rule(
        which=st.integers(0, 1),
        policy=st.sampled_from(["all", "all", "half", "afternoon"]),
        capacity=CAPACITIES,
        state=st.sampled_from(["", "running", "succeeded", "failed"]),
    )
    def heartbeat(self, which: int, policy: str, capacity: tuple[int, int, int] | None, state: str) -> None:
        """A machine reports all its jobs in one state, or none, and one of the other's."""
        machine = self.machines[which]
        mine = [job for job in self.plain.jobs.values() if job.placed]
        self.beat(machine, policy, capacity, [(job.id, state) for job in mine] if state else [])

    @rule(rounds=st.integers(1, 4), pause=st.sampled_from([15, 50]))
    def work(self, rounds: int, pause: int) -> None:
        for _ in range(rounds):
            for machine in self.machines:
                reports = [(job.id, "running") for job in self.plain.jobs.values() if job.placed]
                self.beat(machine, self.heard_under[machine.id], None, reports)
            self.wait(pause)

    def beat(
        self, machine: Machine, name: str, capacity: tuple[int, int, int] | None, reports: list[tuple[str, str]]
    ) -> None:
        metrics: dict[str, Any] = {}
        reported = None
        if capacity is not None:
            cores, memory, gpus = capacity
            models = {"A": gpus} if gpus else {}
            reported = (Fraction(cores), Fraction(memory), models)
            shown = [{"model": model, "count": count} for model, count in models.items()]
            metrics["capacity"] = {"cpu_cores": cores, "memory_gb": memory, "gpus": shown}
        if reports:
            metrics["jobs"] = [{"job_id": job_id, "state": state} for job_id, state in reports]
        self.heard_under[machine.id] = name
        assigned, cancelled = self.plain.hear(
            machine.id, machine.owner_id, RULES[name][0], reported, reports, *self.moment
        )
        notices = self.server.heard(machine, self.policies[machine.id, name], metrics, lane=self.serial % 2 == 0)
        assert [one["job_id"] for one in notices.get("assignments", [])] == assigned
        assert notices.get("cancelled", []) == cancelled

    @rule(seconds=st.sampled_from([1, 20, 59, 61, 900, 3_000]))
    def wait(self, seconds: int) -> None:
        self.server.pass_time(seconds * SECOND)
        self.plain.tick(*self.moment)

    @precondition(lambda self: self.plain.jobs)
    @rule(data=st.data(), which=st.integers(0, 4))
    def cancel(self, data: st.DataObject, which: int) -> None:
        job = self.plain.jobs[data.draw(st.sampled_from(sorted(self.plain.jobs)))]
        account = self.accounts[which] if which else job.account
        self.plain.tick(*self.moment)
        answer = self.server.send("DELETE", f"/jobs/{job.id}", None, self.callers[account])
        if job.account != account:
            assert answer.error == (404, "job not found")
        elif job.state in {"succeeded", "failed", "expired"}:
            assert answer.error == (409, "job already finished")
        else:
            if job.state != "cancelled":
                self.plain.end(job, "cancelled")
                self.plain.match(*self.moment)
            assert answer.data["job"]["state"] == "cancelled"

    @rule(which=st.integers(0, 1))
    def revoke(self, which: int) -> None:
        """To go on the owner signs another version."""
        machine = self.machines[which]
        name = self.heard_under[machine.id]
        self.server.revoke(machine.owner_id, self.consents[machine.id, name])
        self.plain.revoke(machine.id, *self.moment)
        self.agree(machine, name)

    @rule(which=st.integers(0, 4), key=st.sampled_from("kl"), amount=st.sampled_from(["0.1", "0.10", "3.5"]))
    def withdraw(self, which: int, key: str, amount: str) -> None:
        account = self.accounts[which]
        answer: Answer = self.server.withdraw(self.callers[account], amount, key)
        if (account, key) in self.granted:
            first_amount, first_body = self.granted[account, key]
            if first_amount != amount:
                assert answer.error == (422, "idempotency key reused")
            else:
                assert (answer.status, answer.body) == (202, first_body)
            return
        cost = units(amount) or 0
        if cost > self.plain.money[account, "available"]:
            assert answer.error == (402, "insufficient balance")
            return
        assert answer.status == 202
        self.granted[account, key] = amount, answer.body
        self.plain.pay(account, "available", -cost)
        self.plain.pay(account, "pending", cost)

    @invariant()
    def all_see_the_same(self) -> None:
        self.plain.tick(*self.moment)
        for account, headers in self.callers.items():
            mine = [job for job in self.plain.jobs.values() if job.account == account]
            shown = self.server.send("GET", "/jobs", None, headers, query="limit=500").data["jobs"]
            assert {job["id"]: seen(job) for job in shown} == {job.id: seen_plainly(job) for job in mine}
            parts = [self.plain.money.get((account, part), 0) for part in ("available", "held", "pending")]
            assert [units(part) for part in self.server.usdt(headers)] == parts
        prices = {
            one.get("model", one["resource"]): units(one["price"])
            for one in self.server.send("GET", "/resources/prices", None, owner_headers("ada")).data["prices"]
        }
        names = {"cpu": "cpu-hour", "memory": "memory-gb-hour"}
        assert prices == {names.get(name, name): price for name, price in self.plain.prices(*self.moment).items()}
        assert_sound(self.server.api.state.market)

    def teardown(self) -> None:
        """What is written of it, and read again, is written the same."""
        if hasattr(self, "server"):
            state, now = self.server.api.state, self.server.now
            again = self.server.api.empty_state()
            recover(again, MemoryJournal(Storage(b"".join(snapshot(state, now, "s")), {"s": []})), now)
            assert_sound(again.market)
            assert written(again, self.server) == written(state, self.server)


def written(state: State, server: Market) -> Any:
    shown = json.loads(b"".join(snapshot(state, server.now, "s")))
    for name in ("checksum", OWN):
        shown.pop(name)
    return shown, [(name, list(shown[name])) for name in ("jobs", "withdrawals") if name in shown]


def seen(job: dict[str, Any]) -> tuple[Any, ...]:
    unfinished = job["state"] in {"queued", "assigned", "running"}
    return (
        job["state"],
        job["worker_id"] or "" if unfinished else "",
        units(job["price_per_hour"]) if unfinished else None,
        units(job["escrow"]),
        units(job["billed"]),
        job["attempts"],
        job["error"],
    )


def seen_plainly(job: PlainJob) -> tuple[Any, ...]:
    unfinished = job.state in {"queued", "assigned", "running"}
    worker, rate = (job.worker, job.rate) if unfinished else ("", None)
    return job.state, worker, rate, job.escrow, job.billed, job.attempts, job.error


TestRoutesBesideAPlainMarket = RoutesBesideAPlainMarket.TestCase
TestRoutesBesideAPlainMarket.settings = settings(
    max_examples=examples(10), stateful_step_count=examples(20), deadline=None
)
