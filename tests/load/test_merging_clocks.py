"""Clocks that are only known within bounds leave more open, and never make an error up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers import run_checkers
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer, Operation
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import CertificateRecord, Effect, Fault, Revocation, Trouble
from simulator.history.rows import NEVER_NS, History
from simulator.judging.thresholds import measure
from tests.checkers.audited_world import AuditedWorld, eventful
from tests.checkers.conftest import ModelServer, Story
from tests.checkers.test_checkers_against_a_server_that_is_right import (
    MACHINES as FEW,
)
from tests.checkers.test_checkers_against_a_server_that_is_right import (
    OLD_WORKERS,
    STALE_SECONDS,
    THRESHOLD,
    WINDOW_SECONDS,
    Step,
    World,
    steps,
)
from tests.load.parts import (
    MACHINES,
    Clock,
    anything,
    judged,
    split,
)
from tests.load.test_merging import FACTS, exact
from tests.support.tiers import examples

UNDER, OVER = st.integers(-3 * SECOND_NS, 0), st.integers(0, 3 * SECOND_NS)


@st.composite
def clocks(draw: st.DrawFn) -> Clock:
    """Return a clock that is off by anything, and bounds on that which hold."""
    offset_ns = draw(st.integers(-10 * SECOND_NS, 10 * SECOND_NS))
    shift_ns = draw(st.sampled_from([0, 3 * SECOND_NS]))
    return Clock(shift_ns, offset_ns, offset_ns + draw(UNDER), offset_ns + draw(OVER))


@settings(deadline=None, max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(played=steps, first=clocks(), second=clocks())
def test_a_right_server_is_never_called_wrong(played: list[Step], first: Clock, second: Clock) -> None:
    """It is watched by the conductor's clock, and played to by two processes with others."""
    story = Story(stale_seconds=STALE_SECONDS, window_seconds=WINDOW_SECONDS, threshold=THRESHOLD)
    server = ModelServer(story.facts)
    for worker in OLD_WORKERS:
        server.register(worker)
    story.facts.baseline.clear()
    story.facts.baseline.update(server.page(0))
    world = World(story, server)
    for step in played:
        world.play(step)
    world.scrape(Step(SECOND_NS, "scrape", 0, 0, MILLISECOND_NS, "answered", Answer.ACCEPTED, Answer.ACCEPTED))
    merged = merge_histories(split(story.history, [range(1), range(1, FEW)], [first, second]))
    assert [one for one in run_checkers(merged, story.facts) if one.status is Status.FAIL] == []


@settings(deadline=None, max_examples=examples(15))
@given(first=clocks(), second=clocks())
def test_the_audit_of_a_right_server_is_never_called_wrong(first: Clock, second: Clock) -> None:
    world = AuditedWorld()
    eventful(world)
    world.read_all()
    merged = merge_histories(split(world.history, [range(1), range(1, 3)], [first, second]))
    assert {status for status, *_ in judged(merged, world.facts).values()} & {Status.FAIL} == set()
    assert judged(merged, world.facts)["audit"][0] is Status.PASS, "what was read long after is as sure as before"


@pytest.mark.long
@settings(deadline=None, max_examples=examples(40))
@given(seed=st.integers(0, 1 << 30), first=clocks(), second=clocks())
def test_what_fails_fails_by_one_clock_too(seed: int, first: Clock, second: Clock) -> None:
    """Nothing is found that was not there; what needs no order in time is found just as well.

    Answers need one where a certificate ended about then: they may be undecided, and none is lost.
    """
    whole = anything(seed)
    merged = merge_histories(split(whole, [range(5), range(5, MACHINES)], [first, second]))
    before, after = judged(whole, FACTS), judged(merged, FACTS)
    assert [name for name in before if after[name][0] is Status.FAIL and before[name][0] is not Status.FAIL] == []
    assert after["replay"][:2] == before["replay"][:2]
    (_, was, *_), (_, now, *_) = before["answers"], after["answers"]
    assert now["wrong"] <= was["wrong"]
    assert now["unjudged"] >= was["unjudged"]
    assert {**now, "wrong": 0, "unjudged": 0} == {**was, "wrong": 0, "unjudged": 0}


def test_each_end_moves_to_where_the_truth_is_between_them() -> None:
    """What was sent to the earliest, what was answered to the latest; lost stays lost, and a slip is a slip."""
    part = History()
    part.append(90, 100, 200, bytes(12), 0, 200, Operation.HEARTBEAT, 0, 0, 0)
    part.append(95, 110, NEVER_NS, bytes(12), 0, 0, Operation.HEARTBEAT, 0, Answer.LOST, 0)
    part.certificates.append(CertificateRecord(0, "c", 100, 200, 5))
    part.revocations.append(Revocation(0, 100, NEVER_NS))
    part.effects.append(Effect(100, 200, "policy_created", "owner:a", "", ("a",), "", sure=True))
    part.add_trouble(Trouble("heartbeat", "refused", 2, 100, 200))
    part.faults.append(Fault("pause", 100, 110, 200, 210))
    merged = merge_histories([HistoryPart(part, range(1), shift_ns=1000, clock_ns=(-7, 20))])
    rows = merged.rows()
    assert rows["planned_ns"].tolist() == [1088, 1083]
    assert rows["sent_ns"].tolist() == [1103, 1093]
    assert rows["answered_ns"].tolist() == [NEVER_NS, 1220]
    assert (merged.certificates[0].sent_ns, merged.certificates[0].answered_ns) == (1093, 1220)
    assert (merged.revocations[0].sent_ns, merged.revocations[0].answered_ns) == (1093, NEVER_NS)
    assert (merged.effects[0].sent_ns, merged.effects[0].answered_ns) == (1093, 1220)
    assert (merged.troubles[0].first_ns, merged.troubles[0].last_ns) == (1093, 1220)
    assert merged.faults == [Fault("pause", 1093, 1130, 1193, 1230)]
    assert msgspec.structs.astuple(merged.parts[0]) == (0, 1, 0, 27, NEVER_NS)


def measured(history: History) -> dict[str, list[float]]:
    series = measure(history, [], 0)
    found = {}
    for name in ("heartbeat.response_time", "heartbeat.service_time"):
        values = series[name].values
        assert values is not None
        found[name] = sorted(values.tolist())
    return found


def merged_without_scrapes(history: History) -> History:
    other = history.with_rows(history.rows())
    other.scrapes, other.audit_readings, other.status_readings = [], [], []
    return other


@settings(deadline=None, max_examples=examples(40))
@given(seed=st.integers(0, 1 << 30), first=clocks(), second=clocks())
def test_response_times_are_those_that_each_process_measured(seed: int, first: Clock, second: Clock) -> None:
    """A part's own clock measures a duration exactly: not knowing when it was makes it no longer."""
    whole = anything(seed)
    merged = merge_histories(split(whole, [range(5), range(5, MACHINES)], [first, second]))
    assert measured(merged) == measured(whole)
    again = merge_histories(
        [
            HistoryPart(History()),
            HistoryPart(merged_without_scrapes(merged), range(-1, MACHINES), clock_ns=(-5, 70)),
        ]
    )
    assert measured(again) == measured(whole), "nor does a second clock between"


def test_a_part_of_parts_is_judged_like_its_parts() -> None:
    """A host may merge what its processes recorded before the conductor does."""
    whole = anything(11)
    parts = split(whole, [range(4), range(4, 9)], [exact(5), exact(7)])
    at_once = merge_histories(parts)
    by_steps = merge_histories([parts[0], HistoryPart(merge_histories(parts[1:]))])
    assert judged(by_steps, FACTS) == judged(at_once, FACTS)
    assert [one for one in by_steps.parts if one.machines] == [one for one in at_once.parts if one.machines]
