"""Errors planted in how an audit that is otherwise right is shown, and in its chains."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from reference_server.wire.canonical_json import canonical_json
from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import Answer
from tests.checkers.audited_world import AuditedWorld, Span, eventful

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.records import AuditReading

    Event = dict[str, Any]
    Changes = Callable[[list[Event]], object]


AFTERWARDS = Span(before_ns=0)


def shown(changes: Changes, owner_id: str = "ada") -> Callable[[AuditReading], AuditReading]:
    """Change a whole list as it is shown."""

    def change(reading: AuditReading) -> AuditReading:
        if reading.owner_id != owner_id or reading.type:
            return reading
        events = [dict(event) for event in reading.events]
        changes(events)
        return msgspec.structs.replace(reading, events=events)

    return change


def rechained(changes: Changes) -> Callable[[AuditReading], AuditReading]:
    """Change what was written, and make every chain and head right again, as one who can write would."""

    def change(reading: AuditReading) -> AuditReading:
        if reading.owner_id != "ada" or reading.type:
            return reading
        events = [dict(event) for event in reading.events]
        changes(events)
        heads: dict[str, Any] = {}
        for event in events:
            head = heads.get(event["stream"], {"sequence": 0, "hash": "0" * 64})
            event["sequence"], event["previous_hash"] = head["sequence"] + 1, head["hash"]
            bare = {key: value for key, value in event.items() if key != "hash"}
            event["hash"] = sha256(canonical_json(bare).encode()).hexdigest()
            heads[event["stream"]] = {"sequence": event["sequence"], "hash": event["hash"]}
        return msgspec.structs.replace(reading, events=events, heads=heads, total=len(events))

    return change


def heads(**changes: Any) -> Callable[[AuditReading], AuditReading]:
    def change(reading: AuditReading) -> AuditReading:
        shown = {stream: {**head, **changes} for stream, head in reading.heads.items()}
        return reading if reading.type else msgspec.structs.replace(reading, heads=shown)

    return change


def swap(events: list[Event]) -> None:
    """Exchange two events of one stream."""
    first, second = [at for at, event in enumerate(events) if event["stream"] == "notable"][:2]
    events[first], events[second] = events[second], events[first]


def late(events: list[Event]) -> None:
    """Show all notable events after all routine ones, however old they are."""
    events.sort(key=lambda event: event["stream"] == "notable")


def nth(stream: str, number: int) -> Callable[[list[Event]], Event]:
    return lambda events: [event for event in events if event["stream"] == stream][number]


def edit(**changes: Any) -> Changes:
    return lambda events: nth("notable", 2)(events).update(changes)


SHOWN: dict[str, tuple[Callable[[AuditReading], AuditReading], set[str]]] = {
    "newest first": (shown(list.reverse), {"order"}),
    "two in the wrong order": (shown(swap), {"order", "chain"}),
    "streams are not merged": (shown(late), {"order"}),
    "one is left out": (shown(lambda events: events.pop(3)), {"total", "chain", "missing"}),
    "the first is left out": (shown(lambda events: events.pop(0)), {"total", "evicted"}),
    "the last is left out": (shown(lambda events: events.pop()), {"total", "head", "missing-refusal"}),
    "one is shown twice": (shown(lambda events: events.insert(3, events[3])), {"total", "duplicate", "order"}),
    "an actor is edited": (shown(edit(actor="owner:eve")), {"hash", "misattributed"}),
    "metadata are edited": (shown(edit(metadata={"version": 7})), {"hash"}),
    "an event has no time": (shown(edit(created_at=None)), {"shape", "hash"}),
    "metadata are no object": (shown(edit(metadata=[])), {"shape", "hash"}),
    "an event has a number past any double": (shown(edit(odd=10**400)), {"hash"}),
    "an event has no hash": (shown(lambda events: events[4].pop("hash")), {"chain"}),
    "an event is in the wrong stream": (shown(edit(stream="routine")), {"chain", "hash"}),
    "the total is another": (lambda one: msgspec.structs.replace(one, total=1), {"total"}),
    "heads are old": (heads(sequence=1), {"head"}),
    "heads are others": (heads(hash="0" * 64), {"head", "rewritten"}),
    "heads are no heads": (heads(sequence="1"), {"head"}),
    "an old event was edited, and all after it hashed anew": (rechained(edit(metadata={"version": 7})), {"rewritten"}),
    "an old event was removed, and all after it numbered anew": (
        rechained(lambda events: events.remove(nth("routine", 0)(events))),
        {"rewritten", "missing"},
    ),
    "the end was cut off": (
        rechained(lambda events: events.__delitem__(slice(6, None))),
        {"head", "missing", "missing-refusal"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", SHOWN)
def test_a_list_that_is_shown_wrongly_is_caught(fault: str) -> None:
    change, rules = SHOWN[fault]
    world = AuditedWorld()
    eventful(world)
    world.wait(SECOND_NS)
    world.read_all()
    world.history.audit_readings[:] = map(change, world.history.audit_readings)
    assert world.audit().status is Status.FAIL
    assert world.rules() == rules


def test_an_event_that_was_a_head_once_must_stay_what_it_was() -> None:
    """Also when it is no longer kept: the one after it holds its hash."""
    world = AuditedWorld(audit_events_per_stream=3)
    machine = world.machine(world.owner("ada"), 0)
    world.beat(machine)
    world.look("ada")
    for _ in range(3):
        world.beat(machine)
    world.read_all()
    assert world.rules() == set()
    look = world.history.audit_readings[0]
    changed_heads = {**look.heads, "routine": {"sequence": 1, "hash": "f" * 64}}
    world.history.audit_readings[0] = msgspec.structs.replace(look, heads=changed_heads)
    assert world.rules() == {"rewritten"}


def test_a_tenant_loses_no_event_to_others() -> None:
    """One stream for all tenants: what one does evicts what another must still see."""
    world = AuditedWorld(audit_events_per_stream=20)
    quiet, loud = world.machine(world.owner("ada"), 0), world.machine(world.owner("ben"), 1)
    world.beat(quiet)
    for _ in range(30):
        world.beat(loud, key=b"x", expected=Answer.INVALID_SIGNATURE, campaign=1)
    world.read_all()
    assert world.rules() == set()
    notable = world.server.api.state.owners["ada"].notable
    notable._base_digest = notable._events[2][1]
    del notable._events[:3]
    world.read_all()
    assert world.rules() == {"evicted"}
    assert "keeps none before 4" in world.audit().summary


@pytest.mark.parametrize("lost", [1, 20])
def test_events_missing_from_a_stream_that_was_evicted_are_counted_by_its_head(lost: int) -> None:
    world = AuditedWorld(audit_events_per_stream=5)
    machine = world.machine(world.owner("ada"), 0)
    stream = world.server.api.state.owners["ada"].routine
    right, skipped = stream.append, list[Any]()

    def append(*event: Any) -> None:
        if len(skipped) < lost:
            skipped.append(event)
        else:
            right(*event)

    vars(stream)["append"] = append
    for _ in range(40):
        world.beat(machine)
    world.read_all()
    assert world.rules() == {"missing"}
    assert f"has had {40 - lost} events, too few: possible is 40 to 40" in world.audit().summary


def test_of_owners_whose_lists_were_not_read_the_events_are_counted() -> None:
    """By the number of the last event of each stream."""
    world = AuditedWorld()
    machines = eventful(world)
    world.settle()
    world.read("ada")
    world.look("ben", AFTERWARDS)
    verdict = world.audit()
    assert (verdict.status, verdict.figures["owners_read"], verdict.figures["owners_counted"]) == (Status.PASS, 1, 1)
    assert "of 1 more owner the number of events is right" in verdict.summary
    state = world.server.api.state
    state.audit(world.server.now, "worker_auth_failed", f"worker:{machines[2].worker_id}", "", {}, ("ben",))
    state.owners["ben"].routine.append("0" * 16, machines[2].worker_id, machines[2].policy_id, 1)
    world.read("ada")
    world.look("ben", AFTERWARDS)
    assert [finding.rule for finding in world.audit().findings] == ["audit.unexplained"] * 2
