from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE, ROW, History
from tests.support.tiers import examples

BLOCK = 4096
FIELDS = (
    "planned_ns", "sent_ns", "answered_ns", "nonce", "machine", "status", "operation", "expected", "got", "campaign",
)  # fmt: skip
rows = st.tuples(
    st.integers(0, NEVER_NS),
    st.integers(0, NEVER_NS),
    st.integers(0, NEVER_NS),
    st.binary(min_size=12, max_size=12),
    st.integers(NO_MACHINE, 999_999),
    st.integers(0, 999),
    st.sampled_from(Operation).map(int),
    st.sampled_from(Answer).map(int),
    st.sampled_from(Answer).map(int),
    st.integers(HONEST, 200),
)


def read_back(history: History) -> list[tuple[Any, ...]]:
    return [tuple(bytes(row[name]) if name == "nonce" else int(row[name]) for name in FIELDS) for row in history.rows()]


@settings(deadline=None, max_examples=examples(100))
@given(st.lists(st.lists(rows, max_size=5), max_size=5))
def test_rows_are_read_back_as_they_were_added(added: list[list[tuple[Any, ...]]]) -> None:
    """In order, to the last bit, however often the rows were looked at in between."""
    history = History()
    expected: list[tuple[Any, ...]] = []
    for part in added:
        for row in part:
            history.append(*row)
        expected += part
        assert read_back(history) == expected
        assert len(history) == len(expected)


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("look_at", [None, 1, BLOCK, BLOCK + 3])
def test_blocks_leave_no_seam(count: int, look_at: int | None) -> None:
    history = History()
    for number in range(count):
        history.append(number, number, number, b"\0" * 12, number, 200, 0, 0, 0, 0)
        if number == look_at:
            history.rows()
    assert len(history) == count
    assert np.array_equal(history.rows()["machine"], np.arange(count))
    assert len(history) == count


def test_a_row_costs_58_bytes() -> None:
    assert ROW.itemsize == 58


def test_a_history_without_rows_is_an_empty_table() -> None:
    assert (len(History().rows()), History().rows().dtype) == (0, ROW)


def test_every_answer_and_operation_fits_its_byte() -> None:
    assert max(Answer) < 256
    assert max(Operation) < 256


def test_the_reasons_are_the_contracts() -> None:
    """Eight of heartbeats and three of policy fetches; a refusal for want of consent is no auth failure."""
    assert set(REASONS.values()) == {
        "missing_heartbeat_fields",
        "malformed_heartbeat_fields",
        "invalid_timestamp",
        "timestamp_out_of_window",
        "invalid_machine_token",
        "invalid_or_expired_machine_cert",
        "invalid_heartbeat_signature",
        "nonce_replayed",
        "missing_worker_policy_auth_headers",
        "invalid_machine_token_policy_fetch",
        "invalid_or_expired_machine_cert_policy_fetch",
    }
    assert Answer.NO_CONSENT not in REASONS
