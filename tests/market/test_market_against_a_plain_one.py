"""Whatever callers, machines and time do: the market does what a slow and plain one does, and money is conserved."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reference_server.core.market import changes
from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, post_job
from reference_server.core.market.metering import metered
from reference_server.core.market.prices import BasePrices
from reference_server.core.market.resources import Wanted, list_resources
from reference_server.core.market.wallet import apply_payout, ensure_account
from reference_server.core.market.working import tick
from reference_server.ports import PayoutOutcome
from tests.market.plain_market import PlainJob, PlainMarket, PlainPolicy
from tests.market.small_market import (
    RULES,
    assert_sound,
    at,
    balances,
    beat,
    data_of,
    error_of,
    hear,
    job_body,
    make_market,
    recovered,
    revoke,
    take_out,
)

if TYPE_CHECKING:
    from reference_server.core.market.jobs import Job
    from reference_server.core.market.market import Market
    from reference_server.wire.values import Instant

SECOND = 1_000_000_000
CREDIT = 4_000_000
ACCOUNTS = ("agent:a", "agent:b", "owner:c")
WORKERS = ("w1", "w2", "w3")
POLICIES = {
    "all": (PlainPolicy(Fraction(100), Fraction(100), Fraction(100)), RULES),
    "half": (
        PlainPolicy(Fraction(50), Fraction(50), Fraction(50)),
        '{"max_cpu_percent":50,"max_gpu_percent":50,"max_memory_percent":50}',
    ),
    "morning": (
        PlainPolicy(Fraction(100), Fraction("33.3"), Fraction(0), hours=(8,)),
        '{"allowed_hours":[8],"max_cpu_percent":100,"max_memory_percent":33.3}',
    ),
}
CAPACITIES = st.tuples(
    st.sampled_from(["1", "2", "4", "2.5"]),
    st.sampled_from(["2", "4", "8"]),
    st.dictionaries(st.sampled_from(["A", "B"]), st.integers(1, 4), max_size=2),
)
NEEDS = st.tuples(
    st.sampled_from(["0.5", "1", "2", "0.7"]),
    st.sampled_from(["0.5", "1", "4"]),
    st.sampled_from([(0, ""), (0, ""), (1, ""), (2, "A"), (1, "B")]),
)


class MarketBesideAPlainOne(RuleBasedStateMachine):
    """Each step is done to both, and all that can be seen of them is compared after it."""

    @initialize(fee=st.sampled_from([0, 250, 10_000]), timeout=st.sampled_from([300, 3_600]))
    def begin(self, fee: int, timeout: int) -> None:
        conditions = Conditions(
            base_prices=BasePrices(),
            fee_basis_points=fee,
            queue_timeout_ns=timeout * SECOND,
            dev_credit=CREDIT,
            cooldown_ns=0,
        )
        self.market = make_market(conditions)
        self.plain = PlainMarket(fee, 60 * SECOND, timeout * SECOND)
        self.seconds = 0.0
        self.serial = 0
        self.heartbeats: list[tuple[Any, ...]] = []
        self.granted: dict[tuple[str, str], tuple[str, bytes, float]] = {}
        self.withdrawn: dict[str, list[float]] = {}
        self.pending: dict[str, tuple[str, int]] = {}
        self.done: list[str] = []
        self.heard_under: dict[str, str] = {}
        for worker in WORKERS[1:]:
            self.beat(worker, "all", ("4", "8", {"A": 2} if worker == "w2" else {"A": 1, "B": 2}), [])

    @property
    def now(self) -> Instant:
        return at(self.seconds)

    def see(self, account: str) -> None:
        """See an account, which credits it once."""
        if ("seen", account) not in self.plain.money:
            self.plain.pay(account, "available", CREDIT)
            self.plain.pay("platform:funding", "available", -CREDIT)
            self.plain.pay("seen", account, 0)
        assert ensure_account(self.market, self.now, account) is None

    @rule(
        account=st.sampled_from(ACCOUNTS),
        need=NEEDS,
        minutes=st.sampled_from([1, 1, 2, 30, 120]),
        price=st.sampled_from(["0.0004", "0.003", "0.0165", "0.02", "0.031", "0.5", "1.1"]),
    )
    def post(self, account: str, need: tuple[str, str, tuple[int, str]], minutes: int, price: str) -> None:
        self.see(account)
        self.serial += 1
        job_id = f"job_{self.serial}"
        cores, memory, (gpus, model) = need
        resources: dict[str, Any] = {"cpu_cores": float(cores), "memory_gb": float(memory), "gpu_count": gpus}
        if model:
            resources["gpu_model"] = model
        body = job_body(resources=resources, duration_minutes=minutes, max_price_usdt=price)
        reply = post_job(self.market, self.now, account, None, body, job_id)
        self.plain.tick(*self.moment)
        maximum = int(Fraction(price) * 1_000_000)
        if maximum > self.plain.money[account, "available"]:
            assert error_of(reply) == (402, "insufficient balance")
            return
        assert reply.status == 201
        expires = self.moment[0] + self.plain.timeout
        job = PlainJob(
            job_id,
            self.serial,
            account,
            Fraction(cores),
            Fraction(memory),
            gpus,
            model,
            maximum,
            minutes,
            expires,
            maximum,
        )
        self.plain.post(job)
        self.plain.match(*self.moment)

    @property
    def moment(self) -> tuple[int, int]:
        return self.now.monotonic_ns, self.now.wall_ns

    @rule(
        worker=st.sampled_from(WORKERS),
        policy=st.sampled_from(["all", "all", "all", "half", "morning"]),
        capacity=st.none() | CAPACITIES,
        data=st.data(),
    )
    def heartbeat(
        self, worker: str, policy: str, capacity: tuple[str, str, dict[str, int]] | None, data: st.DataObject
    ) -> None:
        """A machine may report what is not its own."""
        ids = sorted(job.id for job in self.plain.jobs.values() if job.placed)
        states = st.sampled_from(["running", "running", "succeeded", "failed"])
        reports = data.draw(st.lists(st.tuples(st.sampled_from(ids), states), max_size=3)) if ids else []
        self.beat(worker, policy, capacity, reports)

    @rule(rounds=st.integers(1, 4), pause=st.sampled_from([15, 20, 60]), ends=st.booleans())
    def work(self, rounds: int, pause: int, *, ends: bool) -> None:
        """All machines are heard some times, and say that all their jobs run, and at last perhaps that they end."""
        for number in range(rounds):
            state = "succeeded" if ends and number == rounds - 1 else "running"
            for worker in list(self.plain.workers.values()):
                reports = [(job.id, state) for job in self.plain.jobs_on(worker)]
                self.beat(worker.id, self.heard_under[worker.id], None, reports)
            self.wait(pause)

    def beat(
        self,
        worker: str,
        policy: str,
        capacity: tuple[str, str, dict[str, int]] | None,
        reports: list[tuple[str, str]],
    ) -> None:
        """Send a heartbeat to both."""
        plain_policy, rules = POLICIES[policy]
        self.heard_under[worker] = policy
        owner = f"o{worker[1:]}"
        reported = None if capacity is None else (Fraction(capacity[0]), Fraction(capacity[1]), capacity[2])
        assigned, cancelled = self.plain.hear(worker, owner, plain_policy, reported, reports, *self.moment)
        self.heartbeats.append((self.changes_before_hearing(), hear, self.now, worker, policy, rules))
        shown = None
        if capacity is not None:
            gpus = [{"model": model, "count": count} for model, count in capacity[2].items()]
            shown = {"cpu_cores": float(capacity[0]), "memory_gb": float(capacity[1]), "gpus": gpus}
        notices = beat(
            self.market,
            worker,
            now=self.seconds,
            owner_id=owner,
            policy_id=policy,
            rules=rules,
            capacity=shown,
            jobs=[{"job_id": job_id, "state": state} for job_id, state in reports],
        )
        assert [one["job_id"] for one in notices["assignments"]] == assigned
        assert notices["cancelled"] == cancelled

    def changes_before_hearing(self) -> int:
        """Bring the market up to now, so that what follows comes after the heartbeat itself."""
        tick(self.market, self.now)
        assert self.market.changes is not None
        return len(self.market.changes)

    @rule(seconds=st.sampled_from([1, 7.5, 20, 20, 59, 61, 900, 3_000]))
    def wait(self, seconds: float) -> None:
        self.seconds += seconds
        tick(self.market, self.now)
        self.plain.tick(*self.moment)

    @precondition(lambda self: self.plain.jobs)
    @rule(data=st.data(), account=st.sampled_from(ACCOUNTS))
    def cancel(self, data: st.DataObject, account: str) -> None:
        job = self.plain.jobs[data.draw(st.sampled_from(sorted(self.plain.jobs)))]
        self.plain.tick(*self.moment)
        reply = cancel_job(self.market, self.now, account, job.id)
        if job.account != account:
            assert error_of(reply) == (404, "job not found")
        elif job.state in {"succeeded", "failed", "expired"}:
            assert error_of(reply) == (409, "job already finished")
        else:
            if job.state != "cancelled":
                self.plain.end(job, "cancelled")
                self.plain.match(*self.moment)
            assert data_of(reply)["job"]["state"] == "cancelled"

    @precondition(lambda self: self.plain.workers)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        worker_id = data.draw(st.sampled_from(sorted(self.plain.workers)))
        policy_id = self.heard_under[worker_id]
        self.heartbeats.append(
            (
                self.changes_before_hearing(),
                changes.end_consent,
                worker_id,
                policy_id,
            )
        )
        revoke(self.market, self.now, worker_id, policy_id)
        self.plain.revoke(worker_id, *self.moment)

    @rule(
        account=st.sampled_from(ACCOUNTS),
        key=st.sampled_from(["k1", "k2", "k3"]),
        amount=st.sampled_from(["0.1", "0.10", "1", "3.5"]),
    )
    def withdraw(self, account: str, key: str, amount: str) -> None:
        """The same key has one effect: the first answer comes again, and another body is refused."""
        self.see(account)
        self.serial += 1
        withdrawal_id = f"wdr_{self.serial}"
        reply = take_out(self.market, amount, now=self.seconds, key=key, account=account, id=withdrawal_id)
        if (account, key) in self.granted:
            first_amount, first_body, granted_at = self.granted[account, key]
            if self.seconds - granted_at < 86_400:
                if first_amount != amount:
                    assert error_of(reply) == (422, "idempotency key reused")
                else:
                    assert reply.body == first_body
                    assert ("idempotent-replayed", "true") in reply.headers
                return
        units = int(Fraction(amount) * 1_000_000)
        if sum(self.seconds - since < 3_600 for since in self.withdrawn.get(account, ())) >= 10:
            assert error_of(reply) == (429, "withdrawal limit exceeded")
        elif units > self.plain.money[account, "available"]:
            assert error_of(reply) == (402, "insufficient balance")
        else:
            assert reply.status == 202
            self.granted[account, key] = amount, reply.body, self.seconds
            self.withdrawn.setdefault(account, []).append(self.seconds)
            self.pending[withdrawal_id] = account, units
            self.plain.pay(account, "available", -units)
            self.plain.pay(account, "pending", units)

    @precondition(lambda self: self.pending or self.done)
    @rule(data=st.data(), outcome=st.sampled_from(PayoutOutcome))
    def gateway_answers(self, data: st.DataObject, outcome: PayoutOutcome) -> None:
        """It may answer again about what is finished, and say something else."""
        withdrawal_id = data.draw(st.sampled_from([*self.pending, *self.done]))
        finished = apply_payout(self.market, self.now, withdrawal_id, outcome)
        assert finished == (withdrawal_id in self.pending and outcome is not PayoutOutcome.UNKNOWN)
        if finished:
            account, units = self.pending.pop(withdrawal_id)
            self.done.append(withdrawal_id)
            self.plain.pay(account, "pending", -units)
            to = "platform:payouts" if outcome is PayoutOutcome.SETTLED else account
            self.plain.pay(to, "available", units)

    @invariant()
    def they_agree(self) -> None:
        market, plain = self.market, self.plain
        assert {job.id: _seen(market, job) for job in market.jobs.values()} == {
            job.id: _seen_plainly(job) for job in plain.jobs.values()
        }
        assert balances(market) == {place: units for place, units in plain.money.items() if units}
        cpu, memory, models = market.pool.prices()
        assert {"cpu": cpu, "memory": memory, **models} == plain.prices(*self.moment)
        assert_sound(market)
        page = data_of(list_resources(market, self.now, Wanted(), 2, 0))["resources"]
        left = ((market.pool.rate_of(cpu, memory, gpus), name) for _, cpu, memory, gpus, name in market.pool.listed)
        assert [one["worker_id"] for one in page] == [name for _, name in sorted(left)[:2]]

    @invariant()
    def nobody_starves(self) -> None:
        """No queued job has a machine that fits at a price within its maximum."""
        plain = self.plain
        queued = [job for job in plain.jobs.values() if job.state == "queued"]
        assert [job.id for job in queued if plain.best_place(job, *self.moment)] == []

    def teardown(self) -> None:
        """What was noted makes the same market again."""
        again = recovered(self.market, self.now, self.heartbeats)
        tick(self.market, self.now)
        assert {job.id: _seen(again, job) for job in again.jobs.values()} == {
            job.id: _seen(self.market, job) for job in self.market.jobs.values()
        }
        assert balances(again) == balances(self.market)
        assert again.pool.prices() == self.market.pool.prices()
        assert [job.id for job in again.waiting.queued()] == [job.id for job in self.market.waiting.queued()]
        assert json.dumps([entry.id for entry in _entries(again)]) == json.dumps([e.id for e in _entries(self.market)])


def _entries(market: Any) -> list[Any]:
    return [entry for account in market.ledger.accounts.values() for entry in account.entries]


def _seen(market: Market, job: Job) -> tuple[Any, ...]:
    return (
        job.state,
        job.worker_id if job.unfinished else "",
        job.model if job.unfinished else "",
        job.rate if job.unfinished else None,
        job.escrow,
        job.billed,
        job.attempts,
        job.error,
        metered(job, market.pool.offers.get(job.worker_id)),
    )


def _seen_plainly(job: PlainJob) -> tuple[Any, ...]:
    unfinished = job.state in {"queued", "assigned", "running"}
    return (
        job.state,
        job.worker if unfinished else "",
        job.on_model if unfinished else "",
        job.rate if unfinished else None,
        job.escrow,
        job.billed,
        job.attempts,
        job.error,
        job.ran,
    )


TestMarketBesideAPlainOne = pytest.mark.long(MarketBesideAPlainOne.TestCase)
TestMarketBesideAPlainOne.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
