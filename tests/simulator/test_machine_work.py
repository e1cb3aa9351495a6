"""What machines offer, work on and say of it, rightly and wrongly, against the server itself."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.fleet.work import WRONG_CAPACITIES, Manner, WorkHabits, make_work
from simulator.history.rows import NEVER_NS, History
from simulator.limits import JOBS_AT_WORK_MAX
from tests.simulator.market_in_process import HABITS, MarketInProcess, Provider, one_work

ACCEPTED = b'{"success":true,"data":{"accepted":true}}'


def assigned(job_id: str = "job_0123456789abcdef", minutes: int = 1) -> bytes:
    one = {"job_id": job_id, "duration_minutes": minutes, "resources": {"cpu_cores": 1.0}, "type": "a", "payload": None}
    return msgspec.json.encode({"success": True, "data": {"accepted": True, "assignments": [one]}})


def worked(manner: Manner, minutes: int = 4, **habits: float) -> tuple[MarketInProcess, Provider]:
    """Have a machine work on an agent's jobs for so long."""
    market = MarketInProcess(stale_seconds=10)
    agent = market.server.agent()
    provider = Provider(market, manner, msgspec.structs.replace(HABITS, **habits))
    for second in range(minutes * 60):
        if second % 20 == 0:
            market.server.post(agent.headers, duration_minutes=1)
        provider.beat()
        market.server.pass_time(SECOND_NS)
    return market, provider


def test_an_honest_machine_says_once_what_it_has_and_reports_each_job_from_its_start_to_its_end() -> None:
    market, _ = worked(Manner.HONEST, early=1.0, failing=0.5)
    history = market.history
    assert [(one.capacity, one.honest) for one in history.capacity_reports] == [(HABITS.capacity, True)]
    given = {one.job_id for one in history.assignments}
    reports = Counter((one.job_id, one.state) for one in history.job_reports)
    assert len(given) > 5
    assert set(reports.values()) == {1}
    assert {job for job, _ in reports} == given
    assert {state for _, state in reports} == {"running", "succeeded", "failed"}
    assert all(one.accepted and one.honest for one in history.job_reports)
    assert market.server.api.state.market.ignored == {"capacity": 0, "job": 0}


def test_a_machine_that_claims_more_is_believed_in_nothing_of_it() -> None:
    market, _ = worked(Manner.CLAIMS_MORE)
    honest = {one.honest for one in market.history.capacity_reports}
    assert honest == {True, False}
    wrong = sum(not one.honest for one in market.history.capacity_reports)
    assert market.server.api.state.market.ignored["capacity"] == wrong
    assert all(one.capacity == HABITS.capacity for one in market.history.capacity_reports if one.honest)


@pytest.mark.parametrize("capacity", WRONG_CAPACITIES, ids=str)
def test_no_wrong_capacity_is_one_of_the_contract(capacity: dict[str, object]) -> None:
    market = MarketInProcess()
    machine, policy_id, _ = market.server.machine("max")
    market.server.heard(machine, policy_id, {"capacity": capacity})
    assert market.server.api.state.market.ignored["capacity"] == 1


def test_ends_of_jobs_that_are_not_its_own_are_ignored() -> None:
    market, _ = worked(Manner.FOREIGN)
    foreign = [one for one in market.history.job_reports if not one.honest]
    assert foreign
    assert {one.state for one in foreign} == {"succeeded"}
    # Of its own jobs it may report what the server has ended by itself.
    assert market.server.api.state.market.ignored["job"] >= len(foreign)


def test_a_machine_that_gives_up_falls_silent_and_its_job_is_given_to_others() -> None:
    market, _ = worked(Manner.ABANDONS, abandoned_ns=20 * SECOND_NS)
    again = Counter(one.job_id for one in market.history.assignments)
    assert max(again.values()) > 1
    assert market.server.api.state.market.ignored["job"] == 0


def test_some_jobs_are_reported_as_running_until_the_server_has_ended_them() -> None:
    """What it is said of them then is ignored, as they are nobody's."""
    market, _ = worked(Manner.HONEST, minutes=20, early=0.0, failing=0.0)
    assert market.server.api.state.market.ignored["job"] > 0
    ends = [one for one in market.history.job_reports if one.state != "running"]
    jobs = market.server.api.state.market.jobs
    assert {jobs[one.job_id].state for one in ends} == {"succeeded"}


def test_what_a_lost_answer_may_have_taken_is_noted_so_and_said_again() -> None:
    history, work = History(), one_work()
    work.metrics(0)
    work.unanswered(history, 1)
    assert [(one.answered_ns, one.honest) for one in history.capacity_reports] == [(NEVER_NS, True)]
    work.metrics(2)
    work.accepted(history, 2, 3, assigned())
    assert [one.answered_ns for one in history.capacity_reports] == [NEVER_NS, 3]
    assert '"running"' in work.metrics(4)
    work.unanswered(history, 4)
    assert '"running"' in work.metrics(5)
    work.refused(history, 5, 6)
    work.metrics(7)
    work.accepted(history, 7, 8, ACCEPTED)
    assert [(one.sent_ns, one.answered_ns, one.accepted) for one in history.job_reports] == [
        (4, NEVER_NS, False), (5, 6, False), (7, 8, True),
    ]  # fmt: skip


def test_a_job_that_is_taken_away_is_reported_no_more() -> None:
    history, work = History(), one_work()
    work.metrics(0)
    work.accepted(history, 0, 1, assigned())
    work.metrics(2)
    gone = {"success": True, "data": {"accepted": True, "cancelled": ["job_0123456789abcdef"]}}
    work.accepted(history, 2, 3, msgspec.json.encode(gone))
    assert "job_" not in work.metrics(4)
    assert [one.cancelled for one in history.assignments] == [False, True]


def test_an_answer_that_tells_of_jobs_in_no_right_form_tells_of_none() -> None:
    history, work = History(), one_work()
    wrong_bodies = (
        b'{"data":{"assignments":7}}',
        b'{"data":{"assignments":[{"job_id":1}]}}',
        b'{"cancelled"',
    )
    for wrong in wrong_bodies:
        work.metrics(0)
        work.accepted(history, 0, 1, wrong)
    assert history.assignments == []


def test_shares_of_a_fleet_do_wrong_in_one_way_each_as_the_seed_says() -> None:
    shares = {Manner.CLAIMS_MORE: 0.1, Manner.FOREIGN: 0.2, Manner.ABANDONS: 0.3}
    fleets = [make_work(list(range(100)), WorkHabits({}), shares, np.random.default_rng(3)) for _ in range(2)]
    manners = [[one._manner for one in fleet.values()] for fleet in fleets]
    assert manners[0] == manners[1]
    assert Counter(manners[0]) == {Manner.HONEST: 40, Manner.CLAIMS_MORE: 10, Manner.FOREIGN: 20, Manner.ABANDONS: 30}


def test_a_machine_notes_each_job_that_it_is_told_of_also_where_it_works_on_fewer() -> None:
    """What it puts off it is told of again, and works on once it has ended others."""
    work, history = one_work(Manner.HONEST, msgspec.structs.replace(HABITS, early=1.0, failing=0.0)), History()
    jobs = [f"job_{number:016x}" for number in range(JOBS_AT_WORK_MAX + 20)]
    notices = [{"job_id": one, "duration_minutes": 1, "resources": {}} for one in jobs]
    ended: set[str] = set()
    for beat in range(200):
        now_ns = beat * SECOND_NS
        reports = msgspec.json.decode(f"{{{work.metrics(now_ns)}}}").get("jobs", [])
        assert len(reports) <= JOBS_AT_WORK_MAX
        ended |= {one["job_id"] for one in reports if one["state"] == "succeeded"}
        reported = {one.job_id for one in history.job_reports} | {one["job_id"] for one in reports}
        left = [one for one in notices if one["job_id"] not in reported]
        data = {"accepted": True, **({"assignments": left} if left else {})}
        work.accepted(history, now_ns, now_ns + 1, msgspec.json.encode({"success": True, "data": data}))
        assert sorted(one.job_id for one in history.assignments) == jobs
    assert ended == set(jobs)
