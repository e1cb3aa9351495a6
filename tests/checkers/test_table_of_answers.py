"""The table of answers, cell by cell: expectation x answer x circumstance -> ruling; and what makes a circumstance."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import HEALED_AFTER_NS, SLOW
from simulator.checkers.judging import KINDS, TABLE, Circumstance, Kind, Ruling, judge, judge_answers, rule
from simulator.contract.answers import ALTERNATIVES, Answer, Operation
from simulator.contract.refusals import OUTAGES, failure_of, in_words
from simulator.history.losses import Loss, lost_status
from simulator.history.records import Fault, GeneratorSample
from tests.checkers.conftest import Story, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITTEN = """
                none       fault      excused    closing    outage     starved
any other       wrong      wrong      wrong      wrong      wrong      wrong
RATE_LIMITED    undecided  undecided  undecided  undecided  undecided  undecided
UNAVAILABLE     failed     undecided  undecided  failed     undecided  failed
FAILED          failed     undecided  failed     failed     failed     failed
LOST            lost       undecided  undecided  undecided  lost       undecided
"""
"""What an answer is that a correct server does not give."""


def written() -> dict[str, dict[Circumstance, Ruling]]:
    head, *lines = (line for line in WRITTEN.splitlines() if line)
    under = [Circumstance[name.upper()] for name in head.split()]
    return {
        line[:16].strip(): {one: Ruling[name.upper()] for one, name in zip(under, line[16:].split(), strict=True)}
        for line in lines
    }


@pytest.mark.parametrize("expected", list(Answer))
def test_each_cell_is_what_is_written(expected: Answer) -> None:
    """What is expected, or one of what an open question allows, is right whatever happened; else the line decides."""
    for got, circumstance in product(Answer, Circumstance):
        line = written().get(got.name) or written()["any other"]
        right = got is expected or got in ALTERNATIVES.get(expected, ())
        cell = Ruling.RIGHT if right else line[circumstance]
        assert rule(expected, got, circumstance) is cell, (got, circumstance)
        assert TABLE[expected, got, circumstance] == cell, (got, circumstance)


def test_every_answer_has_its_line_and_every_expectation_its_words() -> None:
    """A new one without them fails here."""
    assert set(KINDS) == set(Answer)
    assert {one for one in Answer if KINDS[one] is Kind.NEVER} == set(ALTERNATIVES)
    never = {Answer.UNEXPECTED, Answer.LOST, Answer.FAILED}
    for expected in set(Answer) - never:
        for operation in Operation:
            words = in_words(expected, operation)
            assert words
            assert expected.name not in words
    assert set(written()) - {"any other"} == {one.name for one in Answer if KINDS[one] not in {Kind.SAYS, Kind.NEVER}}


FAULT = Fault("server.pause", 20 * SECOND_NS, 20 * SECOND_NS, 22 * SECOND_NS, 22 * SECOND_NS)
LAST_EXCUSED = (22 * SECOND_NS + HEALED_AFTER_NS) / SECOND_NS


def ruled(story: Story) -> tuple[Ruling, Circumstance]:
    rulings, under = judge(story.history, story.facts)
    return Ruling(int(rulings[-1])), Circumstance(int(under[-1]))


def answered(story: Story, got: Answer, at: float, status: int, took: float = 0.01, campaign: int = 0) -> None:
    story.heartbeat(0, at, got, status=status, took=took, campaign=campaign)


def lost(story: Story, at: float, loss: Loss, waited: float = 0.0) -> None:
    story.heartbeat(0, at, Answer.LOST, status=lost_status(loss, nanoseconds(waited)))


@pytest.mark.parametrize(
    ("at", "took", "ruling"),
    [
        (10, 0.01, Ruling.FAILED),
        (18.4, 0.4, Ruling.FAILED),
        (10, 10.5, Ruling.UNDECIDED),  # under way when it began
        (20.5, 0.01, Ruling.UNDECIDED),
        (LAST_EXCUSED, 0.01, Ruling.UNDECIDED),
        (LAST_EXCUSED + 0.1, 0.01, Ruling.FAILED),
    ],
)
def test_a_fault_excuses_what_was_under_way_while_it_lasted_or_healed(
    story: Story, at: float, took: float, ruling: Ruling
) -> None:
    story.history.faults.append(FAULT)
    answered(story, Answer.FAILED, at, 500, took)
    assert ruled(story)[0] is ruling
    lost(story, at, Loss.CUT, took)
    assert ruled(story)[0] is (Ruling.LOST if ruling is Ruling.FAILED else ruling)


@pytest.mark.parametrize("loss", list(Loss))
def test_each_cause_of_a_loss_is_the_runs_or_the_servers(story: Story, loss: Loss) -> None:
    lost(story, 5, loss)
    under = {
        Loss.UNKNOWN: Circumstance.EXCUSED,
        Loss.ENDED: Circumstance.EXCUSED,
        Loss.UNSENT: Circumstance.EXCUSED,
        Loss.CLOSING: Circumstance.CLOSING,
        Loss.TIMED_OUT: Circumstance.NONE,
        Loss.CUT: Circumstance.NONE,
        Loss.GARBAGE: Circumstance.NONE,
    }[loss]
    assert ruled(story) == (Ruling.LOST if under is Circumstance.NONE else Ruling.UNDECIDED, under)


@pytest.mark.parametrize(("at", "excused"), [(4.9, False), (5.0, True), (12.0, True), (17.0, True), (17.3, False)])
def test_a_harness_that_stood_still_accuses_nobody_of_being_late(story: Story, at: float, *, excused: bool) -> None:
    """From 5 s to 16 s the answer was waited for; a sample tells of the second before it."""
    story.history.generator += [
        GeneratorSample(nanoseconds(0.5), 0, 0.1, 0),
        GeneratorSample(nanoseconds(at), nanoseconds(0.6), 1.0, 0),
    ]
    lost(story, 5, Loss.TIMED_OUT, 11)
    assert ruled(story)[1] is (Circumstance.EXCUSED if excused else Circumstance.NONE)
    lost(story, 5, Loss.CUT, 11)
    assert ruled(story)[0] is Ruling.LOST  # nobody's standing still cuts a connection


def slowed(story: Story, kind: str = "network.latency", began: float = 4, ended: float = 8) -> None:
    """Have the network be slow for a while."""
    began_ns, ended_ns = nanoseconds(began), nanoseconds(ended)
    story.history.faults.append(Fault(kind, began_ns, began_ns, ended_ns, ended_ns))


@pytest.mark.parametrize("kind", sorted(SLOW))
def test_a_slow_network_excuses_waits_and_nothing_else(story: Story, kind: str) -> None:
    slowed(story, kind)
    for loss in (Loss.CUT, Loss.GARBAGE):
        lost(story, 5, loss)
        assert ruled(story)[0] is Ruling.LOST
    for status, got in ((500, Answer.FAILED), (503, Answer.UNAVAILABLE)):
        answered(story, got, 5, status)
        assert ruled(story)[1] is not Circumstance.FAULT
    lost(story, 5, Loss.TIMED_OUT, 10)
    assert ruled(story) == (Ruling.UNDECIDED, Circumstance.FAULT)


@pytest.mark.parametrize(("waited", "always"), [(0.9, True), (2.5, False)])
def test_the_close_of_a_resting_connection_crosses_requests_for_longer_in_a_slow_network(
    story: Story, waited: float, *, always: bool
) -> None:
    lost(story, 5, Loss.CLOSING, waited)
    assert ruled(story)[0] is (Ruling.UNDECIDED if always else Ruling.LOST)
    slowed(story)
    assert ruled(story) == (Ruling.UNDECIDED, Circumstance.CLOSING)


@pytest.mark.parametrize(("waited", "excused"), [(0.8, False), (1.0, True), (3.0, True)])
@pytest.mark.parametrize("loss", [Loss.CUT, Loss.GARBAGE, Loss.TIMED_OUT])
def test_what_came_slowly_through_a_proxy_may_be_closed_by_a_deadline(
    story: Story, loss: Loss, waited: float, *, excused: bool
) -> None:
    lost(story, 5, loss, waited)
    assert ruled(story)[0] is Ruling.LOST  # nothing stands between
    story.facts = msgspec.structs.replace(story.facts, request_seconds=1.0)
    assert ruled(story)[0] is (Ruling.UNDECIDED if excused and loss is Loss.CUT else Ruling.LOST)


def outages() -> Iterator[tuple[tuple[str, ...] | None, int, Operation, Circumstance]]:
    for stands_on in (None, (), ("redis",), ("disk",), ("redis", "disk")):
        for status, operation, backend in (
            (503, Operation.HEARTBEAT, "redis"),
            (503, Operation.POLICY_FETCH, "redis"),
            (503, Operation.REGISTER, ""),
            (500, Operation.HEARTBEAT, "disk"),
            (500, Operation.REGISTER, "disk"),
        ):
            may = stands_on is None or not backend or backend in stands_on
            yield stands_on, status, operation, Circumstance.OUTAGE if may else Circumstance.NONE


@pytest.mark.parametrize(("stands_on", "status", "operation", "under"), [*outages()])
def test_an_outage_must_be_of_something_that_the_server_has(
    new_story: type[Story],
    stands_on: tuple[str, ...] | None,
    status: int,
    operation: Operation,
    under: Circumstance,
) -> None:
    """Of a given target nobody knows what it has."""
    story = new_story(stands_on=stands_on)
    story.request(operation, 0, 1, Answer.UNAVAILABLE, expected=Answer.ACCEPTED, status=status)
    assert ruled(story)[1] is under
    # Attacks may have servers of their own.
    story.request(operation, 0, 1, Answer.UNAVAILABLE, expected=Answer.ACCEPTED, status=status, campaign=1)
    assert ruled(story)[1] is Circumstance.OUTAGE


def test_what_checkers_take_for_unknown_is_no_outage(story: Story) -> None:
    """An unknown clock, or a restart, makes of refusals what nobody can judge."""
    story.facts = Story(stands_on=()).facts
    answered(story, Answer.UNAVAILABLE, 1, 401)
    assert ruled(story) == (Ruling.UNDECIDED, Circumstance.EXCUSED)


@pytest.mark.parametrize(("status", "error"), OUTAGES)
def test_a_5xx_is_an_outage_only_by_the_contracts_own_words(status: int, error: bytes) -> None:
    assert failure_of(status, b'{"success":false,"error":"%b"}' % error) is Answer.UNAVAILABLE
    assert failure_of(status, b'{"success":false,"error":"internal error"}') is Answer.FAILED
    assert failure_of(502, b'{"success":false,"error":"%b"}' % error) is Answer.FAILED


def test_what_was_done_is_counted_whatever_excuses_the_answer(story: Story) -> None:
    for got, status in ((Answer.ACCEPTED, 200), (Answer.FAILED, 500), (Answer.UNEXPECTED, 404), (Answer.LOST, 0)):
        answered(story, got, 1, status)
    judged, right = judge_answers(story.history.rows())
    assert judged.tolist() == [True, False, True, False]
    assert right.tolist() == [True, False, False, False]


def test_no_rows_are_ruled_on_without_complaint(story: Story) -> None:
    rulings, under = judge(story.history, story.facts)
    assert (len(rulings), len(under)) == (0, 0)
    assert np.issubdtype(rulings.dtype, np.integer)
