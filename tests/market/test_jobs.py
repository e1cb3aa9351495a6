"""A job's way from a body to its end: what is refused, who gets it, what it costs, and what its machine is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, list_jobs, post_job, read_own_job
from reference_server.core.market.jobs import read_job
from reference_server.core.market.resources import Wanted, list_prices, list_resources
from reference_server.core.market.wallet import ensure_account
from reference_server.core.market.working import next_due, revoke, tick
from tests.market.small_market import (
    MORNING_NS,
    SECOND,
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


def test_a_job_goes_to_the_lowest_id_at_the_price_before_it() -> None:
    """The price is fixed with the utilisation before the job, and rises for the next one."""
    market = make_market()
    beat(market, "w2", capacity=SMALL)
    beat(market, "w1", capacity=SMALL)
    shown = post(market, "job_1")
    assert (shown["state"], shown["worker_id"]) == ("assigned", "w1")
    assert shown["price_per_hour"] == "0.005500"  # half of 0.010 and of 0.001
    assert shown["expires_at"] is None
    second = post(market, "job_2")
    assert second["price_per_hour"] == "0.008125"  # u = 1/4 of the cores, 1/8 of the memory
    told = beat(market, "w1", now=1)
    assert [one["job_id"] for one in told["assignments"]] == ["job_1", "job_2"]
    assert set(told["assignments"][0]) == {"job_id", "type", "resources", "payload", "duration_minutes"}
    told = beat(market, "w1", now=2, jobs=[report("job_1", "running")])
    assert [one["job_id"] for one in told["assignments"]] == ["job_2"]


def test_a_price_within_the_maximum_for_the_whole_duration() -> None:
    market = make_market()
    beat(market, "w1", capacity=SMALL)
    assert post(market, "dear", duration_minutes=120, max_price_usdt="0.010999")["state"] == "queued"
    assert post(market, "right", duration_minutes=120, max_price_usdt="0.011000")["state"] == "assigned"


def test_accounts_take_turns() -> None:
    market = make_market()
    for number in range(4):
        post(market, f"a{number}", account="agent:a")
    post(market, "b0", account="agent:b")
    post(market, "b1", account="agent:b")
    post(market, "c0", account="owner:c")
    beat(market, "w1", capacity={"cpu_cores": 100, "memory_gb": 100})
    assert list(market.pool.offers["w1"].jobs) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_a_smaller_job_need_not_wait_for_a_larger_one() -> None:
    market = make_market()
    post(market, "large", resources={"cpu_cores": 3, "memory_gb": 1})
    post(market, "small")
    beat(market, "w1", capacity=SMALL)
    assert list(market.pool.offers["w1"].jobs) == ["small"]


def test_who_was_too_dear_is_placed_when_prices_fall() -> None:
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 2, "memory_gb": 2})
    post(market, "first")
    assert post(market, "poor", max_price_usdt="0.006")["state"] == "queued"
    cancel(market, "first", now=1)
    assert market.jobs["poor"].state == "assigned"


def test_all_gpus_of_a_job_are_of_one_model() -> None:
    market = make_market()
    gpus = [{"model": "A", "count": 1}, {"model": "B", "count": 1}]
    beat(market, "w1", capacity={"cpu_cores": 8, "memory_gb": 8, "gpus": gpus})
    two = {"cpu_cores": 1, "memory_gb": 1, "gpu_count": 2}
    assert post(market, "two", resources=two)["state"] == "queued"
    named = {"cpu_cores": 1, "memory_gb": 1, "gpu": True, "gpu_model": "B"}
    assert post(market, "named", resources=named)["state"] == "assigned"
    rows = data_of(list_prices(market, at(0)))["prices"]
    assert [(row["resource"], row.get("model"), row["utilisation"]) for row in rows] == [
        ("cpu-hour", None, "0.1250"),
        ("memory-gb-hour", None, "0.1250"),
        ("gpu-hour", "A", "0.0000"),
        ("gpu-hour", "B", "1.0000"),
    ]
    assert post(market, "any", resources={**named, "gpu_model": None})["price_per_hour"] == "0.256875"


def run(market: Any, job_id: str = "job_1", *, beats: list[float], **changed: Any) -> None:
    """Post a job and let its machine be heard at some seconds, saying that it runs."""
    beat(market, "w1", capacity=SMALL)
    post(market, job_id, **changed)
    for now in beats:
        beat(market, "w1", now=now, jobs=[report(job_id, "running")])


def test_what_ran_is_billed_between_heartbeats() -> None:
    """At 0.0055 an hour 100 s cost 152.77 micro-USDT, rounded down once."""
    market = make_market()
    run(market, beats=[10, 60, 110])
    beat(market, "w1", now=110, jobs=[report("job_1", "succeeded", result={"n": 1})])
    shown = data_of(read_own_job(market, at(110), "agent:a", "job_1"))["job"]
    assert (shown["state"], shown["billed"], shown["escrow"]) == ("succeeded", "0.000152", "0.000000")
    assert shown["result"] == {"n": 1}
    assert balances(market)[AVAILABLE] == CREDIT - 152
    assert balances(market)["owner:o", "available"] == 152
    assert_sound(market)


def test_the_sum_is_rounded_once() -> None:
    """A hundred times a second is not a hundred times nothing."""
    market = make_market()
    run(market, beats=[float(second) for second in range(101)])
    assert cancel(market, "job_1", now=100)["billed"] == "0.000152"


def test_what_a_machine_claims_is_not_billed() -> None:
    """Neither progress nor a late report makes a job cost more than the time between heartbeats."""
    market = make_market()
    run(market, beats=[10])
    beat(market, "w1", now=20, jobs=[report("job_1", "running", progress=0.99)])
    beat(market, "w1", now=21, jobs=[report("job_1", "succeeded", progress=1.0)])
    assert market.jobs["job_1"].billed == 11 * 5_500 // 3_600


def test_a_job_that_was_never_reported_running_costs_nothing() -> None:
    market = make_market()
    beat(market, "w1", capacity=SMALL)
    post(market, "job_1")
    beat(market, "w1", now=50)
    beat(market, "w1", now=100, jobs=[report("job_1", "succeeded")])
    shown = market.jobs["job_1"]
    assert (shown.state, shown.billed, shown.started, shown.finished) == ("succeeded", 0, at(100), at(100))


def test_a_silence_is_not_billed_and_gives_the_job_back() -> None:
    """60 s are not silence yet; one nanosecond more is."""
    market = make_market()
    run(market, beats=[0, 60])
    tick(market, at(120))
    assert market.jobs["job_1"].state == "running"
    assert next_due(market, at(120)) == 120 * SECOND + 1
    tick(market, at(120.000000001))
    job = market.jobs["job_1"]
    assert (job.state, job.attempts, job.billed, job.escrow) == ("queued", 1, 91, 1_000_000 - 91)
    assert (job.worker_id, job.rate, job.assigned, job.started) == ("", None, None, None)
    assert job.expires == at(3_720.000000001)
    assert market.happened[-1].type == "job_requeued"
    assert market.happened[-1].metadata == {"reason": "stale"}
    told = beat(market, "w1", now=130)
    assert told["cancelled"] == ["job_1"]
    assert [one["job_id"] for one in told["assignments"]] == ["job_1"]
    assert beat(market, "w1", now=131)["cancelled"] == []


def test_a_heartbeat_after_silence_finds_the_job_given_back() -> None:
    """Also where nobody looked in between."""
    market = make_market()
    run(market, beats=[0])
    beat(market, "w1", now=61, jobs=[report("job_1", "succeeded")])
    assert (market.jobs["job_1"].state, market.jobs["job_1"].billed) == ("assigned", 0)
    assert market.ignored["job"] == 1


def test_the_third_give_back_fails_a_job() -> None:
    market = make_market()
    run(market, beats=[0])
    for number in range(3):
        start = 100.0 * number
        beat(market, "w1", now=start + 1, jobs=[report("job_1", "running")])
        beat(market, "w1", now=start + 37, jobs=[report("job_1", "running")])
        tick(market, at(start + 99))
        beat(market, "w1", now=start + 100)
    job = market.jobs["job_1"]
    assert (job.state, job.error, job.attempts) == ("failed", "worker lost", 3)
    assert (job.escrow, job.billed) == (0, 55 + 55 + 56)
    assert_sound(market)


def test_a_revoked_consent_gives_jobs_back_and_offers_nothing() -> None:
    market = make_market()
    run(market, beats=[0, 30])
    revoke(market, at(31), "w1", "another")
    assert market.jobs["job_1"].state == "running"
    revoke(market, at(31), "w1", "pol")
    assert market.jobs["job_1"].state == "queued"
    assert data_of(list_resources(market, at(31), Wanted(), 100, 0))["resources"] == []
    assert beat(market, "w1", now=40, policy_id="pol2")["cancelled"] == ["job_1"]
    assert market.jobs["job_1"].state == "assigned"


def test_a_policy_without_room_gives_the_newest_back() -> None:
    market = make_market()
    beat(market, "w1", capacity=SMALL)
    post(market, "old")
    post(market, "new")
    beat(market, "w1", now=1, policy_id="half", rules='{"max_cpu_percent":50,"max_memory_percent":50}')
    assert (market.jobs["old"].state, market.jobs["new"].state) == ("assigned", "queued")
    assert market.happened[-1].metadata == {"reason": "no room"}


def test_hours_end_and_begin() -> None:
    market = make_market()
    rules = '{"allowed_hours":[8],"max_cpu_percent":100,"max_memory_percent":100}'
    beat(market, "w1", capacity=SMALL, rules=rules)
    (listed,) = data_of(list_resources(market, at(0), Wanted(), 100, 0))["resources"]
    assert listed["available_until"] == "2027-01-15T09:00:00Z"
    beat(market, "w1", now=3_590, rules=rules)
    post(market, "job_1", now=3_591, duration_minutes=600)
    assert market.jobs["job_1"].state == "assigned"
    assert next_due(market, at(3_591)) == 3_600 * SECOND
    tick(market, at(3_600))
    assert market.jobs["job_1"].state == "queued"
    beat(market, "w1", now=3_601, rules=rules)
    assert market.jobs["job_1"].state == "queued"


def test_a_job_ends_at_its_duration_with_what_it_reported() -> None:
    market = make_market()
    run(market, beats=[0, 30], duration_minutes=1)
    beat(market, "w1", now=40, jobs=[report("job_1", "running", result=[1])])
    assert next_due(market, at(40)) == 60 * SECOND
    tick(market, at(60))
    job = market.jobs["job_1"]
    assert (job.state, job.result, job.billed, job.finished) == ("succeeded", b"[1]", 40 * 5_500 // 3_600, at(60))
    assert market.happened[-1].actor == "system"
    assert beat(market, "w1", now=61, jobs=[report("job_1", "succeeded")]) == {"assignments": [], "cancelled": []}
    assert market.ignored["job"] == 1


def test_a_machine_that_was_lost_before_the_end_does_not_succeed() -> None:
    market = make_market()
    run(market, beats=[0, 30], duration_minutes=2)
    tick(market, at(500))
    assert (market.jobs["job_1"].state, market.jobs["job_1"].attempts) == ("queued", 1)


def test_never_more_than_the_escrow_and_the_duration() -> None:
    market = make_market()
    run(market, beats=[0, 50, 100], duration_minutes=1, max_price_usdt="0.000092")
    assert market.jobs["job_1"].state == "succeeded"
    assert market.jobs["job_1"].billed == 50 * 5_500 // 3_600


def test_fees_go_to_the_platform() -> None:
    market = make_market(Conditions(dev_credit=CREDIT, fee_basis_points=333))
    run(market, beats=[0, 50, 100])
    cancel(market, "job_1", now=100)
    assert balances(market)["platform:fees", "available"] == 152 * 333 // 10_000 == 5
    assert balances(market)["owner:o", "available"] == 147
    assert_sound(market)


def test_a_job_in_vain_expires() -> None:
    market = make_market()
    post(market, "job_1")
    tick(market, at(3_599))
    assert market.jobs["job_1"].state == "queued"
    tick(market, at(3_600))
    assert (market.jobs["job_1"].state, balances(market)[AVAILABLE]) == ("expired", CREDIT)
    assert error_of(cancel_job(market, at(3_601), "agent:a", "job_1")) == (409, "job already finished")


def test_cancelling_again_has_the_same_answer_and_no_other_effect() -> None:
    market = make_market()
    run(market, beats=[0, 36])
    first = cancel(market, "job_1", now=40)
    before = balances(market)
    assert (first["state"], first["billed"]) == ("cancelled", "0.000055")
    assert cancel(market, "job_1", now=90) == first
    assert balances(market) == before
    assert beat(market, "w1", now=50, jobs=[report("job_1", "succeeded")])["cancelled"] == ["job_1"]
    assert market.jobs["job_1"].state == "cancelled"
    assert balances(market) == before


def test_cancelling_what_has_just_ended_is_refused() -> None:
    market = make_market()
    run(market, beats=[0, 36])
    beat(market, "w1", now=36, jobs=[report("job_1", "succeeded")])
    before = balances(market)
    assert error_of(cancel_job(market, at(36), "agent:a", "job_1")) == (409, "job already finished")
    assert balances(market) == before


@pytest.mark.parametrize(
    "reports",
    [
        "x",
        {"job_id": "job_1"},
        [1],
        [{"job_id": "job_1"}],
        [{"job_id": "job_1", "state": "cancelled"}],
        [{"job_id": "job_1", "state": "queued"}],
        [{"job_id": 7, "state": "running"}],
        [{"job_id": "job_2", "state": "succeeded"}],
        [{"job_id": "job_1", "state": "failed", "error": 7}],
    ],
)
def test_reports_that_mean_nothing_are_ignored_and_counted(reports: Any) -> None:
    market = make_market()
    beat(market, "w1", capacity=SMALL)
    beat(market, "w2", capacity=SMALL)
    post(market, "job_1")
    post(market, "job_2", resources={"cpu_cores": 2, "memory_gb": 1})
    assert market.jobs["job_2"].worker_id == "w2"
    beat(market, "w1", now=1, jobs=reports)
    assert market.ignored == {"capacity": 0, "job": 1}
    assert (market.jobs["job_1"].state, market.jobs["job_2"].state) == ("assigned", "assigned")


def test_a_result_may_not_be_too_large() -> None:
    market = make_market()
    run(market, beats=[0])
    beat(market, "w1", now=1, jobs=[report("job_1", "succeeded", result="x" * 4_094)])
    assert (market.jobs["job_1"].state, len(market.jobs["job_1"].result)) == ("succeeded", 4_096)
    post(market, "job_2")
    beat(market, "w1", now=2, jobs=[report("job_2", "succeeded", result="x" * 4_095)])
    assert (market.jobs["job_2"].state, market.jobs["job_2"].error) == ("failed", "result too large")


def test_what_failed_says_why() -> None:
    market = make_market()
    run(market, beats=[0])
    beat(market, "w1", now=1, jobs=[report("job_1", "failed", error="no such model")])
    assert (market.jobs["job_1"].state, market.jobs["job_1"].error) == ("failed", "no such model")


def test_refusals_of_jobs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    market = make_market(Conditions(dev_credit=1_000_000))
    monkeypatch.setattr("reference_server.core.market.job_routes.JOBS_UNFINISHED_AN_ACCOUNT_MAX", 1)
    assert error_of(post_job(market, at(0), "agent:x", None, b"{}", "j")) == (400, "invalid request")
    assert error_of(post_job(market, at(0), "agent:x", "", job_body(), "j")) == (400, "idempotency key required")
    assert error_of(post_job(market, at(0), "agent:x", None, job_body(), "j")) == (402, "insufficient balance")
    post(market, "job_1", max_price_usdt="0.5")
    too_many = post_job(market, at(0), "agent:a", None, job_body(max_price_usdt="2"), "job_2")
    assert error_of(too_many) == (429, "too many unfinished jobs")
    cancel(market, "job_1")
    too_dear = post_job(market, at(0), "agent:a", None, job_body(max_price_usdt="1.000001"), "job_2")
    assert error_of(too_dear) == (402, "insufficient balance")
    monkeypatch.setattr("reference_server.core.market.job_routes.JOBS_UNFINISHED_MAX", 0)
    assert error_of(post_job(market, at(0), "agent:a", None, job_body(), "job_2")) == (503, "capacity reached")


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


def test_lists_show_ones_own_jobs_newest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    market = make_market()
    for number in range(4):
        post(market, f"job_{number}")
    post(market, "other", account="agent:b")
    cancel(market, "job_1")
    page = data_of(list_jobs(market, at(0), "agent:a", "", 2, 1))
    assert [job["id"] for job in page["jobs"]] == ["job_2", "job_1"]
    assert (page["total"], page["limit"], page["offset"]) == (4, 2, 1)
    assert data_of(list_jobs(market, at(0), "agent:a", "cancelled", 9, 0))["total"] == 1
    assert error_of(list_jobs(market, at(0), "agent:a", "done", 9, 0)) == (400, "invalid request")
    for route in (read_own_job, cancel_job):
        assert error_of(route(market, at(0), "agent:b", "job_0")) == (404, "job not found")
    monkeypatch.setattr("reference_server.core.market.market.JOBS_FINISHED_MAX", 1)
    cancel(market, "job_0")
    assert error_of(read_own_job(market, at(0), "agent:a", "job_1")) == (404, "job not found")
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


def test_many_small_jobs_have_a_bound_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_server.core.market.pool.JOBS_A_WORKER_MAX", 2)
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 100, "memory_gb": 100, "gpus": [{"model": "A", "count": 9}]})
    for number in range(4):
        gpus = {"gpu_count": number % 2}
        post(market, f"job_{number}", resources={"cpu_cores": 0.1, "memory_gb": 0.1, **gpus})
    assert [job.state for job in market.jobs.values()] == ["assigned", "assigned", "queued", "queued"]
    beat(market, "w1", now=1, jobs=[report("job_0", "succeeded"), report("job_1", "failed")])
    assert [job.state for job in market.jobs.values()] == ["succeeded", "failed", "assigned", "assigned"]


def test_only_so_many_gpu_models_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_server.core.market.pool.GPU_MODELS_MAX", 1)
    market = make_market()
    beat(market, "w1", capacity={**SMALL, "gpus": [{"model": "A", "count": 1}]})
    beat(market, "w2", capacity={**SMALL, "gpus": [{"model": "B", "count": 1}]})
    beat(market, "w3", capacity={**SMALL, "gpus": [{"model": "A", "count": 1}]})
    assert market.ignored["capacity"] == 1
    assert list(market.pool.models) == ["A"]
    revoke(market, at(0), "w1", "pol")
    revoke(market, at(0), "w3", "pol")
    assert list(market.pool.models) == []


def test_metrics_that_are_null_say_nothing() -> None:
    market = make_market()
    assert beat(market, "w1", capacity=None) == {"assignments": [], "cancelled": []}
    assert market.pool.offers["w1"].heard == at(0)
    assert at(0).wall_ns == MORNING_NS
