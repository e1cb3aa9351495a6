"""Lies about where jobs were, and what came of them: each is a change of what a right server showed.

They are told of market days, as those of `tests.checkers.market_lies`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.history.market_records import Assignment
from tests.checkers.lies_of_markets import MarketLie, is_billed, jobs_shown, set_each

if TYPE_CHECKING:
    from tests.checkers.market_play import Play


def much_at_once(play: Play) -> None:
    set_each(play, lambda job: bool(job["worker_id"]), resources=lambda old: {**old, "cpu_cores": 1.5})


def never_fitted(play: Play) -> None:
    set_each(play, lambda job: bool(job["worker_id"]), resources=lambda old: {**old, "memory_gb": 99})


def too_dear(play: Play) -> None:
    set_each(play, lambda job: bool(job["worker_id"]), max_price_usdt="0.000001")


def room_left(play: Play) -> None:
    worker_id = play.history.machines[0].worker_id
    for one in play.history.resources_shown:
        one.resources[:] = [{"worker_id": worker_id, "cpu_cores": 2, "memory_gb": 4, "gpus": []}]


def served_twice(play: Play) -> None:
    waiting = play.jobs[list(play.headers)[1]]
    cleared = dict.fromkeys(("worker_id", "price_per_hour", "assigned_at", "started_at"))
    set_each(play, lambda job: job["id"] in waiting, state="queued", **cleared)


def unnamed(play: Play) -> None:
    first = jobs_shown(play)[0][0]["id"]
    table = play.history.assignments
    table[:] = [one for one in table if one.job_id != first]
    set_each(play, lambda job: job["id"] == first and job["state"] == "running", state="assigned")


def notices(play: Play, *, cancelled: bool) -> list[Assignment]:
    return [one for one in play.history.assignments if one.cancelled is cancelled]


def not_named_again(play: Play) -> None:
    play.history.assignments[:] = notices(play, cancelled=False)


def named_for_ever(play: Play) -> None:
    play.history.assignments.append(notices(play, cancelled=True)[0])


def named_to_who_has_it(play: Play) -> None:
    first = notices(play, cancelled=False)[1]
    play.history.assignments.append(msgspec.structs.replace(first, cancelled=True))


def stranger(play: Play) -> None:
    play.history.assignments.append(Assignment(0, play.at_ns, play.at_ns, "job_0000000000000009"))


def expired(play: Play) -> None:
    set_each(play, lambda job: job["state"] == "cancelled", state="expired")


def came_back(play: Play) -> None:
    ended = next(job["id"] for job, _ in jobs_shown(play) if is_billed(job))
    [job for job, _ in jobs_shown(play) if job["id"] == ended][-1]["state"] = "running"


def ran_on(play: Play) -> None:
    set_each(play, lambda job: job["state"] == "succeeded", state="running")


def attempts(play: Play) -> None:
    jobs_shown(play)[0][0]["attempts"] = 2


def not_cleared(play: Play) -> None:
    set_each(play, lambda job: job["state"] == "queued", worker_id="wrk_0000000000000001")


MATCHING_LIES = (
    MarketLie("crowded", "matching.over-capacity", much_at_once),
    MarketLie("quiet", "matching.unfit", never_fitted),
    MarketLie("quiet", "matching.too-dear", too_dear),
    MarketLie("queue", "matching.starved", room_left),
    MarketLie("queue", "matching.turn", served_twice),
    MarketLie("quiet", "matching.untold", unnamed),
    MarketLie("quiet", "matching.notice", not_named_again),
    MarketLie("quiet", "matching.notice", named_for_ever),
    MarketLie("quiet", "matching.notice", named_to_who_has_it),
    MarketLie("quiet", "matching.stranger", stranger),
    MarketLie("busy", "matching.expired", expired),
    MarketLie("quiet", "matching.state", came_back),
    MarketLie("busy", "matching.outcome", lambda play: set_each(play, is_billed, state="failed")),
    MarketLie("quiet", "matching.overrun", ran_on),
    MarketLie("quiet", "matching.attempts", attempts),
    MarketLie("queue", "matching.requeued", not_cleared),
)
