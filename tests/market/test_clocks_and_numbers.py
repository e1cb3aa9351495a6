"""What may not mislead a market: clocks that differ, numbers that nobody can read, tables that would only grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reference_server.core.attending import concerns_market
from reference_server.core.market.bounds import MarketBounds
from reference_server.core.market.conditions import Conditions
from reference_server.core.market.idempotency import KeptAnswer, KeptAnswers, digest_of
from reference_server.core.market.metering import metered
from reference_server.core.market.payouts import PayoutQueue
from reference_server.core.market.wallet import ensure_account, withdraw
from reference_server.core.market.working import attend, next_due
from tests.market.small_market import (
    RULES,
    SECOND,
    assert_sound,
    at,
    beat,
    cancel,
    error_of,
    hear,
    make_market,
    post,
    recovered,
    take_out,
)

if TYPE_CHECKING:
    from reference_server.core.market.market import Market

SMALL = {"cpu_cores": 2, "memory_gb": 4}
DAY = 86_400.0
RICH = Conditions(dev_credit=10**11, cooldown_ns=0)


def run(*beats: float) -> Market:
    """Return a market in which a machine, heard at some seconds, says that it runs a job."""
    market = make_market()
    beat(market, "w1", capacity=SMALL)
    post(market, "job_1")
    for now in beats:
        beat(market, "w1", now=now, jobs=[{"job_id": "job_1", "state": "running"}])
    return market


def test_no_time_is_billed_twice_where_the_clocks_of_instances_differ() -> None:
    market, other = run(0, 50, 47, 100, 99), run(0, 50, 100)
    assert market.pool.offers["w1"].heard == at(100)
    for one in (market, other):
        assert metered(one.jobs["job_1"], one.pool.offers["w1"]) == 100 * SECOND
    assert_sound(market)


@pytest.mark.parametrize("number", ["1e400", "1e99999999999999999999"])
def test_a_result_with_a_number_past_a_double_is_ignored_and_counted(number: str) -> None:
    """No client could read the job that has it."""
    market = run(0)
    metrics = f'{{"jobs":[{{"job_id":"job_1","state":"succeeded","result":{{"a":{number}}}}}]}}'
    attend(market, at(1), "w1", "o", "pol", RULES, metrics.encode())
    assert (market.jobs["job_1"].state, market.jobs["job_1"].result) == ("running", b"")
    assert market.ignored == {"capacity": 0, "job": 1}


def test_a_number_that_no_decimal_is_is_refused() -> None:
    for number in (b"1e99999999999999999999", b"1e-99999999999999999999"):
        with pytest.raises(ValueError, match="past a decimal"):
            digest_of(b'{"a":%b}' % number)
        body = b'{"asset":"BTC","amount":%b,"address":""}' % number
        assert error_of(withdraw(make_market(), at(0), "agent:a", "k", body, "w")) == (400, "invalid request")


@pytest.mark.parametrize("metrics", [b"null", b"{}", b'{"a":1}', b'{"jobs_":"7"}', b'{"capa":"city", "x":1}'])
def test_a_heartbeat_that_says_nothing_to_the_market_is_none_of_its(metrics: bytes) -> None:
    """Also where another machine has to be looked at: that is done when it is looked what is due."""
    market = make_market()
    for worker_id in ("w1", "w2"):
        beat(market, worker_id, capacity=SMALL)
    hear(market, at(1), "w2", "pol_2")
    offers = market.pool.offers
    assert not concerns_market(market, None, metrics)
    assert not concerns_market(market, offers["w1"], metrics)
    assert concerns_market(market, offers["w2"], metrics)
    assert next_due(market, at(1)) == at(1).monotonic_ns


@pytest.mark.parametrize("metrics", [b'{"jobs":0}', b'{"jobs": []}', b'{"x":1,"capacity":{}}'])
def test_a_heartbeat_that_may_say_something_to_the_market_is_taken_to_it(metrics: bytes) -> None:
    assert concerns_market(make_market(), None, metrics)


def test_recovery_forgets_what_is_past_its_day() -> None:
    """It only keeps, and asks for nothing: neither answers nor withdrawals of days ago may pile up."""
    market = make_market(RICH, idempotency_bytes_max=10_000)
    ensure_account(market, at(0), "agent:a")
    for number in range(6):
        assert take_out(market, "1", now=number * DAY / 2, key=f"k{number % 3}", id=f"w{number}").status == 202
    again = recovered(market, at(5 * DAY / 2), [])
    kept = list(again.answers)
    assert [one.created for one in kept] == [one.created for one in market.answers] == [at(2 * DAY), at(5 * DAY / 2)]
    left = market.bounds.idempotency_bytes_max - sum(len(one.body) for one in kept)
    rooms = [again.answers.has_room("agent:b", size, at(5 * DAY / 2)) for size in (left, left + 1)]
    assert rooms == [True, False]
    assert {account: len(lately) for account, lately in again.withdrawals._lately.items()} == {"agent:a": 2}


def test_an_answer_in_the_place_of_another_counts_once() -> None:
    """As where an instance whose clock is behind another's recovers a key that was used again after its day."""
    answers = KeptAnswers(MarketBounds(idempotency_bytes_max=10))
    for seconds in (0, 1):
        answers.keep(KeptAnswer("agent:a", "r", "k", b"d", 202, b"x" * 9, at(seconds)))
    assert len(answers) == 1
    assert answers.has_room("agent:b", 1, at(1))
    assert not answers.has_room("agent:b", 2, at(DAY))
    assert answers.has_room("agent:b", 10, at(DAY + 1))


def test_what_the_gateway_says_nothing_of_keeps_nothing_new_waiting() -> None:
    market = make_market(RICH)
    ensure_account(market, at(0), "agent:a")
    for key in "abc":
        take_out(market, "1", key=key, id=key)
    queue = PayoutQueue()

    def asked(seconds: float) -> list[str]:
        return [one.id for one in queue.due(market.withdrawals, at(seconds).monotonic_ns, 1)]

    assert [asked(seconds) for seconds in (0, 10, 20, 30)] == [["a"], ["b"], ["c"], ["a"]]
    take_out(market, "1", now=40, key="d", id="d")
    assert [asked(seconds) for seconds in (100, 200, 300)] == [["b"], ["c"], ["a"]]
    assert asked(301) == ["d"]


def test_ends_of_jobs_that_ended_before_do_not_pile_up() -> None:
    """Who posts and cancels, or whose machine is lost again and again, leaves a few; and all ends still come."""
    market = make_market(deadlines_spare=3)
    for owner in "abc":
        beat(market, f"w{owner}", capacity=SMALL)
    for number in range(24):
        post(market, f"run_{number}")
        worker_id = market.jobs[f"run_{number}"].worker_id
        beat(market, worker_id, now=number / 100, jobs=[{"job_id": f"run_{number}", "state": "running"}])
        post(market, f"wait_{number}", now=number / 100, max_price_usdt="0.000001")
        for kind in ("run", "wait"):
            if number % 8:
                cancel(market, f"{kind}_{number}", now=number / 100)
    deadlines = market.deadlines
    assert market.unfinished == 6
    assert all(len(heap) <= 2 * 6 + 3 for heap in (deadlines.ends, deadlines.expiries))
    for now in range(1, 3_700, 50):
        for owner in "abc":
            beat(market, f"w{owner}", now=now)
    states = [market.jobs[f"{kind}_{number}"].state for kind in ("run", "wait") for number in (0, 8, 16)]
    assert states == ["succeeded"] * 3 + ["expired"] * 3
    assert not deadlines.expiries
    assert_sound(market)
