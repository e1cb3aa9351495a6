"""Every field of the market's answers that a client can check: as a right server shows it, and with each one wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest

from simulator.contract.answer_check import check_answer
from simulator.contract.heads import HeadMemory
from simulator.fleet import market_requests as requests
from simulator.fleet.market_requests import agent_caller
from tests.core.market_server import JOB, TRON, Market

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.fleet.requests import ApiCall

HEAD = b"HTTP/1.1 200\r\nContent-Type: application/json\r\nVary: Origin\r\nX-Request-ID: 0123456789abcdef"


class Shown(NamedTuple):
    """One exchange with a right server."""

    request: bytes
    status: int
    data: Any


class World:
    """A market in which something has happened, and what may be asked of it."""

    def __init__(self) -> None:
        self.market = Market()
        agent = self.market.agent("Ada")
        self.caller = agent_caller(agent.id, agent.key)
        self.market.offering()
        self.job_id = self.market.post(agent.headers)["id"]
        self.market.pass_time(1_000_000_000)
        self.market.post(agent.headers)
        self.withdrawal_id = self.market.withdraw(agent.headers, "1").data["withdrawal"]["id"]
        self.post_id = self._write("First", "first")
        self.market.pass_time(1_000_000_000)
        self._write("Second", "second")
        for text in ("one", "two"):
            self.market.pass_time(1_000_000_000)
            self.ask(requests.write_comment_call(self.caller, self.post_id, text))

    def _write(self, title: str, tag: str) -> str:
        body = {"title": title, "body": "text", "tags": [tag]}
        return str(self.ask(requests.write_post_call(self.caller, body)).data["post"]["id"])

    def ask(self, call: ApiCall) -> Shown:
        message = call.message("host")
        path, _, query = call.full_path.partition("?")
        headers = {name.lower(): value for name, value in call.headers.items()}
        answer = self.market.send(
            call.method, path, message.partition(b"\r\n\r\n")[2] or None, headers, prefix="", query=query
        )  # fmt: skip
        return Shown(message, answer.status, answer.data)


CALLS: dict[str, Callable[[World], ApiCall]] = {
    "register": lambda _: requests.register_agent_call({"name": "Bob"}),
    "rename": lambda world: requests.update_agent_call(world.caller, {"name": "Eve"}),
    "rotate": lambda world: requests.update_agent_call(world.caller, {"rotate_api_key": True}),
    "offers": lambda world: requests.resources_call(world.caller, min_cpu_cores=1, gpu_model="A", min_gpu_count=1),
    "prices": lambda world: requests.prices_call(world.caller),
    "post job": lambda world: requests.post_job_call(world.caller, JOB),
    "job": lambda world: requests.read_job_call(world.caller, world.job_id),
    "jobs": lambda world: requests.jobs_call(world.caller, state="assigned"),
    "cancel": lambda world: requests.cancel_job_call(world.caller, world.job_id),
    "balance": lambda world: requests.balance_call(world.caller),
    "entries": lambda world: requests.transactions_call(world.caller, asset="USDT-TRC20"),
    "withdraw": lambda world: requests.withdraw_call(
        world.caller, {"asset": "USDT-TRC20", "amount": "0.5", "address": TRON}, "key"
    ),
    "withdrawal": lambda world: requests.read_withdrawal_call(world.caller, world.withdrawal_id),
    "post": lambda world: requests.write_post_call(world.caller, {"title": "t", "body": "b", "tags": ["x"]}),
    "posts": lambda world: requests.posts_call(world.caller),
    "thread": lambda world: requests.read_post_call(world.caller, world.post_id),
    "comment": lambda world: requests.write_comment_call(world.caller, world.post_id, "mine"),
}
LATER = "2100-01-01T00:00:00Z"
OTHER = "0" * 16
WRONG: list[tuple[str, list[Any], Any, str]] = [
    ("register", ["agent", "id"], "agt_7", "fields"),
    ("register", ["agent", "name"], "Bobby", "echo"),
    ("register", ["api_key"], "hfk_00", "fields"),
    ("rename", ["agent", "updated_at"], "today", "fields"),
    ("rename", ["agent", "name"], "Ada", "echo"),
    ("rename", ["api_key"], "hfk_" + "0" * 64, "fields"),
    ("rotate", ["api_key"], None, "fields"),
    ("offers", ["resources", 0, "price_per_hour"], "0.5", "fields"),
    ("offers", ["resources", 0, "cpu_cores"], 0.5, "page-filter"),
    ("offers", ["resources", 0, "gpus"], [], "page-filter"),
    ("offers", ["total"], 7, "page-total"),
    ("prices", ["prices", 0, "utilisation"], "1.5", "fields"),
    ("prices", ["prices", 0, "resource"], "gpu-hour", "fields"),
    ("post job", ["job", "state"], "running", "state"),
    ("post job", ["job", "duration_minutes"], 61, "echo"),
    ("post job", ["job", "payload"], {}, "echo"),
    ("post job", ["job", "escrow"], "0.999999", "echo"),
    ("job", ["job", "id"], f"job_{OTHER}", "other"),
    ("job", ["job", "attempts"], -1, "fields"),
    ("jobs", ["jobs", 0, "state"], "running", "page-filter"),
    ("jobs", ["jobs", 1, "created_at"], LATER, "page-order"),
    ("jobs", ["limit"], 7, "page-echo"),
    ("cancel", ["job", "state"], "assigned", "state"),
    ("balance", ["balances", 1, "asset"], "USDT-TRC20", "fields"),
    ("balance", ["balances", 0, "held"], "-1", "fields"),
    ("entries", ["transactions", 0, "asset"], "BTC", "page-filter"),
    ("entries", ["transactions", 1, "created_at"], LATER, "page-order"),
    ("withdraw", ["withdrawal", "amount"], "0.500001", "echo"),
    ("withdraw", ["withdrawal", "address"], "T", "echo"),
    ("withdrawal", ["withdrawal", "id"], f"wdr_{OTHER}", "other"),
    ("withdrawal", ["withdrawal", "state"], "lost", "fields"),
    ("post", ["post", "body"], "c", "echo"),
    ("post", ["post", "author", "type"], "machine", "fields"),
    ("posts", ["posts", 1, "created_at"], LATER, "page-order"),
    ("thread", ["comments", 0, "post_id"], f"post_{OTHER}", "other"),
    ("thread", ["comments", 0, "created_at"], LATER, "page-order"),
    ("thread", ["total"], 1, "page-total"),
    ("comment", ["comment", "body"], "yours", "echo"),
]


@pytest.fixture(scope="module")
def shown() -> dict[str, Shown]:
    return {name: _asked_last(call) for name, call in CALLS.items()}


def _asked_last(call: Callable[[World], ApiCall]) -> Shown:
    world = World()
    return world.ask(call(world))


def rules_broken(one: Shown, data: Any, status: int | None = None) -> set[str]:
    body = msgspec.json.encode({"success": True, "data": data})
    found = check_answer(one.request, one.status if status is None else status, HEAD, body, HeadMemory())
    return {violation.rule for violation in found.odd}


@pytest.mark.parametrize("name", CALLS)
def test_what_a_right_server_shows_breaks_no_rule(name: str, shown: dict[str, Shown]) -> None:
    assert rules_broken(shown[name], shown[name].data) == set()


@pytest.mark.parametrize("name", CALLS)
def test_another_success_and_other_data_are_found_on_every_route(name: str, shown: dict[str, Shown]) -> None:
    other = 200 if shown[name].status != 200 else 201
    assert rules_broken(shown[name], shown[name].data, other) == {"status"}
    assert "fields" in rules_broken(shown[name], {})
    assert "fields" in rules_broken(shown[name], [])


@pytest.mark.parametrize(("name", "place", "value", "rule"), WRONG, ids=lambda one: str(one)[:40])
def test_each_wrong_field_is_found(name: str, place: list[Any], value: Any, rule: str, shown: dict[str, Shown]) -> None:
    data = msgspec.json.decode(msgspec.json.encode(shown[name].data))
    at = data
    for part in place[:-1]:
        at = at[part]
    at[place[-1]] = value
    assert rule in rules_broken(shown[name], data)


def test_an_assignment_in_no_right_form_is_found_in_the_answer_to_a_heartbeat() -> None:
    request = b"POST /api/v1/workers/wrk_0123456789abcdef/heartbeat HTTP/1.1\r\nHost: h\r\n\r\n{}"
    accepted = {"accepted": True, "worker_id": "wrk_0123456789abcdef"}
    one = Shown(request, 200, accepted)
    right = {
        "job_id": f"job_{OTHER}", "type": "a", "payload": None, "duration_minutes": 1,
        "resources": {"cpu_cores": 1.0, "memory_gb": 1.0, "gpu": False, "gpu_count": 0, "gpu_model": None},
    }  # fmt: skip
    assert rules_broken(one, {**accepted, "assignments": [right], "cancelled": [f"job_{OTHER}"]}) == set()
    assert rules_broken(one, {**accepted, "assignments": [{**right, "job_id": "job_1"}]}) == {"fields"}
    assert rules_broken(one, {**accepted, "cancelled": [7]}) == {"fields"}
