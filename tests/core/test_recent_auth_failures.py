"""The sliding window of auth failures against a plain list of moments (contract §10)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.auth_failures import HEARTBEAT_REASONS, POLICY_FETCH_REASONS, AuthFailures
from tests.core.control_plane_records import REASONS
from tests.core.server_under_test import SECOND, UNKNOWN_WORKER, Server
from tests.support.tiers import examples

STEPS = 65_536
STEP = 10
WINDOW = STEPS * STEP
WAITS = st.one_of(
    st.integers(0, 3 * STEP), st.integers(0, 2 * WINDOW), st.sampled_from([WINDOW - 1, WINDOW, WINDOW + 1])
)


def test_the_reasons_are_those_of_the_contract() -> None:
    assert HEARTBEAT_REASONS + POLICY_FETCH_REASONS == REASONS


@settings(max_examples=examples(300), deadline=None)
@given(
    happenings=st.lists(
        st.tuples(WAITS, st.sampled_from([None, *REASONS]), st.booleans()),
        max_size=80,
    ),
)
def test_counts_are_those_of_a_plain_list(happenings: list[tuple[int, str | None, bool]]) -> None:
    """A failure counts for its whole window, but for one step at its end where it may be gone already."""
    failures = AuthFailures(WINDOW)
    plain: list[tuple[int, str, bool]] = []
    now = 0
    for wait, reason, attributed in happenings:
        now += wait
        if reason is None:
            ages = [now - when for when, _, _ in plain]
            assert sum(age < WINDOW - STEP for age in ages) <= failures.recent(now) <= sum(age < WINDOW for age in ages)
        else:
            failures.count(reason, now, attributed=attributed)
            plain.append((now, reason, attributed))
    assert failures.total == len(plain)
    assert failures.unattributed == sum(not attributed for _, _, attributed in plain)
    assert failures.by_reason == {reason: sum(reason == each for _, each, _ in plain) for reason in REASONS}


@pytest.mark.parametrize("step", [1, STEP])
def test_memory_is_bounded_however_hard_the_attack(step: int) -> None:
    """At a failure every nanosecond, those of one step share a place."""
    failures = AuthFailures(STEPS * step)
    for moment in range(2 * STEPS):
        failures.count("nonce_replayed", moment, attributed=True)
    assert len(failures._buckets) <= 2 * STEPS // step + 1
    assert len(failures._buckets) <= STEPS + 1
    assert failures.recent(2 * STEPS - 1) == min(2, step) * STEPS
    assert failures.total == 2 * STEPS


def test_a_lone_failure_leaves_at_the_end_of_its_window() -> None:
    failures = AuthFailures(WINDOW)
    failures.count("nonce_replayed", 100, attributed=True)
    assert failures.recent(100 + WINDOW - 1) == 1
    assert failures.recent(100 + WINDOW) == 0


@pytest.mark.parametrize(("threshold", "failed", "alert"), [(1, 0, 0), (1, 1, 1), (10, 9, 0), (10, 10, 1), (10, 11, 1)])
def test_the_alert_is_on_from_its_threshold(threshold: int, failed: int, alert: int) -> None:
    server = Server(auth_failure_threshold=threshold, auth_failure_window_seconds=7)
    for _ in range(failed):
        assert server.lane(UNKNOWN_WORKER, "", "", b"{}").status == 400
    shown = server.metrics()
    assert shown["hatchfarm_worker_auth_failures_recent"] == failed
    assert shown["hatchfarm_alert_worker_auth_failures"] == alert
    server.pass_time(7 * SECOND - 1)
    assert server.metrics()["hatchfarm_alert_worker_auth_failures"] == alert
    server.pass_time(1)
    shown = server.metrics()
    assert shown["hatchfarm_worker_auth_failures_recent"] == 0
    assert shown["hatchfarm_alert_worker_auth_failures"] == 0
    assert shown["hatchfarm_worker_auth_failures_total"] == failed


def test_the_wall_clock_does_not_move_the_window(server: Server) -> None:
    server.lane(UNKNOWN_WORKER, "", "", b"{}")
    for step in (3600 * SECOND, -7200 * SECOND):
        server.step_wall(step)
        assert server.metrics()["hatchfarm_worker_auth_failures_recent"] == 1


def test_no_client_can_make_a_new_metric_label(server: Server) -> None:
    before = server.metrics().keys()
    for worker_id in ("made-up", 'x"} 1\nhatchfarm_evil', UNKNOWN_WORKER, "é"):
        server.lane(worker_id, "token", "certificate", b"{}")
        server.send("GET", f"/workers/{worker_id}/policy")
    assert server.metrics().keys() == before
    assert server.metrics()["hatchfarm_worker_auth_failures_unattributed_total"] == 8
