"""A job's way to its end: who gets it, what it costs, what its machine is told, and how it is given back."""

from __future__ import annotations

from typing import Any

import pytest

from reference_server.core.market.conditions import Conditions
from reference_server.core.market.job_routes import cancel_job, read_own_job
from reference_server.core.market.metering import hear, metered
from reference_server.core.market.resources import Wanted, list_prices, list_resources
from reference_server.core.market.working import next_due, tick
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
    make_market,
    post,
    revoke,
)

SMALL = {"cpu_cores": 2, "memory_gb": 4}
AVAILABLE, HELD = ("agent:a", "available"), ("agent:a", "held")
CREDIT = 1_000_000_000


def report(job_id: str, state: str, **more: Any) -> dict[str, Any]:
    return {"job_id": job_id, "state": state, **more}


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
    notices = beat(market, "w1", now=1)
    assert [one["job_id"] for one in notices["assignments"]] == ["job_1", "job_2"]
    assert set(notices["assignments"][0]) == {"job_id", "type", "resources", "payload", "duration_minutes"}
    notices = beat(market, "w1", now=2, jobs=[report("job_1", "running")])
    assert [one["job_id"] for one in notices["assignments"]] == ["job_2"]


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


def test_prices_fall_also_when_another_machine_comes_that_is_too_small() -> None:
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 2, "memory_gb": 2})
    post(market, "first")
    post(market, "poor", max_price_usdt="0.0105")  # it would cost 0.011
    beat(market, "w2", capacity={"cpu_cores": 0.5, "memory_gb": 0.5})
    assert (market.jobs["poor"].state, market.jobs["poor"].worker_id) == ("assigned", "w1")


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
    notices = beat(market, "w1", now=130)
    assert notices["cancelled"] == ["job_1"]
    assert [one["job_id"] for one in notices["assignments"]] == ["job_1"]
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


def test_a_job_that_runs_again_costs_no_more_than_what_is_left_of_its_escrow() -> None:
    """Its maximum would do for one whole run; what the first machine earned of it the second cannot have."""
    market = make_market()
    run(market, beats=[0, 40], duration_minutes=1, max_price_usdt="0.000092")
    revoke(market, at(41), "w1", "pol")
    assert market.jobs["job_1"].billed == 40 * 5_500 // 3_600 == 61
    for now in (50, 51, 80, 111):
        beat(market, "w1", now=now, policy_id="pol2", jobs=[report("job_1", "running")])
    job = market.jobs["job_1"]
    assert 29 * 5_500 // 3_600 == 44 > 92 - 61
    assert (job.state, job.billed, job.escrow) == ("succeeded", 92, 0)
    assert_sound(market)


def test_time_is_metered_between_heartbeats_that_are_close_enough() -> None:
    market = make_market()
    run(market, beats=[10])
    job = market.jobs["job_1"]

    offer = market.pool.offers[job.worker_id]

    def ran(*heard: float) -> int:
        job.metered_ns, offer.heard = 0, None
        for moment in heard:
            hear(offer, at(moment), 60 * SECOND)
        return metered(job, offer)

    assert ran(20, 80) == 60 * SECOND
    assert ran(20, 80.000000001) == 0
    assert ran(20, 50, 40, 60) == 40 * SECOND  # one that is older than the last adds nothing
    assert ran(20, 50, 120, 130, 200) == (30 + 10) * SECOND
    assert ran(5, 15) == 5 * SECOND  # it started at 10
    assert ran(3_580, 3_630) == 30 * SECOND  # it is over at 3,610
    assert ran(3_620, 3_630) == 0


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


def test_metrics_that_are_null_say_nothing() -> None:
    market = make_market()
    assert beat(market, "w1", capacity=None) == {"assignments": [], "cancelled": []}
    assert "w1" not in market.pool.offers  # who never said what it has is none of the market's
    assert at(0).wall_ns == MORNING_NS
