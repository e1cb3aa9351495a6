from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.fleet.clocks import PERFECT, SKEW_WINDOW_NS, TOLERANCE_NS, ClockError, expected_answer

WEEK_NS = 7 * 86_400 * SECOND_NS


def lengths(low_ns: int, high_ns: int) -> st.SearchStrategy[int]:
    """Lengths of time spread over their whole range; plain integers would nearly all be close to zero."""
    spread = st.integers(0, 1000).map(lambda share: low_ns + (high_ns - low_ns) * share // 1000)
    return spread | st.integers(low_ns, high_ns)


moments = lengths(0, WEEK_NS)
errors = lengths(-WEEK_NS, WEEK_NS)
latencies = lengths(0, 20 * SECOND_NS)
OUT = Answer.TIMESTAMP_OUT_OF_WINDOW


@given(
    offset_ns=errors,
    drift_ppm=st.floats(-1_000_000, 1_000_000),
    step_at_ns=st.none() | moments,
    step_by_ns=errors,
    elapsed_ns=moments,
)
def test_the_error_is_offset_drift_and_step_to_the_nanosecond(
    offset_ns: int,
    drift_ppm: float,
    step_at_ns: int | None,
    step_by_ns: int,
    elapsed_ns: int,
) -> None:
    """Held against exact arithmetic; a float's 53 bits may cost a nanosecond of drift over a week."""
    exact = offset_ns + Fraction(drift_ppm) * elapsed_ns / 1_000_000
    if step_at_ns is not None and elapsed_ns >= step_at_ns:
        exact += step_by_ns
    assert abs(ClockError(offset_ns, drift_ppm, step_at_ns, step_by_ns).at(elapsed_ns) - exact) <= 1


@given(at_ns=lengths(1, WEEK_NS), by_ns=errors)
def test_a_step_happens_once_at_its_moment_and_for_good(at_ns: int, by_ns: int) -> None:
    clock = ClockError(step_at_ns=at_ns, step_by_ns=by_ns)
    assert [clock.at(moment) for moment in (0, at_ns - 1, at_ns, at_ns + 1, WEEK_NS * 2)] == [0, 0, by_ns, by_ns, by_ns]


@given(elapsed_ns=moments)
def test_a_perfect_clock_is_never_off(elapsed_ns: int) -> None:
    assert PERFECT.at(elapsed_ns) == 0


def answers_of_a_server(error_ns: int, latency_ns: int, difference_ns: int) -> set[Answer]:
    """What a server whose own clock differs a little may say, judging at once or as late as the answer came."""
    stamped_ns = error_ns
    judged = (difference_ns, difference_ns + latency_ns)
    return {Answer.ACCEPTED if abs(now_ns - stamped_ns) <= SKEW_WINDOW_NS else OUT for now_ns in judged}


@given(
    error_ns=lengths(-100 * SECOND_NS, 115 * SECOND_NS),
    latency_ns=latencies,
    difference_ns=lengths(-TOLERANCE_NS, TOLERANCE_NS),
)
def test_what_it_expects_is_what_every_correct_server_says(error_ns: int, latency_ns: int, difference_ns: int) -> None:
    """Whenever the server judged between sending and answer, and however its clock differs within the tolerance."""
    expected = expected_answer(error_ns, latency_ns)
    possible = answers_of_a_server(error_ns, latency_ns, difference_ns)
    assert expected is Answer.EITHER or possible == {expected}


@pytest.mark.parametrize(
    ("error_seconds", "latency_seconds", "expected"),
    [
        (0, 0, Answer.ACCEPTED),
        (-89, 0, Answer.ACCEPTED),
        (-89, 1, Answer.EITHER),
        (-90, 0, Answer.EITHER),
        (-91, 0, Answer.EITHER),
        (-92, 0, OUT),
        (-92, 10, OUT),
        (91, 0, Answer.EITHER),
        (89, 0, Answer.ACCEPTED),
        (89, 10, Answer.ACCEPTED),
        (92, 0, OUT),
        (92, 1, Answer.EITHER),
        (3600, 10, OUT),
        (-3600, 10, OUT),
    ],
)
def test_near_the_windows_edge_only_the_server_can_know(
    error_seconds: int,
    latency_seconds: int,
    expected: Answer,
) -> None:
    assert expected_answer(error_seconds * SECOND_NS, latency_seconds * SECOND_NS) is expected
