"""A heartbeat that says nothing new is answered without the market, and all is as where each is taken to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core import heartbeats
from reference_server.core.attending import bring_up, concerns_market
from tests.core.market_server import ADA, ALL_RULES, CAPACITY, Market
from tests.core.server_under_test import SECOND, Machine
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable

CAPACITIES: tuple[Any, ...] = (None, CAPACITY, CAPACITY, CAPACITY, {"cpu_cores": 2, "memory_gb": 8}, {"cpu_cores": -1})
NAMES = ("capacity", "jobs"), ("jobs", "capacity")
MACHINES = st.integers(0, 1)
STEPS = st.one_of(
    st.tuples(
        st.just("beat"),
        MACHINES,
        st.sampled_from(CAPACITIES),
        st.sampled_from(["", "running", "running", "running", "succeeded", "failed"]),
        st.sampled_from(NAMES),
    ),
    st.tuples(st.just("again"), MACHINES, st.integers(0, 2), st.integers(0, 99)),
    st.tuples(st.just("again"), MACHINES, st.just(0), st.integers(0, 99)),
    st.tuples(st.just("post")),
    st.tuples(st.just("cancel"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([1, 20, 70])),
    st.tuples(st.just("agree"), MACHINES, st.sampled_from([50, 100])),
)


class Trade:
    """A server, two machines, and one who posts jobs. What is the same on two of them is what `done` says."""

    def __init__(self) -> None:
        self.server = Market(stale_seconds=60)
        self.machines: list[Machine] = []
        self.policies: dict[str, str] = {}
        self.texts: dict[str, list[dict[str, Any]]] = {}
        self.posted: list[str] = []
        for owner_id in ("max", "moe"):
            machine, policy_id, _ = self.server.offering(owner_id)
            self.machines.append(machine)
            self.policies[machine.id] = policy_id
            self.texts[machine.id] = [{"capacity": CAPACITY}]

    def do(self, step: tuple[Any, ...]) -> Any:
        """Do one step; return what is answered to it, and what can be seen of all afterwards."""
        kind, *values = step
        does: dict[str, Callable[..., Any]] = {
            "beat": self.beat, "again": self.again, "post": self.post, "cancel": self.cancel, "agree": self.agree,
            "wait": lambda seconds: self.server.pass_time(seconds * SECOND),
        }  # fmt: skip
        answered = does[kind](*values)
        bring_up(self.server.api.state, self.server.now)
        return answered, self.seen()

    def seen(self) -> Any:
        """Return all that shows: jobs, prices and what is left, the audit, and what was counted."""
        market = self.server.api.state.market
        jobs = [self.server.job(ADA, job_id) for job_id in self.posted]
        resources = self.server.send("GET", "/resources", None, ADA).data
        audits = [self.server.audit(machine.owner_id) for machine in self.machines]
        return jobs, resources, audits, dict(market.ignored), dict(market.transitions), self.server.usdt(ADA)

    def beat(self, number: int, capacity: Any, state: str, names: tuple[str, str]) -> Any:
        """Say what a machine has, and that all its jobs are in one state."""
        offer = self.server.api.state.market.pool.offers[self.machines[number].id]
        fields: dict[str, Any] = {}
        if capacity is not None:
            fields["capacity"] = capacity
        if state:
            fields["jobs"] = [{"job_id": job_id, "state": state} for job_id in offer.jobs]
        metrics = {name: fields[name] for name in names if name in fields}
        return self.say(self.machines[number], metrics)

    def again(self, number: int, back: int, load: int) -> Any:
        """Say the same as last, or some time before, but for what the market does not read."""
        machine = self.machines[number]
        texts = self.texts[machine.id]
        return self.say(machine, {"cpu_percent": load, **texts[max(-1 - back, -len(texts))]})

    def say(self, machine: Machine, metrics: dict[str, Any]) -> Any:
        self.texts[machine.id].append({name: value for name, value in metrics.items() if name != "cpu_percent"})
        return self.server.heard(machine, self.policies[machine.id], metrics, lane=True)

    def post(self) -> None:
        self.posted.append(self.server.post(ADA)["id"])

    def cancel(self, number: int) -> Any:
        jobs = [job for job in self.server.api.state.market.jobs.values() if job.unfinished]
        return [self.server.send("DELETE", f"/jobs/{job.id}", None, ADA).data for job in jobs[number : number + 1]]

    def agree(self, number: int, percent: int) -> None:
        """Have a machine go by another policy from now on."""
        machine = self.machines[number]
        rules = {**ALL_RULES, "max_cpu_percent": percent}
        policy_id = self.policies[machine.id] = self.server.policy_of(machine.owner_id, rules)
        self.server.consent(machine, policy_id)


@settings(max_examples=examples(50))
@given(steps=st.lists(STEPS, min_size=6, max_size=14))
def test_all_is_as_where_each_heartbeat_is_taken_to_the_market(steps: list[tuple[Any, ...]]) -> None:
    short, long = Trade(), Trade()
    for step in steps:
        done = short.do(step)
        with patch.object(heartbeats, "concerns_market", lambda *_: True):
            assert long.do(step) == done


def test_what_a_machine_has_to_be_told_it_is_told_though_it_says_the_same() -> None:
    trade = Trade()
    assert [trade.again(number, 0, 0) for number in (0, 1, 0, 1)] == [{}] * 4
    trade.post()
    answers = [trade.again(number, 0, 0) for number in (0, 1)]
    assert [[one["job_id"] for one in answer["assignments"]] for answer in answers if answer] == [trade.posted]
    number = next(number for number, answer in enumerate(answers) if answer)
    trade.beat(number, CAPACITY, "running", NAMES[0])
    assert [trade.again(number, 0, load) for load in (1, 2)] == [{}] * 2
    trade.cancel(0)
    assert [trade.again(number, 0, 0) for _ in range(2)] == [{"cancelled": trade.posted}, {}]


def test_what_a_machine_said_before_the_last_is_new() -> None:
    trade = Trade()
    smaller = {**CAPACITY, "cpu_cores": 2}
    for capacity, left in ((CAPACITY, 4), (CAPACITY, 4), (smaller, 2), (smaller, 2), (CAPACITY, 4), (smaller, 2)):
        trade.beat(0, capacity, "", NAMES[0])
        resources = trade.server.send("GET", "/resources", None, ADA).data["resources"]
        assert sorted(one["cpu_cores"] for one in resources) == [left, 4]


def test_a_machine_that_is_looked_at_is_taken_to_the_market_though_it_says_the_same() -> None:
    trade = Trade()
    state, metrics = trade.server.api.state, b'{"capacity":{"cpu_cores":4,"memory_gb":8}}'
    offer = state.offer_of(state.workers[trade.machines[0].id])
    trade.server.heard(trade.machines[0], trade.policies[trade.machines[0].id], {"capacity": CAPACITY}, lane=True)
    assert offer is not None
    offer.reported_hash = hash(metrics[metrics.index(b":") + 1 : -1])
    offer.repeated_hash = None
    assert not concerns_market(state.market, offer, metrics)
    state.market.unsettled["another"] = None
    assert not concerns_market(state.market, offer, metrics)
    state.market.unsettled[offer.worker_id] = None
    assert concerns_market(state.market, offer, metrics)
