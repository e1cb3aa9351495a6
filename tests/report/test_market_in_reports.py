"""What a report shows of a market: jobs by state over time, money paid, accounts' sums; and what it is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.market_records import AccountShown
from simulator.history.records import WallReading
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.judging.market_shown import market_seconds, shown_of
from simulator.judging.thresholds import judge_thresholds, measure
from simulator.report.market import account_lines, jobs_over_time
from simulator.report.market_plots import plot_jobs
from simulator.report.over_time import RunClock, RunTime

BEGAN_NS = 1_800_000_000 * SECOND_NS


def at(second: float | None) -> str | None:
    return None if second is None else format_timestamp(BEGAN_NS + int(second * SECOND_NS))


def job(state: str, *moments: float | None, billed: str = "0.000000") -> dict[str, Any]:
    created, assigned, started, finished = (*moments, None, None, None, None)[:4]
    return {
        "id": f"job_{state}_{moments}", "state": state, "billed": billed, "created_at": at(created),
        "assigned_at": at(assigned), "started_at": at(started), "finished_at": at(finished),
    }  # fmt: skip


def withdrawal(state: str, made: float, until: float, amount: str = "1.5") -> dict[str, Any]:
    return {"id": f"{made}", "state": state, "amount": amount, "created_at": at(made), "updated_at": at(until)}


JOBS = [
    job("succeeded", 1, 2, 3, 8, billed="0.25"),
    job("failed", 1, 2, 7, 8, billed="0.05"),
    job("running", 2, 3, 5),
    job("queued", 4),
    job("expired", 1, None, None, 9),
    job("cancelled", 1, None, None, 2),
]


def history() -> History:
    made = History()
    made.wall_readings.append(WallReading(0, 0, BEGAN_NS))
    balances = [{"asset": "USDT-TRC20", "available": "3.2", "held": "0.5", "pending": "1"}]
    withdrawals = [withdrawal("settled", 1, 2), withdrawal("returned", 1, 4), withdrawal("pending", 5, 5, "0.5")]
    made.accounts_shown.append(
        AccountShown("agent:one", 9 * SECOND_NS, 10 * SECOND_NS, balances, [], 0, JOBS, len(JOBS), withdrawals)
    )
    made.accounts_shown.append(AccountShown("owner:two", 9 * SECOND_NS, 10 * SECOND_NS, complete=False))
    return made


def test_jobs_are_followed_from_state_to_state_and_what_was_paid_adds_up() -> None:
    jobs = jobs_over_time(history(), 10 * SECOND_NS)
    assert jobs is not None

    def when(values: Any, second: float) -> float:
        return float(values[np.searchsorted(jobs.at, second)])

    assert [when(jobs.in_state["queued"], second) for second in (0, 1.5, 4.5, 9.5)] == [0, 4, 2, 1]
    assert [when(jobs.in_state["running"], second) for second in (2.5, 5.5, 7.5, 9.5)] == [0, 2, 3, 1]
    assert [when(jobs.ended, second) for second in (1.5, 2.5, 8.5, 9.5)] == [0, 1, 3, 4]
    assert when(jobs.paid, 9.5) == pytest.approx(0.3)
    assert "0.300000 USDT paid" in plot_jobs(jobs, RunTime(10, (), RunClock(None))).alternative


def test_nothing_is_drawn_where_nobody_had_jobs_or_read_the_clock() -> None:
    empty = History()
    assert jobs_over_time(empty, SECOND_NS) is None
    empty.accounts_shown = history().accounts_shown
    assert jobs_over_time(empty, SECOND_NS) is None


def test_each_account_has_its_sums() -> None:
    one, two = account_lines(history())
    assert (one.account, one.available, one.held, one.pending) == ("agent:one", "3.2", "0.5", "1")
    assert (one.billed, one.withdrawn) == ("0.300000", "2.0")
    assert "1 running" in one.jobs
    assert (two.complete, two.jobs) == (False, "")


def test_what_never_came_counts_as_an_endless_wait_and_what_is_waited_for_as_long_as_it_was() -> None:
    shown = shown_of(history())
    assert sorted(shown.start_seconds) == [2, 3, 6, 6, float("inf")]
    assert sorted(shown.settle_seconds) == [1, 3, 5]
    assert (shown.finished, shown.settled) == (2, 1)


def test_response_times_are_those_of_honest_requests_to_the_market_alone() -> None:
    made = History()
    for operation, answered_ns, got in (
        (Operation.WITHDRAW, 3 * SECOND_NS, Answer.ACCEPTED),
        (Operation.JOB_CREATE, NEVER_NS, Answer.LOST),
        (Operation.HEARTBEAT, 9 * SECOND_NS, Answer.ACCEPTED),
    ):
        made.append(0, 0, answered_ns, bytes(12), NO_MACHINE, 200, operation, Answer.ACCEPTED, got, HONEST)
    assert market_seconds(made).tolist() == [3, float("inf")]


def test_thresholds_on_a_market_are_judged_and_without_one_not_measured() -> None:
    wanted = {"jobs.finished": ["count==2"], "job.time_to_start": ["med<5s"], "withdrawal.time_to_settle": ["max<6s"]}
    with_market = judge_thresholds(wanted, measure(history(), [], 0))
    assert [one.status for one in with_market] == [Status.PASS, Status.FAIL, Status.PASS]
    assert with_market[1].summary == "6000.000 ms"
    assert {one.status for one in judge_thresholds(wanted, measure(History(), [], 0))} == {Status.INCONCLUSIVE}
