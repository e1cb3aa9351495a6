"""A report of a run that several processes played: what has no upper bound is told and drawn as such."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import UNBOUNDED
from simulator.checkers.limits import check_limits
from simulator.checkers.possible import possible
from simulator.contract.metrics import WORKERS
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import PartRecord
from simulator.history.rows import NO_SOURCE, History
from simulator.report import series
from simulator.report.page import report_page
from tests.checkers.conftest import Story
from tests.load.parts import anything
from tests.report.pages import Page
from tests.report.runs import report_input, uneventful

if TYPE_CHECKING:
    from types import FrameType

LOST_NS = 20 * SECOND_NS


def test_a_report_says_that_there_may_have_been_any_number_more() -> None:
    """And not how many a program can count to."""
    record, history = uneventful()
    history.parts.append(PartRecord(0, 1, 0, 0, LOST_NS))
    page = report_page(report_input((record, history))).decode()
    assert "or more" in page
    assert str(UNBOUNDED) not in page
    assert f"{UNBOUNDED:,}" not in page
    assert any("from 20.000s on is not known" in one for one in Page(page).texts("p"))


def test_a_band_without_upper_bound_is_drawn_to_a_little_above_all_else() -> None:
    record, history = uneventful()
    known = series.counted(list(possible(history, record.facts)), WORKERS, lambda one: one.workers)
    assert known.ceiling.tolist() == known.high.tolist()
    history.parts.append(PartRecord(0, 1, 0, 0, LOST_NS))
    counted = series.counted(list(possible(history, record.facts)), WORKERS, lambda one: one.workers)
    after = counted.at * SECOND_NS >= LOST_NS
    assert after.any()
    assert not after.all()
    assert counted.high[after].min() >= UNBOUNDED
    assert counted.ceiling.tolist() == np.where(after, 1.25 * known.high.max(), known.high).tolist()


def test_a_finding_names_the_host_that_a_shared_address_is_of() -> None:
    """Two hosts that sent a burst each did nothing wrong together; one that sent two did."""
    story = Story(rate_limit_burst=3, rate_limit_refill_per_second=0.1)
    for at in range(3):
        story.heartbeat(0, 1 + at / 100, source=NO_SOURCE)
    one = story.history
    merged = merge_histories(
        [HistoryPart(one), HistoryPart(one, machine_base=1, host=1), HistoryPart(one, machine_base=2, host=2)]
    )
    assert check_limits(merged, story.facts).findings == ()
    merged = merge_histories([HistoryPart(one), HistoryPart(one, host=2), HistoryPart(one, host=2)])
    messages = [finding.message for finding in check_limits(merged, story.facts).findings]
    assert len(messages) == 1
    assert messages[0].startswith("the address that all share of host 2 got 6 requests through")


def calls(count: int) -> int:
    """Count the calls, of Python and of C functions, that merging makes."""
    parts = [HistoryPart(anything(seed, count), machine_base=100 * seed) for seed in range(3)]
    for part in parts:
        part.history.exchanges.clear()
        part.history.effects.clear()
    made = 0

    def note(_frame: FrameType, what: str, _argument: Any) -> None:
        nonlocal made
        made += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        merge_histories(parts)
    finally:
        sys.setprofile(before)
    return made


def test_sixteen_times_the_rows_cost_no_more_calls() -> None:
    merge_histories([HistoryPart(History())])  # whatever is made once and kept
    assert calls(16_000) < 1.2 * calls(1000) + 100
