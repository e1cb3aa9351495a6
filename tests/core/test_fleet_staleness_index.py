"""The staleness index against a plain list of when each worker was heard from (contract §3, §10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.fleet import FleetIndex, FleetSummary
from tests.core.server_under_test import SECOND, Server
from tests.support.tiers import examples

if TYPE_CHECKING:
    from reference_server.core.records import Worker

STALE = 100
OWNERS = ("ada", "bob", "cyd")


def workers_of(server: Server, owner_ids: list[str]) -> list[Worker]:
    return [server.api.state.workers[server.register(owner_id).id] for owner_id in owner_ids]


def plain_summary(heard: list[int | None], now: int) -> FleetSummary:
    unknown = sum(when is None for when in heard)
    stale = sum(when is not None and now - when > STALE for when in heard)
    return FleetSummary(len(heard), len(heard) - stale - unknown, stale, unknown)


@settings(max_examples=examples(200), deadline=None)
@given(
    owner_ids=st.lists(st.sampled_from(OWNERS), min_size=1, max_size=6),
    happenings=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 30), st.sampled_from([99, 100, 101, 1000])),
            st.one_of(st.none(), st.sampled_from(OWNERS), st.integers(0, 5)),
        ),
        max_size=60,
    ),
)
def test_summaries_are_those_of_a_plain_list(
    owner_ids: list[str], happenings: list[tuple[int, str | int | None]]
) -> None:
    """Hear a worker, or sum up one owner's, or all; whichever way the summaries fall among the heartbeats."""
    server = Server()
    workers = workers_of(server, owner_ids)
    for worker in workers:
        worker.owner.total = 0
    fleet = FleetIndex(STALE)
    for worker in workers:
        fleet.add(worker)
    heard: dict[str, int | None] = dict.fromkeys(worker.id for worker in workers)
    now = 0
    for wait, what in happenings:
        now += wait
        if isinstance(what, int):
            worker = workers[what % len(workers)]
            fleet.hear(worker, now)
            heard[worker.id] = now
        elif what is None:
            assert fleet.summary(now) == plain_summary(list(heard.values()), now)
        elif what in server.api.state.owners:
            mine = [heard[worker.id] for worker in workers if worker.owner.id == what]
            assert fleet.summary(now, server.api.state.owners[what]) == plain_summary(mine, now)
        for worker in workers:
            when = heard[worker.id]
            assert fleet.is_stale(worker, now) is (when is None or now - when > STALE)


def test_a_worker_is_stale_just_after_the_threshold(server: Server) -> None:
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    shown = server.metrics()
    assert (shown["hatchfarm_workers_unknown_total"], shown["hatchfarm_alert_stale_workers"]) == (1, 0)
    assert server.beat(machine, policy_id, "nonce").status == 200
    server.pass_time(60 * SECOND)
    shown = server.metrics()
    assert (shown["hatchfarm_workers_stale_total"], shown["hatchfarm_alert_stale_workers"]) == (0, 0)
    server.pass_time(1)
    shown = server.metrics()
    assert (shown["hatchfarm_workers_stale_total"], shown["hatchfarm_alert_stale_workers"]) == (1, 1)
    server.step_wall(-3600 * SECOND)
    assert server.beat(machine, policy_id, "back").status == 200
    assert server.metrics()["hatchfarm_alert_stale_workers"] == 0


def test_the_threshold_is_a_setting() -> None:
    server = Server(stale_seconds=5)
    machine = server.register()
    policy_id = server.policy()
    server.consent(machine, policy_id)
    server.beat(machine, policy_id, "nonce")
    server.pass_time(5 * SECOND + 1)
    status = server.send("GET", f"/workers/{machine.id}/status", None, {"authorization": "Bearer owners-bearer-token"})
    assert status.data["stale"] is True
    assert (status.data["age_seconds"], status.data["stale_threshold"]) == (5, 5)
