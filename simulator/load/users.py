"""The users that Locust starts and stops. Each finds its worker's node in the environment and does little by itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from locust import User, constant, constant_throughput, task

from simulator.contract.answers import Answer, Operation
from simulator.contract.features import TALK, TRADE
from simulator.contract.reading import MalformedDataError, read_data
from simulator.fleet.acts import ActError, Ask
from simulator.fleet.agents import Agent
from simulator.fleet.machine import Machine
from simulator.fleet.onboarding import live_once, make_rules
from simulator.fleet.requests import ApiCall, owner_headers
from simulator.load.owners import OwnerSession
from simulator.load.worker_node import node_of

if TYPE_CHECKING:
    from locust.env import Environment

    from simulator.fleet.acts import Reply

FOREVER_SECONDS = 7 * 86_400.0
PAGE = 100
PAGES_MAX = 5
"""Of a list that a dashboard turns: people look at the first few."""


class ProviderMachine(User):
    """One machine of the fleet, which lives in the shard beside this worker: it comes and goes with this user."""

    wait_time = constant(FOREVER_SECONDS)

    def on_start(self) -> None:
        """Have one more machine take part."""
        node_of(self.environment).change_machines(1)

    def on_stop(self) -> None:
        """Have one machine fewer take part; it keeps its registration."""
        node_of(self.environment).change_machines(-1)

    @task
    def live(self) -> None:
        """Do nothing: the machine lives by itself."""


class Attacker(User):
    """One campaign of the scenario, which the shard beside this worker plays; it ends by itself."""

    wait_time = constant(FOREVER_SECONDS)

    def on_start(self) -> None:
        """Ask the master which campaign is due."""
        node_of(self.environment).ask_for_campaign()

    @task
    def watch(self) -> None:
        """Do nothing: the campaign goes on by itself."""


def _paced(user: Any) -> float:
    """Return how long a user waits until its next request is due."""
    return float(user.pace(user))


class _Owner(User):
    """An owner with a connection and an address of its own, who asks `rate` times a second."""

    abstract = True
    wait_time = _paced

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        part = node_of(environment).owners()
        self.number = part.new_user()
        self.part = part
        self.rng = part.rng(self.number)
        self.session = OwnerSession(part, environment, self.number)
        self.owner_id = part.owners[self.number % len(part.owners)]
        self.pace = constant_throughput(node_of(environment).rate_of(type(self).__name__))

    def on_stop(self) -> None:
        """Close the connection."""
        self.session.close()

    def read(self, name: str, path: str, *, whole_fleet: bool = False, rooted: bool = False) -> dict[str, Any] | None:
        """Read one thing as this owner, or of the whole fleet; returns its data, None where there is none."""
        headers = owner_headers(self.part.target.token, None if whole_fleet else self.owner_id)
        operation = Operation.METRICS if name == "metrics" else Operation.OTHER
        ask = Ask(ApiCall(operation, "GET", path, headers, rooted=rooted), self.owner_id, name=name)
        reply, got, *_ = self.session.play(self.session.acts.exchange(ask), self.wait)
        return _data(reply) if got is Answer.ACCEPTED else None


class OwnerDashboard(_Owner):
    """Looks at what a dashboard shows: the summary, the machines page by page, single ones, the audit, the metrics."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._known: list[str] = []

    @task(4)
    def summary(self) -> None:
        """`GET /workers/summary`."""
        self.read("summary", "/workers/summary")

    @task(3)
    def statuses(self) -> None:
        """`GET /workers/statuses`, page after page."""
        known: list[str] = []
        for page in range(PAGES_MAX):
            data = self.read("statuses", f"/workers/statuses?limit={PAGE}&offset={page * PAGE}") or {}
            known += _heard_from(data.get("workers", []))
            if (page + 1) * PAGE >= data.get("total", 0):
                break
            self.wait()
        self._known = known or self._known

    @task(2)
    def one_status(self) -> None:
        """`GET /workers/{id}/status` of one that a page showed."""
        if self._known:
            self.read("status", f"/workers/{self._known[int(self.rng.integers(len(self._known)))]}/status")

    @task(2)
    def audit(self) -> None:
        """`GET /audit/events`, the latest ones."""
        self.read("audit", "/audit/events?limit=50")

    @task(1)
    def metrics(self) -> None:
        """`GET /metrics`."""
        self.read("metrics", "/metrics", whole_fleet=True, rooted=True)


class OwnerOnboarding(_Owner):
    """Brings a machine into the pool and out of it again: policy, registration, consent, rotation, revocation."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.owner_id = f"{self.part.prefix}-{self.number}"
        self.part.history.owners.append(self.owner_id)

    @task
    def onboard(self) -> None:
        """Go the whole way with one machine; whatever fails ends it there, and the next task begins with another."""
        machine = Machine(next(self.part.machine_numbers), self.owner_id, 0)
        with suppress(ActError):
            self.session.play(live_once(self.session.acts, machine, make_rules(0, self.rng)), self.wait)


class AgentMarket(User):
    """An agent: registers, looks at prices and at what is offered, posts, watches and cancels jobs, and withdraws."""

    wait_time = _paced
    only_talks = False
    needs = TRADE

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        part = self.part = node_of(environment).owners()
        number = part.new_user()
        self.session = OwnerSession(part, environment, number)
        habits = msgspec.structs.replace(part.habits, only_talks=self.only_talks)
        name = f"{part.prefix}-agent-{number}"
        self.agent = Agent(name, self.session.market, habits, part.rng(number), part.progress)
        part.agents.append(self.agent)
        self.pace = constant_throughput(node_of(environment).rate_of(type(self).__name__))

    def on_stop(self) -> None:
        """Close the connection."""
        self.session.close()

    @task
    def act(self) -> None:
        """Do the next thing, as agents in every world do; nothing where the target has no such thing."""
        if self.part.target.lacks & self.needs:
            return
        self.session.play(self.agent.next_act(self.part.now()), self.wait)


class ForumCrowd(AgentMarket):
    """An agent that only reads and writes in the forum."""

    only_talks = True
    needs = TALK


def _heard_from(shown: Any) -> list[str]:
    """Return the machines of a page that were heard from: a right server has no status of others (contract §3)."""
    machines = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
    return [str(one["worker_id"]) for one in machines if "worker_id" in one and one.get("age_seconds", -1) != -1]


def _data(reply: Reply) -> dict[str, Any] | None:
    try:
        return read_data(reply.status, reply.body)
    except MalformedDataError:
        return None
