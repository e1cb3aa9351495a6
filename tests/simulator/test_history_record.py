from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from simulator.contract.answers import REASONS, Answer, Operation
from simulator.history.rows import NEVER_NS, NO_MACHINE, NO_SOURCE, ROW, History
from tests.support.memory import counted_bytes
from tests.support.tiers import examples

BYTES_A_REQUEST = 64
"""What a week's history is planned with."""
FIELDS = ("planned_ns", "sent_ns", "answered_ns", "nonce", "machine", "status", "operation", "expected", "got",
          "campaign", "source", "certificate", "consent")  # fmt: skip
times = st.integers(0, NEVER_NS) | st.just(NEVER_NS)
rows = st.tuples(
    times,
    times,
    times,
    st.binary(min_size=12, max_size=12),
    st.integers(NO_MACHINE, 2**31 - 1),
    st.integers(0, 999),
    st.sampled_from(list(Operation)),
    st.sampled_from(list(Answer)),
    st.sampled_from(list(Answer)),
    st.integers(0, 255),
    st.integers(NO_SOURCE, 2**24 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


def plain(row: Any) -> tuple[Any, ...]:
    return tuple(bytes(row[name]) if name == "nonce" else row[name].item() for name in FIELDS)


class HistoryAgainstAList(RuleBasedStateMachine):
    """A history is a list that only grows; rows are read at any moment, also between two appends."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History()
        self.list: list[tuple[Any, ...]] = []

    @rule(row=rows)
    def append(self, row: tuple[Any, ...]) -> None:
        self.history.append(*row)
        self.list.append(row)

    @rule(row=rows, times=st.sampled_from([4095, 4096, 5000]))
    def append_many(self, row: tuple[Any, ...], times: int) -> None:
        """Enough to fill a block, and a little more or less."""
        for _ in range(times):
            self.history.append(*row)
        self.list += [row] * times

    @rule()
    def read_all(self) -> None:
        read = self.history.rows()
        assert read.dtype == ROW
        assert len(read) == len(self.list)
        edges = {at for block in range(0, len(self.list), 4096) for at in (block - 1, block, block + 1)}
        for at in sorted({0, len(self.list) - 1} | edges):
            if 0 <= at < len(self.list):
                assert plain(read[at]) == self.list[at]

    @invariant()
    def length(self) -> None:
        assert len(self.history) == len(self.list)


TestHistoryAgainstAList = HistoryAgainstAList.TestCase
HistoryAgainstAList.TestCase.settings = settings(deadline=None, max_examples=examples(40), stateful_step_count=12)


@given(written=st.lists(rows, max_size=30))
def test_rows_come_back_as_they_were_written_and_in_order(written: list[tuple[Any, ...]]) -> None:
    history = History()
    for row in written:
        history.append(*row)
    assert [plain(row) for row in history.rows()] == written
    assert [plain(row) for row in history.rows()] == written, "reading changes nothing"


def test_an_empty_history_has_no_rows_and_every_field() -> None:
    empty = History().rows()
    assert len(empty) == 0
    assert empty.dtype.names == FIELDS


def test_what_was_read_does_not_change_when_more_is_written() -> None:
    history = History()
    history.append(1, 2, 3, bytes(12), 0, 200, 0, 0, 0, 0)
    before = history.rows()
    history.append(4, 5, 6, bytes(12), 1, 200, 0, 0, 0, 0)
    assert len(before) == 1
    assert history.rows()["planned_ns"].tolist() == [1, 4]


def test_a_history_that_is_looked_at_all_the_time_is_kept_in_whole_blocks() -> None:
    """Each is a mapping of its own, of which a process may have some tens of thousands."""
    history = History()
    for number in range(5000):
        history.append(number, 2, 3, bytes(12), 0, 200, 0, 0, 0, 0)
        assert history.since(number)["planned_ns"].tolist() == [number]
    assert len(history._blocks) == 1
    assert history.rows()["planned_ns"].tolist() == [*range(5000)]


def test_a_request_costs_no_more_memory_than_is_promised() -> None:
    """Measured, not reckoned: the rows that still wait as tuples are a constant, whatever the length."""
    assert ROW.itemsize <= BYTES_A_REQUEST
    history = History()

    def write(count: int) -> None:
        for number in range(count):
            history.append(number, number + 1, number + 2, number.to_bytes(12, "big"), number, 200, 0, 0, 0, 0)

    with counted_bytes() as taken:
        write(8192)
        first = taken()
        write(65_536)
        assert taken() - first <= BYTES_A_REQUEST * 65_536
    assert len(history.rows()) == 8192 + 65_536
    assert history.rows().nbytes <= BYTES_A_REQUEST * len(history)


def test_every_answer_and_operation_fits_its_field() -> None:
    for kind in (Answer, Operation):
        assert len({int(member) for member in kind}) == len(kind)
        assert all(0 <= int(member) <= 255 for member in kind)
    assert len(set(REASONS.values())) == len(REASONS)
