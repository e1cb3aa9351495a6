"""Agents, jobs and resources over the whole way of a request (contract: market)."""

from __future__ import annotations

import json

import pytest

from reference_server.core.changes import recover_change
from reference_server.core.heartbeats import Verified, acknowledge
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.wire.values import Request
from tests.core.market_server import (
    ADA,
    ALL_RULES,
    CAPACITY,
    FORBIDDEN,
    JOB,
    UNAUTHORIZED,
    Agent,
    Market,
)
from tests.core.server_under_test import MINUTE, SECOND, TOKEN, owner_headers
from tests.market.small_market import make_market

MARKET_ROUTES = [
    (one.method, one.path.replace("{id}", "some_id"), one.principal.name)
    for one in OPERATIONS
    if one.principal.name in {"account", "agent"}
]


# -- who calls


@pytest.mark.parametrize(("method", "path"), [("GET", "/jobs"), ("GET", "/agents/me"), ("GET", "/audit/events")])
def test_an_agent_names_no_owner_that_nobody_can_be_beside_its_key(method: str, path: str) -> None:
    """It acts for none, and what nobody can be is refused wherever it is named (contract §5)."""
    server = Market()
    key = server.send("POST", "/agents/register", {"name": "Ada"}).data["api_key"]
    for named, refused in (("acme", False), ("", False), ("a|b", True), ("a" * 257, True)):
        answer = server.send(method, path, None, {"authorization": f"Bearer {key}", "x-owner-id": named})
        assert (answer.status == 400) == refused, (named, answer)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("method", "path", "kind"), MARKET_ROUTES)
def test_nobody_is_let_in_without_a_right_credential(method: str, path: str, kind: str, prefix: str) -> None:
    """And all wrong ones are refused alike, and counted by what they seem to be."""
    server = Market()
    agent = server.agent()
    wrong = {
        "agent": [agent.key[:-1], agent.key + "0", "hfk_", "hfk_" + "0" * 64, agent.key.upper().replace("HFK", "hfk")],
        "session": ["hfs_" + "0" * 64, "", TOKEN[:-1], "x", "Bearer"],
    }
    assert server.send(method, path, None, {}, prefix=prefix).error == UNAUTHORIZED
    for tokens in wrong.values():
        for token in tokens:
            bad = {"authorization": f"Bearer {token}"}
            assert server.send(method, path, None, bad, prefix=prefix).error == UNAUTHORIZED
    assert server.send(method, path, None, owner_headers(), prefix=prefix).error == FORBIDDEN
    if kind == "agent":
        assert server.send(method, path, None, ADA, prefix=prefix).error == FORBIDDEN
    shown = server.metrics()
    assert shown['hatchfarm_auth_failures_total{principal="agent"}'] == len(wrong["agent"])
    assert shown['hatchfarm_auth_failures_total{principal="session"}'] == len(wrong["session"])


@pytest.mark.parametrize(
    ("method", "path"),
    [(one.method, one.path.replace("{id}", "x")) for one in OPERATIONS if one.principal.name == "owner"],
)
def test_an_agents_key_is_none_of_an_owners(method: str, path: str) -> None:
    server = Market()
    agent = server.agent()
    assert server.send(method, path, None, agent.headers).error == FORBIDDEN
    assert server.send(method, path, None, {"authorization": f"Bearer {agent.key}0"}).error == UNAUTHORIZED


def test_anothers_things_are_not_found() -> None:
    server = Market()
    ada, ben = server.agent("Ada"), server.agent("Ben")
    job = server.post(ada.headers)
    withdrawal = server.withdraw(ada.headers, "1").data["withdrawal"]
    for other in (ben.headers, ADA):
        assert server.send("GET", f"/jobs/{job['id']}", None, other).error == (404, "job not found")
        assert server.send("DELETE", f"/jobs/{job['id']}", None, other).error == (404, "job not found")
        path = f"/wallet/withdrawals/{withdrawal['id']}"
        assert server.send("GET", path, None, other).error == (404, "withdrawal not found")
        assert server.send("GET", "/jobs", None, other).data["total"] == 0
    assert server.job(ada.headers, job["id"]) == job


# -- agents


def test_an_agent_registers_and_is_known_by_its_key_until_it_is_replaced() -> None:
    server = Market()
    body = {"name": "  Ada", "description": "counts"}
    assert server.send("POST", "/agents/register", body).error == (400, "invalid request")
    made = server.send("POST", "/agents/register", {**body, "name": "Ada"})
    assert made.status == 201
    agent = Agent(made.data["agent"]["id"], made.data["api_key"])
    assert server.send("GET", "/agents/me", None, agent.headers).data == {"agent": made.data["agent"]}
    assert server.send("POST", "/agents/register", {"name": "\uff21\uff24\uff21"}).error == (409, "name taken")
    assert server.send("PUT", "/agents/me", {}, agent.headers).error == (400, "invalid request")
    changed = server.send("PUT", "/agents/me", {"description": None, "rotate_api_key": True}, agent.headers).data
    assert changed["agent"]["description"] is None
    assert server.send("GET", "/agents/me", None, agent.headers).error == UNAUTHORIZED
    renewed = Agent(agent.id, changed["api_key"])
    assert server.send("GET", "/agents/me", None, renewed.headers).data == {"agent": changed["agent"]}
    assert server.metrics()["hatchfarm_agents"] == 1


@pytest.mark.parametrize(
    ("mode", "headers", "refusal"),
    [
        ("closed", {}, (403, "agent registration is closed")),
        ("moltbook", {}, (401, "moltbook identity required")),
    ],
)
def test_who_may_register_is_a_setting(mode: str, headers: dict[str, str], refusal: tuple[int, str]) -> None:
    server = Market(agent_registration=mode)
    assert server.send("POST", "/agents/register", {}, headers).error == (400, "invalid request")
    assert server.send("POST", "/agents/register", {"name": "Ada"}, headers).error == refusal


# -- jobs


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("lane", [False, True])
def test_what_a_job_costs_does_not_go_by_who_comes_first_after_its_end(looks: bool, lane: bool) -> None:  # noqa: FBT001
    """It ended between two heartbeats, and is billed up to the one before: also where nobody looked in between."""
    server = Market()
    machine, policy_id, _ = server.offering()
    agent = server.agent()
    job = server.post(agent.headers, duration_minutes=2)
    report = {"jobs": [{"job_id": job["id"], "state": "running"}]}
    server.heard(machine, policy_id, report, lane=lane)
    for seconds in (50, 50, 25):
        server.pass_time(seconds * SECOND)
        if looks:
            server.job(agent.headers, job["id"])
        server.heard(machine, policy_id, lane=lane)
    ended = server.job(agent.headers, job["id"])
    assert (ended["state"], ended["billed"]) == ("succeeded", "0.000152")


@pytest.mark.parametrize("lane", [False, True])
def test_a_job_goes_its_way_and_money_with_it(lane: bool) -> None:  # noqa: FBT001 - a column of the table
    server = Market(platform_fee_basis_points=1000)
    machine, policy_id, _ = server.offering()
    agent = server.agent()
    job = server.post(agent.headers)
    assert (job["state"], job["worker_id"], job["price_per_hour"]) == ("assigned", machine.id, "0.005500")
    assert server.usdt(agent.headers) == ("9.000000", "1.000000", "0.000000")
    notices = server.heard(machine, policy_id, lane=lane)
    assert notices == {
        "assignments": [
            {"job_id": job["id"], **{k: job[k] for k in ("type", "resources", "payload", "duration_minutes")}}
        ]
    }
    report = {"jobs": [{"job_id": job["id"], "state": "running", "progress": 0.1}]}
    assert server.heard(machine, policy_id, report, lane=lane) == {}
    for _ in range(36):
        server.pass_time(50 * SECOND)
        assert server.heard(machine, policy_id, report, lane=lane) == {}
    done = {"jobs": [{"job_id": job["id"], "state": "succeeded", "result": {"x": 1}}]}
    assert server.heard(machine, policy_id, done, lane=lane) == {}
    ended = server.job(agent.headers, job["id"])
    assert (ended["state"], ended["billed"], ended["escrow"]) == ("succeeded", "0.002750", "0.000000")
    assert (ended["result"], ended["error"], ended["attempts"]) == ({"x": 1}, None, 0)
    assert server.usdt(agent.headers) == ("9.997250", "0.000000", "0.000000")
    assert server.usdt(owner_headers("max"))[0] == "10.002475"
    rows = server.send("GET", "/wallet/transactions", None, agent.headers).data
    assert [row["type"] for row in rows["transactions"]] == [
        "escrow_release",
        "escrow_release",
        "job_charge",
        "escrow_hold",
        "escrow_hold",
        "credit",
    ]
    assert rows["total"] == 6
    again = server.send("DELETE", f"/jobs/{job['id']}", None, agent.headers)
    assert again.error == (409, "job already finished")
    shown = server.metrics()
    assert shown['hatchfarm_jobs{state="succeeded"}'] == 1
    assert shown['hatchfarm_job_transitions_total{to="running"}'] == 1
    assert shown["hatchfarm_ledger_imbalance"] == 0


def test_refusals_of_a_job_come_in_the_order_of_the_contract() -> None:
    server = Market()
    key = {"idempotency-key": "two words"}
    assert server.send("POST", "/jobs", {**JOB, "type": "X"}, {**ADA, **key}).error == (400, "invalid request")
    assert server.send("POST", "/jobs", JOB, {**ADA, **key}).error == (400, "idempotency key required")
    dear = {**JOB, "max_price_usdt": "11"}
    assert server.send("POST", "/jobs", dear, ADA).error == (402, "insufficient balance")
    named = {**ADA, "idempotency-key": "k"}
    assert server.send("POST", "/jobs", dear, named).error == (402, "insufficient balance")
    first = server.send("POST", "/jobs", JOB, named)
    assert first.status == 201
    again = server.send("POST", "/jobs", {**JOB, "max_price_usdt": "1"}, named)
    assert (again.status, again.body, again.headers["idempotent-replayed"]) == (201, first.body, "true")
    assert server.send("POST", "/jobs", dear, named).error == (422, "idempotency key reused")
    twice = (("idempotency-key", "a"), ("idempotency-key", "a"))
    request = Request("POST", "/v1/jobs", headers=(*ADA.items(), *twice), body=json.dumps(JOB).encode())
    assert server.request(request).error == (400, "idempotency key required")
    assert server.send("GET", "/jobs", None, ADA).data["total"] == 1
    assert server.send("GET", "/jobs", None, ADA, query="state=lost").error == (400, "invalid request")
    assert server.send("GET", "/jobs", None, ADA, query="limit=x").error == (400, "invalid limit")
    assert server.send("GET", "/jobs", None, ADA, query="state=queued&limit=1").data["total"] == 1


def test_a_cancelled_job_is_told_to_its_machine_once() -> None:
    server = Market()
    machine, policy_id, _ = server.offering()
    job = server.post(ADA)
    cancelled = server.send("DELETE", f"/jobs/{job['id']}", None, ADA).data["job"]
    assert (cancelled["state"], cancelled["escrow"]) == ("cancelled", "0.000000")
    assert server.send("DELETE", f"/jobs/{job['id']}", None, ADA).data["job"] == cancelled
    assert server.heard(machine, policy_id) == {"cancelled": [job["id"]]}
    assert server.heard(machine, policy_id) == {}


def test_a_machine_that_goes_silent_or_is_revoked_gives_its_jobs_back() -> None:
    server = Market()
    machine, policy_id, _ = server.offering()
    other, other_policy, other_consent = server.offering("moe")
    job = server.post(ADA, resources={"cpu_cores": 4, "memory_gb": 8})
    first, second = sorted([(machine, policy_id), (other, other_policy)], key=lambda one: one[0].id)
    assert job["worker_id"] == first[0].id
    server.pass_time(50 * SECOND)
    server.heard(*second)
    server.pass_time(20 * SECOND)
    moved = server.job(ADA, job["id"])
    assert (moved["state"], moved["worker_id"], moved["attempts"]) == ("assigned", second[0].id, 1)
    assert server.heard(*first) == {"cancelled": [job["id"]]}
    owner = second[0].owner_id
    consents = {"moe": other_consent}
    consent_id = consents.get(owner) or server.consent(machine, policy_id)
    server.revoke(owner, consent_id)
    moved = server.job(ADA, job["id"])
    assert (moved["worker_id"], moved["attempts"]) == (first[0].id, 2)
    reasons = [one["metadata"] for one in server.audit("ada", "type=job_requeued")["events"]]
    assert reasons == [{"reason": "stale"}, {"reason": "consent revoked"}]


def test_a_machine_whose_consent_was_revoked_since_it_was_heard_is_not_offered() -> None:
    """As where a shared journal has the revocation behind the heartbeat, before what that says is taken."""
    server = Market()
    machine, policy_id, consent_id = server.machine()
    assert server.heard(machine, policy_id) == {}
    server.revoke("max", consent_id)
    state = server.api.state
    metrics = json.dumps({"capacity": CAPACITY}).encode()
    late = Verified(state.workers[machine.id], policy_id, "n", server.now.wall_ns, metrics)
    state.changes = []
    assert acknowledge(state, server.now, late).status == 200
    offered = next(noted for noted in state.changes if noted[0] == "capacity_reported")
    state.changes = None
    assert server.send("GET", "/resources", None, ADA).data["total"] == 0
    assert server.post(ADA)["state"] == "queued"
    again = make_market()
    recover_change(again, server.now, offered)
    assert not again.pool.offers[machine.id].consented


def test_a_policy_with_less_room_gives_jobs_back() -> None:
    server = Market()
    machine, policy_id, _ = server.offering()
    job = server.post(ADA, resources={"cpu_cores": 4, "memory_gb": 1})
    smaller = server.policy_of("max", {**ALL_RULES, "max_cpu_percent": 50})
    server.consent(machine, smaller)
    assert server.heard(machine, policy_id)["assignments"][0]["job_id"] == job["id"]
    assert server.heard(machine, smaller) == {}
    assert server.job(ADA, job["id"])["state"] == "queued"
    assert server.heard(machine, smaller) == {"cancelled": [job["id"]]}


def test_what_machines_report_wrongly_is_ignored_and_counted() -> None:
    server = Market()
    machine, policy_id, _ = server.offering()
    job = server.post(ADA)
    other, other_policy, _ = server.machine("moe")
    for metrics in (
        {"jobs": [{"job_id": job["id"], "state": "succeeded"}]},
        {"jobs": 5},
        {"capacity": {"cpu_cores": -1, "memory_gb": 1}},
        {"capacity": [], "jobs": [{"job_id": job["id"], "state": "lost"}, 7]},
    ):
        assert server.heard(other, other_policy, metrics) == {}
    assert server.job(ADA, job["id"])["state"] == "assigned"
    shown = server.metrics()
    assert shown['hatchfarm_reports_ignored_total{kind="job"}'] == 4
    assert shown['hatchfarm_reports_ignored_total{kind="capacity"}'] == 2
    assert server.heard(machine, policy_id)["assignments"]


def test_resources_and_prices_are_shown_as_they_are_now() -> None:
    server = Market()
    machine, _, _ = server.offering()
    shown = server.send("GET", "/resources", None, ADA).data
    assert shown == {
        "resources": [
            {
                "worker_id": machine.id,
                "cpu_cores": 4,
                "memory_gb": 8,
                "gpus": [{"model": "A", "count": 2}],
                "price_per_hour": "0.524000",
                "available_until": None,
            }
        ],
        "total": 1,
        "limit": 100,
        "offset": 0,
    }
    for query, total in (("min_cpu_cores=4&gpu_model=A&min_gpu_count=2&min_memory_gb=8.0", 1), ("min_gpu_count=3", 0)):
        assert server.send("GET", "/resources", None, ADA, query=query).data["total"] == total
    for name in ("min_cpu_cores", "min_memory_gb", "min_gpu_count"):
        for text in ("-1", "x", "1e3", "1_0", "99999999999"):
            assert server.send("GET", "/resources", None, ADA, query=f"{name}={text}").error == (400, f"invalid {name}")
    prices = server.send("GET", "/resources/prices", None, ADA).data["prices"]
    assert prices[0] == {"resource": "cpu-hour", "price": "0.005000", "utilisation": "0.0000"}
    assert prices[2] == {"model": "A", "resource": "gpu-hour", "price": "0.250000", "utilisation": "0.0000"}
    server.pass_time(61 * SECOND)
    assert server.send("GET", "/resources", None, ADA).data["total"] == 0


def test_durations_end_jobs_and_the_queue_expires() -> None:
    server = Market(job_queue_timeout_seconds=60)
    job = server.post(ADA)
    server.pass_time(MINUTE)
    assert server.job(ADA, job["id"])["state"] == "expired"
    machine, policy_id, _ = server.offering()
    job = server.post(ADA, duration_minutes=1)
    report = {"jobs": [{"job_id": job["id"], "state": "running", "result": [1]}]}
    server.heard(machine, policy_id, report)
    server.pass_time(30 * SECOND)
    server.heard(machine, policy_id, report)
    server.pass_time(30 * SECOND)
    ended = server.job(ADA, job["id"])
    assert (ended["state"], ended["result"], ended["billed"]) == ("succeeded", [1], "0.000045")


@pytest.mark.parametrize("lane", [False, True])
def test_a_silence_that_a_heartbeat_ends_was_one(lane: bool) -> None:  # noqa: FBT001 - a column of the table
    """Though nothing else was asked meanwhile: the job is taken back, and may come again."""
    server = Market()
    machine, policy_id, _ = server.offering()
    job = server.post(ADA)
    server.heard(machine, policy_id, {"jobs": [{"job_id": job["id"], "state": "running"}]}, lane=lane)
    server.pass_time(61 * SECOND)
    notices = server.heard(machine, policy_id, lane=lane)
    assert notices["cancelled"] == [job["id"]]
    assert [one["job_id"] for one in notices["assignments"]] == [job["id"]]
    assert server.job(ADA, job["id"])["attempts"] == 1
