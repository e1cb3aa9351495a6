"""A server that is slow or stands still: planned starts that it held up count, and nobody blames the harness."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.generator import check_generator
from simulator.checkers.verdict import Status, Verdict
from simulator.contract.answers import Answer, Operation
from simulator.fleet.machine import Machine
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import GeneratorSample, Wait
from simulator.history.rows import HONEST, NEVER_NS, History
from simulator.history.schedule import held_up_starts, own_lateness_ns, response_times
from simulator.judging.thresholds import excuse, judge_thresholds, measure, measure_without_own_lateness, percentile_of
from simulator.report.series import latencies
from simulator.worlds.progress import Progress
from simulator.worlds.waiting import Waits
from tests.support.tiers import examples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.checkers.conftest import Story

PERCENTILES = (50, 90, 95, 97, 99, 99.9, 100)
RESPONSE = "heartbeat.response_time"


class Stalling:
    """A server that answers in `service_ns`, but for the times in which it stands still."""

    def __init__(self, service_ns: int, *stalls: tuple[int, int]) -> None:
        self.service_ns = service_ns
        self.stalls = stalls

    def answered(self, sent_ns: int) -> int:
        """Return when a request is answered."""
        done_ns = sent_ns + self.service_ns
        for start_ns, end_ns in self.stalls:
            if start_ns <= done_ns < end_ns:
                done_ns = end_ns + self.service_ns
        return done_ns


def played(server: Stalling, interval_ns: int, end_ns: int, machines: int = 1) -> tuple[History, Progress]:
    """Have machines beat in virtual time, as a shard lets them."""
    history, progress = History(), Progress()
    waits = Waits(history, progress, end_ns)
    for index in range(machines):
        machine = Machine(index, "ada", interval_ns)
        machine.due_ns = index * interval_ns // machines
        free_ns = 0
        while (sent_ns := max(machine.due_ns, free_ns)) < end_ns:
            planned_ns, free_ns = machine.due_ns, server.answered(sent_ns)
            history.append(
                planned_ns, sent_ns, free_ns, b"\0" * 12, index, 200, Operation.HEARTBEAT, Answer.ACCEPTED,
                Answer.ACCEPTED, HONEST,
            )  # fmt: skip
            machine.accepted(planned_ns, interval_ns)
            machine.due_ns += waits.over(machine, machine.due_ns, free_ns) * interval_ns
    return history, progress


def of_wrk2(server: Stalling, interval_ns: int, end_ns: int, machines: int) -> NDArray[np.float64]:
    """Take latencies as wrk2 does: a connection sends all that it planned, however late, and counts from the plan."""
    taken = []
    for index in range(machines):
        free_ns = 0
        for planned_ns in range(index * interval_ns // machines, end_ns, interval_ns):
            free_ns = server.answered(max(planned_ns, free_ns))
            taken.append(free_ns - planned_ns)
    return np.array(taken) / SECOND_NS


def corrected(service_ns: list[int], interval_ns: int) -> NDArray[np.float64]:
    """Correct service times as HdrHistogram's `recordValueWithExpectedInterval` does."""
    taken = []
    for value_ns in service_ns:
        taken.append(value_ns)
        missing_ns = value_ns - interval_ns
        while missing_ns >= interval_ns:
            taken.append(missing_ns)
            missing_ns -= interval_ns
    return np.array(taken) / SECOND_NS


@settings(deadline=None, max_examples=examples(60))
@given(
    interval_ms=st.integers(100, 2000),
    service_ms=st.integers(1, 5),
    stall_ms=st.integers(0, 5000),
    at_ms=st.integers(20_000, 40_000),
    machines=st.integers(1, 20),
)
def test_the_same_stall_gives_the_percentiles_of_wrk2(
    interval_ms: int, service_ms: int, stall_ms: int, at_ms: int, machines: int
) -> None:
    """Within 5%; what it sends in a row once it may is a service time or so later than here, each."""
    interval_ns, end_ns = interval_ms * MILLISECOND_NS, 60 * SECOND_NS
    server = Stalling(service_ms * MILLISECOND_NS, (at_ms * MILLISECOND_NS, (at_ms + stall_ms) * MILLISECOND_NS))
    history, _ = played(server, interval_ns, end_ns, machines)
    ours, theirs = response_times(history)[1], of_wrk2(server, interval_ns, end_ns, machines)
    assert len(ours) == len(theirs)
    backlog_s = (1 + stall_ms // interval_ms) * service_ms / 1000
    for percentile in PERCENTILES:
        assert percentile_of(ours, percentile) == pytest.approx(percentile_of(theirs, percentile), 0.05, backlog_s)


@settings(deadline=None, max_examples=examples(60))
@given(
    interval_ms=st.integers(100, 2000),
    service_ms=st.integers(1, 5),
    stall_ms=st.integers(0, 5000),
    at_ms=st.integers(20_000, 40_000),
)
def test_the_same_stall_gives_the_percentiles_of_hdr_histograms_correction(
    interval_ms: int, service_ms: int, stall_ms: int, at_ms: int
) -> None:
    """It forgets the last start of a stall, which really left, late: the others it makes up are those held up."""
    interval_ns, end_ns = interval_ms * MILLISECOND_NS, 60 * SECOND_NS
    server = Stalling(service_ms * MILLISECOND_NS, (at_ms * MILLISECOND_NS, (at_ms + stall_ms) * MILLISECOND_NS))
    history, progress = played(server, interval_ns, end_ns)
    rows = history.rows()
    theirs = corrected((rows["answered_ns"] - rows["sent_ns"]).tolist(), interval_ns)
    ours = response_times(history)[1]
    assert len(ours) == len(theirs)
    assert progress.held_up == len(held_up_starts(history)) == len(theirs) - len(rows)
    late = np.flatnonzero(rows["sent_ns"] > rows["planned_ns"])
    # A start that left late is measured from its plan here, and from its sending there: nothing else differs.
    compared = ours.copy()
    compared[late] -= (rows["sent_ns"] - rows["planned_ns"])[late] / SECOND_NS
    for percentile in PERCENTILES:
        assert percentile_of(compared, percentile) == pytest.approx(percentile_of(theirs, percentile), 0.05)


def test_a_server_that_stands_still_for_two_seconds_misses_the_97th_percentile(story: Story) -> None:
    """Twenty machines that beat every half second for 32 seconds: six in a hundred starts wait for more than 250 ms."""
    server = Stalling(MILLISECOND_NS, (10 * SECOND_NS, 12 * SECOND_NS))
    history, progress = played(server, SECOND_NS // 2, 32 * SECOND_NS, machines=20)
    history.generator += [GeneratorSample(second * SECOND_NS, 0, 0.1, 0) for second in range(1, 33)]
    generator = check_generator(history, story.facts)
    wanted = {RESPONSE: ("p(97)<250ms", "p(90)<250ms"), "heartbeat.held_up": ("count==0", "rate<0.1")}
    series = measure(history, [generator], 20)
    thresholds = judge_thresholds(wanted, series)
    assert generator.status is Status.PASS
    assert [one.status for one in thresholds] == [Status.FAIL, Status.PASS, Status.FAIL, Status.PASS]
    assert excuse(thresholds, wanted, generator, measure_without_own_lateness(history, generator, 0.5)) == thresholds
    assert thresholds[2].figures["value"] == progress.held_up > 40


def test_one_slow_answer_in_fifty_is_not_the_harnesss(story: Story) -> None:
    """Each of them makes the next start a second late, which is more than the harness is allowed."""
    interval_ns = 2 * SECOND_NS
    for number in range(500):
        slow = number % 50 == 7
        late = number % 50 == 8
        planned = number * interval_ns / SECOND_NS
        story.heartbeat(0, planned + late, planned=planned, took=3.0 if slow else 0.001)
        story.healthy_second(planned)
    verdict = check_generator(story.history, story.facts)
    assert verdict.status is Status.PASS, verdict.summary
    assert verdict.figures["schedule_slip_p99_s"] == 0


@pytest.mark.parametrize("machine", [0, 1])
def test_only_a_machines_own_answers_and_connections_excuse_its_lateness(story: Story, machine: int) -> None:
    """Of every kind: the last one before it left. What another machine waited for excuses nobody."""
    story.request(Operation.CERTIFICATE, machine, 1.0, took=2.0)
    story.heartbeat(0, 3.0, planned=1.0)
    story.history.waits.append(Wait(machine, 11 * SECOND_NS, SECOND_NS, 0, 14 * SECOND_NS))
    story.heartbeat(0, 14.0, planned=11.0)
    story.attack(0, 21.0, Answer.INVALID_TOKEN, took=3.0)
    story.heartbeat(0, 24.0, planned=21.0)
    excused = machine == 0
    expected = [0.0 if excused else 2.0, 0.0 if excused else 3.0, 3.0]
    assert (own_lateness_ns(story.history) / SECOND_NS).tolist() == pytest.approx(expected, abs=0.011)


def test_what_the_harness_adds_after_the_answer_is_its_own(story: Story) -> None:
    story.heartbeat(0, 0, took=1.2)
    story.heartbeat(0, 2.0, planned=1.0)
    assert own_lateness_ns(story.history).tolist() == [0, 800 * MILLISECOND_NS]


def doubtful(story: Story, *, stalls: bool) -> tuple[list[Verdict], Verdict]:
    """Tell of a harness that sent one heartbeat in ten a second late, to a server that stalls perhaps; judge both."""
    for number in range(200):
        late = number % 10 == 0
        took = 2.0 if stalls and number % 10 == 5 else 0.001
        story.heartbeat(number, number + late, planned=number, took=took)
        story.healthy_second(number)
    generator = check_generator(story.history, story.facts)
    wanted = {RESPONSE: ("p(95)<250ms",), "attacks.accepted": ("count>=1",), "heartbeat.accepted": ("count>=1000",)}
    series = measure(story.history, [generator, Verdict("answers", Status.PASS, "", (), {"attacks_accepted": 0})], 1)
    best = measure_without_own_lateness(story.history, generator, 0.5)
    return excuse(judge_thresholds(wanted, series), wanted, generator, best), generator


@pytest.mark.parametrize("stalls", [False, True])
def test_a_doubt_excuses_what_it_explains_and_nothing_else(story: Story, stalls: bool) -> None:  # noqa: FBT001
    """A threshold that is missed also without all the lateness of the harness is a proven failure."""
    thresholds, generator = doubtful(story, stalls=stalls)
    assert generator.status is Status.INCONCLUSIVE
    response = Status.FAIL if stalls else Status.INCONCLUSIVE
    assert [one.status for one in thresholds] == [response, Status.FAIL, Status.INCONCLUSIVE]


@pytest.mark.parametrize("stood_still", [False, True])
def test_what_was_under_way_while_the_harness_stood_still_proves_nothing(story: Story, *, stood_still: bool) -> None:
    for second in range(40):
        story.heartbeat(0, second, took=3.0 if second in {10, 20} else 0.001)
        story.healthy_second(second + 1, lag=2.0 if stood_still and second in {11, 21, 31} else 0.0)
    generator = check_generator(story.history, story.facts)
    best = measure_without_own_lateness(story.history, generator, 0.5)[RESPONSE].values
    assert best is not None
    assert best.max() == pytest.approx(0.001 if stood_still else 3.0)


def test_held_up_starts_are_in_every_figure_of_a_run() -> None:
    """A start whose answer never came takes for ever, and is in no plot."""
    history = History()
    history.waits += [
        Wait(3, 5 * SECOND_NS, SECOND_NS, 2, 8 * SECOND_NS),
        Wait(3, 9 * SECOND_NS, SECOND_NS, 1, NEVER_NS),
    ]
    planned_ns, taken = response_times(history)
    assert (planned_ns // SECOND_NS).tolist() == [5, 6, 9]
    assert taken.tolist() == [3.0, 2.0, math.inf]
    shown = latencies(history, 10 * SECOND_NS).percentiles
    assert np.nanmax(shown) == 3.0


def test_a_shift_of_clocks_changes_no_held_up_starts_time() -> None:
    part = History()
    part.waits += [Wait(3, 5 * SECOND_NS, SECOND_NS, 2, 8 * SECOND_NS), Wait(4, 9 * SECOND_NS, SECOND_NS, 1, NEVER_NS)]
    merged = merge_histories([HistoryPart(part, range(3, 6), shift_ns=50, clock_ns=(-1000, 7000), host=1)])
    assert response_times(merged)[1].tolist() == [3.0, 2.0, math.inf]


def test_a_late_answer_excuses_the_next_start_by_any_clock() -> None:
    part = History()
    for planned, sent, answered in ((0, 0, 3), (2, 3, 4)):
        part.append(
            planned * SECOND_NS, sent * SECOND_NS, answered * SECOND_NS, b"\0" * 12, 3, 200, Operation.HEARTBEAT, 0, 0,
            HONEST,
        )  # fmt: skip
    width_ns = 400 * MILLISECOND_NS
    merged = merge_histories([HistoryPart(part, range(3, 6), clock_ns=(-width_ns, width_ns), host=1)])
    assert own_lateness_ns(merged).tolist() == [0, 0]
