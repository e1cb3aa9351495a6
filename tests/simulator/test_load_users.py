"""The users of `[[load]]` without I/O: what each of them asks for, whatever comes back."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Operation
from simulator.contract.features import Feature
from simulator.fleet.acts import Acts, Ask, Reply, Unrecorded
from simulator.fleet.agents import Agent, AgentHabits
from simulator.fleet.load_users import (
    DASHBOARD,
    FORUM,
    LOAD_USERS,
    MARKET,
    ONBOARDING,
    Absent,
    Crowd,
    LoadUser,
    heard_from,
    make_user,
)
from simulator.fleet.market_acts import MarketActs
from simulator.fleet.market_requests import agent_caller
from simulator.history.rows import History
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable


class Users:
    """Users of one crowd; `answer` says the status and data of what is asked for at a path."""

    def __init__(self, answer: Callable[[str], tuple[int, Any]], lacks: frozenset[Feature] = frozenset()) -> None:
        self.history = History()
        machines = count(7)
        self.crowd = Crowd(
            self.history, "token", "run-o", ["ada", "ben"], AgentHabits(), Progress(), lambda: next(machines), lacks
        )
        self.asked: list[Ask] = []
        self._answer = answer
        self._rng = np.random.default_rng(1)

    def make(self, kind: str, number: int = 0) -> LoadUser:
        """Return a user of a kind."""
        acts = Acts(self.history, "token", 600 * SECOND_NS, Unrecorded())
        return make_user(kind, number, self.crowd, acts, MarketActs(self.history, Unrecorded()), self._rng)

    def act(self, user: LoadUser, times: int = 1) -> list[Ask]:
        """Have a user act so often, and return what it asked for."""
        before = len(self.asked)
        for _ in range(times):
            script, sent = user.next_act(0), None
            while True:
                try:
                    step = script.send(sent)
                except StopIteration:
                    break
                sent = None
                if isinstance(step, Ask):
                    self.asked.append(step)
                    status, data = self._answer(step.call.path)
                    body = msgspec.json.encode({"success": True, "data": data})
                    sent = Reply(1, 2, status, b"HTTP/1.1", body)
        return self.asked[before:]


def shows(total: object) -> Callable[[str], tuple[int, Any]]:
    """Answer that a list is so long, with one machine on each page."""
    return lambda path: (200, {"total": total, "workers": [{"worker_id": path[-3:], "age_seconds": 1}]})


def test_a_dashboard_looks_at_all_that_it_shows_the_more_often_what_changes() -> None:
    users = Users(shows(1))
    asked = Counter(one.name for one in users.act(users.make(DASHBOARD, 1), 1200))
    assert {name: round(times / 100) for name, times in asked.items()} == {
        "summary": 4, "statuses": 3, "status": 2, "audit": 2, "metrics": 1,
    }  # fmt: skip
    assert {one.owner_id for one in users.asked} == {"ben"}
    alone = {one.name for one in users.asked if "X-Owner-ID" not in one.call.headers}
    assert alone == {"metrics"}


@pytest.mark.parametrize(("total", "pages"), [(0, 1), (100, 1), (101, 2), (10_000, 5), ("many", 1), (None, 1)])
def test_a_dashboard_turns_the_first_pages_of_a_list(total: object, pages: int) -> None:
    """Whatever a wrong server says of its length."""
    users = Users(shows(total))
    dashboard = users.make(DASHBOARD)
    turned: list[Ask] = []
    while not turned:
        turned = [one for one in users.act(dashboard) if one.name == "statuses"]
    offsets = [one.call.path.partition("offset=")[2] for one in turned]
    assert offsets == [str(100 * page) for page in range(pages)]


def test_a_dashboard_asks_only_for_machines_that_were_heard_from() -> None:
    """The contract has no status of others, and a page may be anything where a server is wrong."""
    page = [
        {"worker_id": "wrk_1", "age_seconds": 3},
        {"worker_id": "wrk_2", "age_seconds": -1, "stale": True},
        {"worker_id": "wrk_3", "age_seconds": 0.0},
        {"age_seconds": 3},
        {"worker_id": "wrk_4"},
        "wrk_5",
        None,
    ]
    assert heard_from(page) == ["wrk_1", "wrk_3"]
    nothings: list[Any] = [None, {}, "words", 7, []]
    assert [heard_from(nothing) for nothing in nothings] == [[]] * len(nothings)


def test_an_owner_who_is_refused_anything_begins_with_another_machine_the_next_time() -> None:
    users = Users(lambda path: (201, {"id": "pol_1"}) if path == "/policies" else (400, {}))
    newcomer = users.make(ONBOARDING, 3)
    assert users.history.owners == ["run-o-3"]
    way = [Operation.POLICY_CREATE, Operation.POLICY_ACTIVATE]
    assert [one.call.operation for one in users.act(newcomer, 2)] == way * 2
    assert users.crowd.new_machine() == 9


def test_agents_of_a_crowd_have_names_of_their_own_and_those_of_the_forum_only_talk() -> None:
    users = Users(lambda _: (503, {}))
    for number, kind in enumerate((MARKET, FORUM)):
        (registers,) = users.act(users.make(kind, number))
        assert registers.call.body["name"] == f"run-o-agent-{number}"
    trades, talks = users.crowd.agents
    for agent in (trades, talks):
        agent.caller = agent_caller("agt_1", "key")
    assert {one.call.operation for one in users.act(talks, 20)} == {Operation.FORUM_READ}
    assert {one.call.operation for one in users.act(trades, 40)} > {Operation.FORUM_READ, Operation.PRICES_READ}


@pytest.mark.parametrize(
    ("lacks", "absent"), [(Feature.JOBS, {MARKET}), (Feature.FORUM, {MARKET, FORUM}), (Feature.JSON_404, set())]
)
def test_nobody_asks_for_what_a_target_does_not_have(lacks: Feature, absent: set[str]) -> None:
    users = Users(shows(1), frozenset({lacks}))
    made = {kind: users.make(kind) for kind in LOAD_USERS}
    assert {kind for kind, user in made.items() if isinstance(user, Absent)} == absent
    assert all(isinstance(one, Agent) for one in users.crowd.agents)
    assert len(users.crowd.agents) == 2 - len(absent)
    assert [users.act(made[kind]) for kind in sorted(absent)] == [[] for _ in absent]
