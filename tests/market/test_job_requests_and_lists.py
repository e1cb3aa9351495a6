"""What may be posted, what is refused, and what is listed: jobs and resources."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, list_jobs, post_job, read_own_job
from reference_server.core.market.jobs import read_job
from reference_server.core.market.resources import Wanted, list_resources
from reference_server.core.market.wallet import ensure_account
from reference_server.core.market.working import tick
from tests.market.small_market import (
    RULES,
    assert_sound,
    at,
    balances,
    beat,
    cancel,
    data_of,
    error_of,
    job_body,
    make_market,
    post,
    revoke,
)

SMALL = {"cpu_cores": 2, "memory_gb": 4}
AVAILABLE, HELD = ("agent:a", "available"), ("agent:a", "held")
CREDIT = 1_000_000_000


def report(job_id: str, state: str, **more: Any) -> dict[str, Any]:
    return {"job_id": job_id, "state": state, **more}


@pytest.mark.parametrize(
    "changed",
    [
        {"type": None},
        {"type": ""},
        {"type": "Render"},
        {"type": "x" * 65},
        {"type": "a b"},
        {"resources": None},
        {"resources": {"cpu_cores": 1}},
        {"resources": {"memory_gb": 1}},
        {"resources": {"cpu_cores": 0.09, "memory_gb": 1}},
        {"resources": {"cpu_cores": 0.099999999, "memory_gb": 1}},
        {"resources": {"cpu_cores": 1, "memory_gb": 0.0999999}},
        {"resources": {"cpu_cores": 1e-9, "memory_gb": 1}},
        {"resources": {"cpu_cores": 1_025, "memory_gb": 1}},
        {"resources": {"cpu_cores": 1, "memory_gb": 65_537}},
        {"resources": {"cpu_cores": "1", "memory_gb": 1}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu": True, "gpu_count": 0}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu": False, "gpu_count": 1}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu_count": 65}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu_count": -1}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu_count": 1.5}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "gpu_model": "A"}},
        {"resources": {"cpu_cores": 1, "memory_gb": 1, "disk": 1}},
        {"duration_minutes": 0},
        {"duration_minutes": 10_081},
        {"duration_minutes": 1.5},
        {"duration_minutes": None},
        {"max_price_usdt": None},
        {"max_price_usdt": "0"},
        {"max_price_usdt": 0.0000001},
        {"max_price_usdt": "1e2"},
        {"max_price_usdt": 1_000_001},
        {"payload": []},
        {"payload": {"x": "y" * 16_400}},
        {"other": 1},
    ],
)
def test_what_is_no_job(changed: dict[str, Any]) -> None:
    assert read_job(job_body(**changed)) is None


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1e99999999999999999999", "9" * 400])
def test_numbers_past_a_double_are_no_payload(number: str) -> None:
    """No client could read the job that has them."""
    body = job_body(payload={"a": ["?"]}).replace(b'"?"', number.encode())
    market = make_market()
    ensure_account(market, at(0), "agent:a")
    for key in (None, "k"):
        assert error_of(post_job(market, at(0), "agent:a", key, body, "job_1")) == (400, "invalid request")
    assert market.jobs == {}


def test_a_number_that_no_decimal_is_has_no_key() -> None:
    """It is a double, which is zero; whether another body has the same cannot be said."""
    body = job_body(payload={"a": "?"}).replace(b'"?"', b"1e-99999999999999999999")
    market = make_market()
    ensure_account(market, at(0), "agent:a")
    assert error_of(post_job(market, at(0), "agent:a", "k", body, "job_1")) == (400, "invalid request")
    assert post_job(market, at(0), "agent:a", None, body, "job_1").status == 201


def test_gpus_may_be_asked_for_in_three_ways() -> None:
    def gpus(**resources: Any) -> tuple[int, str]:
        read = read_job(job_body(resources={"cpu_cores": 1, "memory_gb": 1, **resources}))
        assert read is not None
        return read.need.gpus, read.need.model

    assert gpus() == gpus(gpu=False) == gpus(gpu=False, gpu_count=0) == gpus(gpu_count=0) == (0, "")
    assert gpus(gpu=True) == gpus(gpu_count=1) == (1, "")
    assert gpus(gpu=True, gpu_count=3, gpu_model="A") == (3, "A")


def test_a_job_is_shown_with_all_its_fields() -> None:
    market = make_market()
    shown = post(market, "job_1", payload={"b": 1, "a": [1.50]}, max_price_usdt=0.30)
    assert shown == {
        "id": "job_1",
        "state": "queued",
        "type": "render",
        "resources": {"cpu_cores": 1, "memory_gb": 1, "gpu": False, "gpu_count": 0, "gpu_model": None},
        "max_price_usdt": "0.300000",
        "price_per_hour": None,
        "duration_minutes": 60,
        "payload": {"b": 1, "a": [1.5]},
        "worker_id": None,
        "escrow": "0.300000",
        "billed": "0.000000",
        "created_at": "2027-01-15T08:00:00Z",
        "assigned_at": None,
        "started_at": None,
        "finished_at": None,
        "expires_at": "2027-01-15T09:00:00Z",
        "attempts": 0,
        "result": None,
        "error": None,
    }
    assert balances(market)[HELD] == 300_000


def test_refusals_of_jobs_in_order() -> None:
    market = make_market(Conditions(dev_credit=1_000_000), jobs_unfinished_an_account_max=1, jobs_unfinished_max=1)
    assert error_of(post_job(market, at(0), "agent:x", None, b"{}", "j")) == (400, "invalid request")
    assert error_of(post_job(market, at(0), "agent:x", "", job_body(), "j")) == (400, "idempotency key required")
    assert error_of(post_job(market, at(0), "agent:x", None, job_body(), "j")) == (402, "insufficient balance")
    post(market, "job_1", max_price_usdt="0.5")
    too_many = post_job(market, at(0), "agent:a", None, job_body(max_price_usdt="2"), "job_2")
    assert error_of(too_many) == (429, "too many unfinished jobs")
    cancel(market, "job_1")
    too_dear = post_job(market, at(0), "agent:a", None, job_body(max_price_usdt="1.000001"), "job_2")
    assert error_of(too_dear) == (402, "insufficient balance")
    post(market, "job_2")
    ensure_account(market, at(0), "agent:b")
    assert error_of(post_job(market, at(0), "agent:b", None, job_body(), "job_3")) == (503, "capacity reached")


def test_a_job_has_one_effect_a_key() -> None:
    """Also where the same is written differently; refusals are not kept."""
    market = make_market(Conditions(dev_credit=1_500_000))
    ensure_account(market, at(0), "agent:a")
    assert error_of(post_job(market, at(0), "agent:a", "k", job_body(max_price_usdt="9"), "x"))[0] == 402
    first = post_job(market, at(0), "agent:a", "k", job_body(), "job_1")
    spelled = json.dumps(dict(reversed(json.loads(job_body(duration_minutes=60)).items())), indent=1).encode()
    again = post_job(market, at(5), "agent:a", "k", spelled, "job_2")
    assert (again.status, again.body) == (201, first.body)
    assert ("idempotent-replayed", "true") in again.headers
    assert error_of(post_job(market, at(6), "agent:a", "k", job_body(duration_minutes=61), "job_3"))[0] == 422
    assert list(market.jobs) == ["job_1"]
    assert error_of(post_job(market, at(6), "agent:b", "k", job_body(), "job_4"))[0] == 402


def test_lists_show_ones_own_jobs_newest_first() -> None:
    market = make_market()
    for number in range(4):
        post(market, f"job_{number}")
    post(market, "other", account="agent:b")
    cancel(market, "job_1")
    page = data_of(list_jobs(market, at(0), "agent:a", "", 2, 1))
    assert [job["id"] for job in page["jobs"]] == ["job_2", "job_1"]
    assert (page["total"], page["limit"], page["offset"]) == (4, 2, 1)
    assert data_of(list_jobs(market, at(0), "agent:a", "cancelled", 9, 0))["total"] == 1
    past = data_of(list_jobs(market, at(0), "agent:a", "", 2, 10**20))
    assert (past["jobs"], past["total"]) == ([], 4)
    assert error_of(list_jobs(market, at(0), "agent:a", "done", 9, 0)) == (400, "invalid request")
    for route in (read_own_job, cancel_job):
        assert error_of(route(market, at(0), "agent:b", "job_0")) == (404, "job not found")


def test_of_finished_jobs_the_last_are_kept() -> None:
    market = make_market(jobs_finished_max=1)
    for number in range(2):
        post(market, f"job_{number}")
        cancel(market, f"job_{number}")
    assert error_of(read_own_job(market, at(0), "agent:a", "job_0")) == (404, "job not found")
    assert data_of(read_own_job(market, at(0), "agent:a", "job_1"))["job"]["id"] == "job_1"
    assert_sound(market)


def test_resources_are_listed_cheapest_first_in_the_order_of_todays_prices() -> None:
    """Where memory has become dear and cores cheap, the order of base prices is not today's."""
    market = make_market()
    for number in range(60):
        gpus = [{"model": "A", "count": 1}] if number % 7 == 0 else []
        capacity = {"cpu_cores": 1 + number * 7 % 10, "memory_gb": 1 + number * 13 % 59, "gpus": gpus}
        beat(market, f"w{number:02}", capacity=capacity)
    for number in range(12):
        post(market, f"j{number}", resources={"cpu_cores": 1, "memory_gb": 20 + number}, duration_minutes=1)
    everything = data_of(list_resources(market, at(0), Wanted(), 500, 0))
    listed = everything["resources"]
    keys = [(float(one["price_per_hour"]), one["worker_id"]) for one in listed]
    assert keys == sorted(keys)
    assert everything["total"] == len(listed) == 60
    for offset in range(0, 60, 7):
        page = data_of(list_resources(market, at(0), Wanted(), 7, offset))
        assert page["resources"] == listed[offset : offset + 7]
    wanted = Wanted(cpu=3_000_000, memory=10_000_000, gpus=1, model="A")
    suited = data_of(list_resources(market, at(0), wanted, 500, 0))["resources"]
    assert suited == [one for one in listed if one["cpu_cores"] >= 3 and one["memory_gb"] >= 10 and one["gpus"]]


def test_what_is_listed_is_what_is_left() -> None:
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 2.5, "memory_gb": 4, "gpus": [{"model": "A", "count": 2}]})
    post(market, "job_1", resources={"cpu_cores": 1, "memory_gb": 3.5, "gpu": True})
    (listed,) = data_of(list_resources(market, at(0), Wanted(), 100, 0))["resources"]
    assert (listed["cpu_cores"], listed["memory_gb"]) == (1.5, 0.5)
    assert listed["gpus"] == [{"model": "A", "count": 1}]
    assert listed["available_until"] is None
    post(market, "job_2", resources={"cpu_cores": 0.1, "memory_gb": 0.45})
    assert data_of(list_resources(market, at(0), Wanted(), 100, 0))["total"] == 0  # no job fits into 0.05 GB


def test_many_small_jobs_have_a_bound_on_one_machine() -> None:
    market = make_market(jobs_a_worker_max=2)
    beat(market, "w1", capacity={"cpu_cores": 100, "memory_gb": 100, "gpus": [{"model": "A", "count": 9}]})
    for number in range(4):
        gpus = {"gpu_count": number % 2}
        post(market, f"job_{number}", resources={"cpu_cores": 0.1, "memory_gb": 0.1, **gpus})
    assert [job.state for job in market.jobs.values()] == ["assigned", "assigned", "queued", "queued"]
    beat(market, "w1", now=1, jobs=[report("job_0", "succeeded"), report("job_1", "failed")])
    assert [job.state for job in market.jobs.values()] == ["succeeded", "failed", "assigned", "assigned"]


def test_only_so_many_gpu_models_at_once() -> None:
    market = make_market(gpu_models_max=1)
    beat(market, "w1", capacity={**SMALL, "gpus": [{"model": "A", "count": 1}]})
    beat(market, "w2", capacity={**SMALL, "gpus": [{"model": "B", "count": 1}]})
    beat(market, "w3", capacity={**SMALL, "gpus": [{"model": "A", "count": 1}]})
    assert market.ignored["capacity"] == 1
    assert list(market.pool.models) == ["A"]
    revoke(market, at(0), "w1", "pol")
    revoke(market, at(0), "w3", "pol")
    assert list(market.pool.models) == []


def test_only_so_many_gpu_models_of_machines_that_open_together() -> None:
    """Each of them could have been named while all were closed; what finds no room is left out, and counted."""
    market = make_market(gpu_models_max=1)
    rules = json.dumps({**json.loads(RULES), "allowed_hours": [9]})
    for model in "AB":
        capacity = {**SMALL, "gpus": [{"model": model, "count": 1}]}
        beat(market, f"w{model}", now=3_590, rules=rules, capacity=capacity)
    assert (list(market.pool.models), market.ignored["capacity"]) == ([], 0)
    tick(market, at(3_600))
    assert (list(market.pool.models), market.ignored["capacity"]) == (["A"], 1)
    assert market.pool.cpu_offered == 4_000_000
    beat(market, "wB", now=3_601, rules=rules, policy_id="pol_2")
    assert (list(market.pool.models), market.ignored["capacity"]) == (["A"], 1)
    assert_sound(market)
