"""The users of a scenario's `[[load]]`, without I/O: asked for its next act, each returns a script.

Every world plays the same users: under Trio in virtual time, under gevent as Locust's. They have no clock: times are
arguments, in nanoseconds of the run. The player decides how often they act and from which address.
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
"""All kinds of users, by their names in scenarios."""
PAGE = 100
PAGES_MAX = 5
"""The most pages of a list that a dashboard reads: people look at the first few."""


class LoadUser(Protocol):
    """One user."""

    def next_act(self, now_ns: int, /) -> Act[None]:
        """Return the next act."""


class Crowd(msgspec.Struct):
    """The shared data of the users of one process. `agents` are those users that are agents, in order of arrival.

    `prefix` starts their own names, `owner_ids` are the fleet's owners, `new_machine` returns a machine's number, and
    `lacks` are the features that the target lacks.
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
    """Return a user of a kind. `number` is unique in its crowd."""
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
    """A user whose part of the API the target lacks."""

    def next_act(self, _now_ns: int) -> Act[None]:
        """Return an act without requests."""
        yield from ()


class Dashboard:
    """Reads what an owner's dashboard shows: the summary, machines page by page, single machines, audit and metrics."""

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
        """Read one of these."""
        yield from self._looks[int(self._rng.integers(len(self._looks)))]()

    def _summary(self) -> Act[None]:
        yield from self._read("summary", "/workers/summary")

    def _statuses(self) -> Act[None]:
        """Read the list of statuses page by page."""
        known: list[str] = []
        for page in range(PAGES_MAX):
            data = (yield from self._read("statuses", f"/workers/statuses?limit={PAGE}&offset={page * PAGE}")) or {}
            known += heard_from(data.get("workers", []))
            total = data.get("total")
            if not isinstance(total, int) or total <= (page + 1) * PAGE:
                break
        self._known = known or self._known

    def _one_status(self) -> Act[None]:
        """Read the status of a machine that a page showed."""
        if self._known:
            yield from self._read("status", f"/workers/{self._known[int(self._rng.integers(len(self._known)))]}/status")

    def _audit(self) -> Act[None]:
        yield from self._read("audit", "/audit/events?limit=50")

    def _metrics(self) -> Act[None]:
        """Read the metrics of the whole fleet."""
        headers = owner_headers(self._token, None)
        call = ApiCall(Operation.METRICS, "GET", "/metrics", headers, rooted=True)
        yield from self._acts.exchange(Ask(call, self._owner_id, name="metrics"))

    def _read(self, name: str, path: str) -> Act[dict[str, Any] | None]:
        """Read a path as this owner; return the answer's data, or None."""
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

    That is: policy, registration, consent, fetching the policy, rotation, revocation.
    """

    def __init__(self, acts: Acts, owner_id: str, rng: np.random.Generator, new_machine: Callable[[], int]) -> None:
        self._acts = acts
        self._owner_id = owner_id
        self._rng = rng
        self._new_machine = new_machine

    def next_act(self, _now_ns: int) -> Act[None]:
        """Do all of that with one machine; a failure ends the act."""
        machine = Machine(self._new_machine(), self._owner_id, 0)
        with suppress(ActError):
            yield from live_once(self._acts, machine, make_rules(0, self._rng))


def heard_from(shown: Any) -> list[str]:
    """Return the machines of a page that were heard from; a correct server has no status of others (contract §3)."""
    machines = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
    return [str(one["worker_id"]) for one in machines if "worker_id" in one and one.get("age_seconds", -1) != -1]
