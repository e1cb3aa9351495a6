"""The table of requests: every request is in it once, by operation and status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.contract.answers import Answer, Operation
from simulator.history.losses import Loss, lost_status
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, History
from simulator.report.requests_table import request_lines

STATUSES = (200, 201, 401, 429, 503, 299)


def ask(history: History, operation: int, status: int, took_ms: int, campaign: int = HONEST) -> None:
    """Add a request that was due a millisecond before it left."""
    answered_ns = NEVER_NS if status < 0 else 10**9 + took_ms * MILLISECOND_NS
    history.append(
        10**9, 10**9 + MILLISECOND_NS, answered_ns, bytes(12), NO_MACHINE, status, operation, Answer.ACCEPTED,
        Answer.LOST if status < 0 else Answer.ACCEPTED, campaign,
    )  # fmt: skip


def test_each_operation_has_a_line_for_all_and_one_for_each_status() -> None:
    history = History()
    for took_ms in range(1, 101):
        ask(history, Operation.HEARTBEAT, 200, took_ms)
    ask(history, Operation.HEARTBEAT, 503, 500)
    ask(history, Operation.HEARTBEAT, lost_status(Loss.TIMED_OUT, 10 * SECOND_NS), 0)
    ask(history, Operation.REGISTER, 201, 7)
    ask(history, Operation.HEARTBEAT, 401, 3, campaign=1)
    lines = request_lines(history, 10 * SECOND_NS)
    assert [(one.operation, one.hostile, one.status, one.count, one.is_error) for one in lines] == [
        ("heartbeat", False, "", 102, False),
        ("heartbeat", False, "200 OK", 100, False),
        ("heartbeat", False, "timed out", 1, True),
        ("heartbeat", False, "503 Service Unavailable", 1, True),
        ("register", False, "201 Created", 1, False),
        ("heartbeat", True, "401 Unauthorized", 1, False),
    ]
    assert lines[1].percentiles == pytest.approx((0.050, 0.090, 0.099))
    assert lines[1].rate == pytest.approx(10)
    assert lines[1].most == pytest.approx(0.1)
    assert (lines[2].percentiles, lines[2].most) == ((), None)
    assert lines[0].most == pytest.approx(0.5)


def test_a_refusal_that_was_expected_is_no_error() -> None:
    history = History()
    for got in (Answer.REFUSED, Answer.ACCEPTED):
        history.append(
            10**9, 10**9, 10**9 + MILLISECOND_NS, bytes(12), NO_MACHINE, 404 if got is Answer.REFUSED else 200,
            Operation.JOB_READ, Answer.MAY_BE_REFUSED, got, 0,
        )  # fmt: skip
    assert [one.is_error for one in request_lines(history, SECOND_NS) if one.status == "404 Not Found"] == [False]
    history.append(
        10**9, 10**9, 10**9 + MILLISECOND_NS, bytes(12), NO_MACHINE, 404, Operation.JOB_READ, Answer.ACCEPTED,
        Answer.REFUSED, 0,
    )  # fmt: skip
    assert [one.is_error for one in request_lines(history, SECOND_NS) if one.status == "404 Not Found"] == [True]


def test_nothing_asked_has_no_lines() -> None:
    assert request_lines(History(), SECOND_NS) == []


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([int(one) for one in Operation]),
        st.sampled_from([*STATUSES, *(lost_status(loss, SECOND_NS) for loss in Loss)]),
        st.integers(0, 5000),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(REQUESTS)
def test_every_request_is_counted_once(requests: list[tuple[int, int, int, int]]) -> None:
    history = History()
    for request in requests:
        ask(history, *request)
    lines = request_lines(history, SECOND_NS)
    seen: dict[tuple[str, bool], int] = {}
    for one in lines:
        if one.status:
            seen[one.operation, one.hostile] = seen.get((one.operation, one.hostile), 0) + one.count
    assert sum(seen.values()) == len(requests)
    assert all(one.count == seen[one.operation, one.hostile] for one in lines if not one.status)
    assert all(list(one.percentiles) == sorted(one.percentiles) for one in lines)
