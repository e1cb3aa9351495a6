"""From a run's counters and rows to what is shown: each row counted once, thresholds looked at for little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.counting import BUCKETS_NS, AnswerCounts
from simulator.history.rows import HONEST, NEVER_NS, ROW, History
from simulator.judging.so_far import judge_so_far
from simulator.limits import CHANGES_KEPT_MAX, DURATION_MAX_SECONDS, LATENCIES_KEPT, THRESHOLD_LOOK_MAX_SECONDS
from simulator.scenario.loading import parse_scenario
from simulator.view.sampling import Sampling
from simulator.worlds.progress import Happening, Kind, Progress
from tests.view.states import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

TEXT = """
version = 1
name = "farm"
duration = "60s"
[fleet]
machines = 4
owners = 1
[[attacks]]
name = "replay.exact"
start = "1s"
duration = "5s"
rate = 1
[[attacks]]
name = "replay.exact"
start = "1s"
duration = "5s"
rate = 1
[thresholds]
"heartbeat.response_time" = ["p(99)<250ms", "max<1ms", "avg<1ms"]
"audit.errors" = ["count==0"]
"""


def beat(history: History, second: float, milliseconds: float = 2, **more: int) -> None:
    """Add a heartbeat that was planned at a moment and answered so long after it."""
    planned_ns = round(second * SECOND_NS)
    row = {
        "operation": Operation.HEARTBEAT, "got": Answer.ACCEPTED, "campaign": HONEST, "status": 200,
        "answered_ns": planned_ns + round(milliseconds * MILLISECOND_NS), **more,
    }  # fmt: skip
    history.append(
        planned_ns, planned_ns, row["answered_ns"], bytes(12), 0, row["status"], row["operation"], Answer.ACCEPTED,
        row["got"], row["campaign"],
    )  # fmt: skip


class Watched:
    """A run by hand, the clocks by which it is looked at, and how often its thresholds were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, look_costs_seconds: float = 0.0) -> None:
        self.history, self.progress, self.clock, self.cpu = History(), Progress(), Clock(), Clock()
        self.looks = 0
        judge = judge_so_far

        def counted(*arguments: object) -> object:
            self.looks += 1
            self.cpu.seconds += look_costs_seconds
            return judge(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr("simulator.view.sampling.judge_so_far", counted)
        known: Callable[[], tuple[History, int]] = lambda: (self.history, NEVER_NS)  # noqa: E731 - a port's stand-in
        self.sampling = Sampling(parse_scenario(TEXT), 7, self.history, self.progress, known, self.clock, self.cpu)

    def at(self, second: float) -> None:
        self.progress.elapsed_ns, self.clock.seconds = round(second * SECOND_NS), second


def test_each_row_is_counted_once_whenever_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Watched(monkeypatch)
    for second in range(10):
        run.at(second)
        beat(run.history, second)
        beat(run.history, second, status=401, got=Answer.NONCE_REPLAYED, campaign=1 + second % 2)
        run.progress.answered(Answer.ACCEPTED)
        run.history.rows()
        run.sampling.look()
    beat(run.history, 9, answered_ns=NEVER_NS, got=Answer.LOST, status=3)
    beat(run.history, 9.5, operation=Operation.REGISTER, status=201)
    state = run.sampling.look()
    assert state.answers == {("heartbeat", 200): 10, ("heartbeat", 0): 1, ("register", 201): 1}
    assert state.attack_answers == {("replay.exact", 401): 10}
    assert state.requests == 22
    assert state.rates == (1,) * 7, "the last two seconds may not be known in full"
    assert state.rate == pytest.approx(1)
    assert (state.p50_ms, state.p99_ms) == (2.0, 2.0)
    assert sum(state.buckets) == 10
    assert state.response_total_ns == 20 * MILLISECOND_NS


def test_percentiles_and_the_rate_are_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Watched(monkeypatch)
    for second in range(20):
        run.at(second)
        beat(run.history, second, 900 if second < 10 else 4)
        run.progress.accepted += 100 if second < 10 else 3
        state = run.sampling.look()
    assert state.p50_ms == 4.0
    assert state.rate == pytest.approx(3)
    run.at(40)
    assert run.sampling.look().p50_ms is None


def test_thresholds_are_looked_at_when_they_can_be_known_and_what_is_known_later_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Watched(monkeypatch)
    run.at(5)
    assert {one.status for one in run.sampling.look().thresholds} == {None}, "nothing has come back yet"
    beat(run.history, 5, 40)
    run.progress.accepted = 1
    state = run.sampling.look()
    assert state.thresholds_at_ns == 5 * SECOND_NS
    assert [(one.expression, one.status, one.measured, one.value, one.may_hold_later) for one in state.thresholds] == [
        ("p(99)<250ms", Status.PASS, "40.000 ms", 0.04, False),
        ("max<1ms", Status.FAIL, "40.000 ms", 0.04, False),
        ("avg<1ms", Status.FAIL, "40.000 ms", 0.04, True),
        ("count==0", None, "", None, False),
    ]


@pytest.mark.parametrize(("costs", "looks"), [(0.0, 30), (0.02, 16), (THRESHOLD_LOOK_MAX_SECONDS * 1.1, 2)])
def test_the_more_a_look_at_thresholds_costs_the_fewer_there_are(
    monkeypatch: pytest.MonkeyPatch, costs: float, looks: int
) -> None:
    """In a minute; the first one is no measure, as it loads what the others have."""
    run = Watched(monkeypatch, costs)
    beat(run.history, 0)
    run.progress.accepted = 1
    for half in range(121):
        run.at(half / 2)
        run.sampling.look()
    assert run.looks == looks


rows_drawn = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 9]), st.sampled_from([200, 401, 503]), st.sampled_from([0, 1, 2]), st.booleans(),
        st.integers(0, 30_000),
    ),
    max_size=30,
)  # fmt: skip


@given(drawn=rows_drawn, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_counts_do_not_depend_on_how_rows_come_in_parts(
    drawn: list[tuple[int, int, int, bool, int]], cuts: list[int]
) -> None:
    history = History()
    for number, (operation, status, campaign, lost, took_ms) in enumerate(drawn):
        answered = {"answered_ns": NEVER_NS, "got": Answer.LOST} if lost else {}
        beat(history, number, took_ms, operation=operation, status=status, campaign=campaign, **answered)
    rows = history.rows()
    whole, parts = AnswerCounts(), AnswerCounts()
    whole.add(rows)
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(rows)], strict=True):
        parts.add(rows[start:end])
    for name in ("honest", "hostile", "buckets", "response_total_ns", "accepted"):
        assert getattr(whole, name) == getattr(parts, name), name
    assert whole.honest.total() + whole.hostile.total() == len(drawn)
    taken = [took * MILLISECOND_NS for kind, _, hostile, lost, took in drawn if not (kind or hostile or lost)]
    bounds = [*BUCKETS_NS, NEVER_NS]
    assert whole.buckets == [
        sum(low < one <= high for one in taken) for low, high in zip([-1, *bounds], bounds, strict=False)
    ]


def test_the_time_of_another_process_is_shifted_into_the_runs() -> None:
    history, counts = History(), AnswerCounts()
    beat(history, 1)
    counts.add(history.rows(), 5 * SECOND_NS)
    assert counts.accepted == [0, 0, 0, 0, 0, 0, 1]
    assert len(counts.recent_ns(7 * SECOND_NS)) == 1
    assert len(counts.recent_ns(12 * SECOND_NS)) == 0


@given(
    blocks=st.lists(st.integers(0, 6), max_size=6),
    pending=st.integers(0, 5),
    since=st.integers(0, 45),
    joined=st.booleans(),
)
def test_rows_since_a_number_are_those_after_it(blocks: list[int], pending: int, since: int, joined: bool) -> None:  # noqa: FBT001 - drawn
    history, made = History(), 0

    def some(count: int) -> NDArray[np.void]:
        nonlocal made
        found = np.zeros(count, dtype=ROW)
        found["planned_ns"] = np.arange(made, made + count)
        made += count
        return found

    for count in blocks:
        history.extend(some(count))
    for row in some(pending):
        history.append(int(row["planned_ns"]), 0, 0, bytes(12), 0, 0, 0, 0, 0, 0)
    if joined:
        history.rows()
    assert history.since(since)["planned_ns"].tolist() == list(range(since, made))


def test_what_begins_and_ends_is_noted_once_and_an_alert_is_counted_when_it_rises() -> None:
    progress = Progress()
    for at, on in enumerate([False, True, True, False, True]):
        progress.see_alert("stale workers", at * SECOND_NS, on=on)
    first = Happening(Kind.ALERT, "stale workers", 0, SECOND_NS)
    second = msgspec.structs.replace(first, began_ns=4 * SECOND_NS)
    assert progress.take_changes() == [first, msgspec.structs.replace(first, ended_ns=3 * SECOND_NS), second]
    assert progress.take_changes() == []
    assert list(progress.under_way.values()) == [second]
    assert progress.alerts_raised == {"stale workers": 2}


def test_what_ends_twice_ended_the_first_time() -> None:
    progress = Progress()
    progress.begin(Kind.ATTACK, "replay.exact", 3, SECOND_NS)
    progress.end(Kind.ATTACK, "replay.exact", 3, 2 * SECOND_NS, "4 sent")
    progress.end(Kind.ATTACK, "replay.exact", 3, 3 * SECOND_NS, "cut off")
    assert [(one.ended_ns, one.note) for one in progress.take_changes()] == [(None, ""), (2 * SECOND_NS, "4 sent")]
    assert not progress.under_way


def test_changes_of_another_process_are_followed_in_the_runs_time_and_nobody_looking_costs_no_memory() -> None:
    shard, progress = Progress(), Progress()
    shard.begin(Kind.ATTACK, "replay.exact", 3, SECOND_NS)
    shard.end(Kind.ATTACK, "replay.exact", 3, 2 * SECOND_NS, "4 sent")
    began, ended = shard.take_changes()
    progress.follow([ended], 0)
    assert progress.take_changes() == [], "what was not seen to begin does not end"
    progress.follow([began, ended], 10 * SECOND_NS)
    assert [(one.began_ns, one.ended_ns, one.note) for one in progress.take_changes()] == [
        (11 * SECOND_NS, None, ""),
        (11 * SECOND_NS, 12 * SECOND_NS, "4 sent"),
    ]
    for number in range(CHANGES_KEPT_MAX + 5):
        progress.begin(Kind.ATTACK, "replay.exact", number, 0)
    assert len(progress.take_changes()) == CHANGES_KEPT_MAX


@pytest.mark.parametrize("answered_ns", [NEVER_NS - 1, 1 << 60, (DURATION_MAX_SECONDS + 2) * SECOND_NS])
def test_an_absurd_moment_of_a_worker_takes_no_memory(answered_ns: int) -> None:
    history, counts = History(), AnswerCounts()
    beat(history, 2)
    beat(history, 3, answered_ns=answered_ns)
    counts.add(history.rows(), shift_ns=-SECOND_NS)
    assert counts.accepted == [0, 1]
    assert counts.honest == {(Operation.HEARTBEAT, 200): 2}


def test_response_times_that_nobody_asks_for_are_kept_no_more_than_can_be_shown() -> None:
    """Nor those behind one whose moment never comes."""
    history, counts = History(), AnswerCounts()
    beat(history, 1, answered_ns=1 << 60)
    counts.add(history.drain())
    for _ in range(3):
        rows = np.repeat(one_beat(milliseconds=3), LATENCIES_KEPT // 2)
        for _ in range(2):
            counts.add(rows)
    assert sum(len(taken_ns) for _, taken_ns in counts._recent) == LATENCIES_KEPT
    assert set(counts.recent_ns(2 * SECOND_NS).tolist()) == {3 * MILLISECOND_NS}


def one_beat(milliseconds: float) -> NDArray[np.void]:
    """Return the row of a heartbeat."""
    history = History()
    beat(history, 1, milliseconds)
    return history.rows().copy()
