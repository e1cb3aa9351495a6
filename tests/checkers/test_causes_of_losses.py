"""Why an answer was lost: kept where a row has its status, and told from a close that a server may make."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.history.losses import (
    CLOSE_LATE_NS,
    CROSSING_SLOWLY_MAX_NS,
    RESTED_MIN_NS,
    Loss,
    describe_loss,
    loss_of_close,
    losses_of,
    lost_status,
)
from simulator.history.rows import ROW
from simulator.limits import ANSWER_TIMEOUT_SECONDS

PATIENCE_NS = int(ANSWER_TIMEOUT_SECONDS * SECOND_NS)
rests = st.integers(RESTED_MIN_NS, 1000 * SECOND_NS)


@given(st.lists(st.tuples(st.sampled_from(Loss), st.integers(0, PATIENCE_NS - 1)), min_size=1))
def test_a_row_gives_back_the_cause_and_a_bound_on_the_wait(losses: list[tuple[Loss, int]]) -> None:
    status = np.array([lost_status(*one) for one in losses]).astype(ROW["status"])
    causes, waited_ns = losses_of(status)
    assert causes.tolist() == [loss for loss, _ in losses]
    assert (status <= 0).all()
    for (_, waited), bound in zip(losses, waited_ns.tolist(), strict=True):
        assert waited < bound <= waited + SECOND_NS // 10


@given(st.sampled_from(Loss), st.integers(-SECOND_NS, 1 << 62))
def test_no_wait_is_too_long_for_a_row(loss: Loss, waited_ns: int) -> None:
    (cause,), _ = losses_of(np.array([lost_status(loss, waited_ns)], dtype=ROW["status"]))
    late = loss is Loss.ENDED and waited_ns >= PATIENCE_NS
    assert cause == (Loss.TIMED_OUT if late else loss)


def test_a_row_of_before_causes_were_kept_says_nothing() -> None:
    (cause,), _ = losses_of(np.zeros(1, dtype=ROW["status"]))
    assert cause == Loss.UNKNOWN


@given(rests, st.integers(0, CROSSING_SLOWLY_MAX_NS))
def test_what_rested_about_longest_may_be_closed_as_its_next_request_leaves(rested_ns: int, waited_ns: int) -> None:
    """RFC 9112 §9.6: the close crosses the request."""
    assert loss_of_close(rested_ns, rested_ns + CLOSE_LATE_NS, waited_ns, nothing_came=True) is Loss.CLOSING
    assert loss_of_close(rested_ns, 0, waited_ns, nothing_came=True) is Loss.CLOSING


@given(rests, st.integers(0, CROSSING_SLOWLY_MAX_NS))
def test_any_other_close_cuts_an_answer_off(rested_ns: int, waited_ns: int) -> None:
    for close in (
        # Others rested longer, even if the server's timer was late, and were answered.
        loss_of_close(rested_ns, rested_ns + CLOSE_LATE_NS + 1, waited_ns, nothing_came=True),
        loss_of_close(rested_ns, 0, waited_ns, nothing_came=False),
        loss_of_close(rested_ns, 0, waited_ns + CROSSING_SLOWLY_MAX_NS + 1, nothing_came=True),
        loss_of_close(rested_ns % RESTED_MIN_NS, 0, waited_ns, nothing_came=True),
        loss_of_close(-rested_ns, 0, waited_ns, nothing_came=True),  # a new connection
    ):
        assert close is Loss.CUT


def test_every_cause_has_its_words() -> None:
    assert {describe_loss(loss, SECOND_NS) for loss in (Loss.TIMED_OUT, Loss.CUT, Loss.GARBAGE, Loss.UNKNOWN)} == {
        "no whole answer within 1.0 s",
        "no whole answer: its connection was cut off within 1.0 s",
        "what is no HTTP answer, or more than one",
        "no whole answer",
    }
