"""The users that a scenario's `[[load]]` starts and stops, without I/O: each is asked what it does next.

Every world plays the same users: under Trio in virtual time, under gevent as Locust's. They hold no clock: moments are
arguments, in nanoseconds on the run's clock. How often they act, and from where, is for who plays them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from simulator.contract.answers import Answer, Operation
from simulator.contract.features import TALK, TRADE
from simulator.contract.reading import MalformedDataError, read_data
from simulator.fleet.acts import ActError, Ask
from simulator.fleet.agents import Agent
from simulator.fleet.machine import Machine
from simulator.fleet.onboarding import live_once, make_rules
from simulator.fleet.requests import ApiCall, owner_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from simulator.contract.features import Feature
    from simulator.fleet.acts import Act, Acts
    from simulator.fleet.agents import AgentHabits, MarketCounts
    from simulator.fleet.market_acts import MarketActs
    from simulator.history.rows import History

DASHBOARD, ONBOARDING, MARKET, FORUM = "owner-dashboard", "owner-onboarding", "agent-market", "forum-crowd"
MARKET_USERS = (MARKET, FORUM)
"""Users that are agents."""
LOAD_USERS = (DASHBOARD, ONBOARDING, *MARKET_USERS)
"""Every kind of them, by the names that scenarios use."""
PAGE = 100
PAGES_MAX = 5
"""Of a list that a dashboard turns: people look at the first few."""


class LoadUser(Protocol):
    """One user."""

    def next_act(self, now_ns: int, /) -> Act[None]:
        """Do the next thing."""


class Crowd(msgspec.Struct):
    """What the users of one process have in common. `agents` are those of them that are agents, as they come.

    `prefix` begins the names that are their own, `owner_ids` are the fleet's owners, `new_machine` numbers a machine,
    and `lacks` is what the target was found not to have.
    """

    history: History
    token: str
    prefix: str
    owner_ids: list[str]
    habits: AgentHabits
    counts: MarketCounts
    new_machine: Callable[[], int]
    lacks: frozenset[Feature]
    agents: list[Agent] = []


def make_user(
    kind: str, number: int, crowd: Crowd, acts: Acts, market_acts: MarketActs, rng: np.random.Generator
) -> LoadUser:
    """Return a user of a kind. `number` is its own in its crowd."""
    if kind == DASHBOARD:
        return Dashboard(acts, crowd.token, crowd.owner_ids[number % len(crowd.owner_ids)], rng)
    if kind == ONBOARDING:
        owner_id = f"{crowd.prefix}-{number}"
        crowd.history.owners.append(owner_id)
        return Newcomer(acts, owner_id, rng, crowd.new_machine)
    only_talks = kind == FORUM
    if crowd.lacks & (TALK if only_talks else TRADE):
        return Absent()
    habits = msgspec.structs.replace(crowd.habits, only_talks=only_talks)
    agent = Agent(f"{crowd.prefix}-agent-{number}", market_acts, habits, rng, crowd.counts)
    crowd.agents.append(agent)
    return agent


class Absent:
    """One whose part of the API the target does not have."""

    def next_act(self, _now_ns: int) -> Act[None]:
        """Ask for nothing."""
        yield from ()


class Dashboard:
    """Looks at what an owner's dashboard shows: the summary, machines page by page, single ones, audit and metrics."""

    def __init__(self, acts: Acts, token: str, owner_id: str, rng: np.random.Generator) -> None:
        self._acts = acts
        self._token = token
        self._owner_id = owner_id
        self._rng = rng
        self._known: list[str] = []
        weights = (
            (self._summary, 4), (self._statuses, 3), (self._one_status, 2), (self._audit, 2), (self._metrics, 1),
        )  # fmt: skip
        self._looks = [look for look, weight in weights for _ in range(weight)]

    def next_act(self, _now_ns: int) -> Act[None]:
        """Look at one of them."""
        yield from self._looks[int(self._rng.integers(len(self._looks)))]()

    def _summary(self) -> Act[None]:
        yield from self._read("summary", "/workers/summary")

    def _statuses(self) -> Act[None]:
        """Read page after page."""
        known: list[str] = []
        for page in range(PAGES_MAX):
            data = (yield from self._read("statuses", f"/workers/statuses?limit={PAGE}&offset={page * PAGE}")) or {}
            known += heard_from(data.get("workers", []))
            total = data.get("total")
            if not isinstance(total, int) or total <= (page + 1) * PAGE:
                break
        self._known = known or self._known

    def _one_status(self) -> Act[None]:
        """Read that of one which a page showed."""
        if self._known:
            yield from self._read("status", f"/workers/{self._known[int(self._rng.integers(len(self._known)))]}/status")

    def _audit(self) -> Act[None]:
        yield from self._read("audit", "/audit/events?limit=50")

    def _metrics(self) -> Act[None]:
        """Read those of the whole fleet, as whoever scrapes them does."""
        headers = owner_headers(self._token, None)
        call = ApiCall(Operation.METRICS, "GET", "/metrics", headers, rooted=True)
        yield from self._acts.exchange(Ask(call, self._owner_id, name="metrics"))

    def _read(self, name: str, path: str) -> Act[dict[str, Any] | None]:
        """Read one thing as this owner; returns its data, None where there is none."""
        call = ApiCall(Operation.OTHER, "GET", path, owner_headers(self._token, self._owner_id))
        reply, got, *_ = yield from self._acts.exchange(Ask(call, self._owner_id, name=name))
        if got is not Answer.ACCEPTED:
            return None
        try:
            return read_data(reply.status, reply.body)
        except MalformedDataError:
            return None


class Newcomer:
    """An owner who brings a machine into the pool and out of it again, then another one.

    What that takes: policy, registration, consent, the policy as the machine reads it, rotation, revocation.
    """

    def __init__(self, acts: Acts, owner_id: str, rng: np.random.Generator, new_machine: Callable[[], int]) -> None:
        self._acts = acts
        self._owner_id = owner_id
        self._rng = rng
        self._new_machine = new_machine

    def next_act(self, _now_ns: int) -> Act[None]:
        """Go the whole way with one machine; whatever fails ends it there."""
        machine = Machine(self._new_machine(), self._owner_id, 0)
        with suppress(ActError):
            yield from live_once(self._acts, machine, make_rules(0, self._rng))


def heard_from(shown: Any) -> list[str]:
    """Return the machines of a page that were heard from: a right server has no status of others (contract §3)."""
    machines = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
    return [str(one["worker_id"]) for one in machines if "worker_id" in one and one.get("age_seconds", -1) != -1]
