"""The memory of all audit streams has a bound, and nobody's noise takes what another needs (contract §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.audit import ROUTINE_EVENT_BYTES, SEGMENT_BYTES, Event, EventStream, Room, RoutineStream
from reference_server.core.bounds import StateBounds
from tests.core.server_under_test import STARTED, Server, owner_headers
from tests.core.test_audit_streams_keep_what_matters import assert_chained
from tests.support.memory import counted_bytes
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.long
EVENT = Event("aud_0123456789abcdef", "owner_access_denied", "owner:o", "pol_1", "{}", STARTED.wall_ns)
Stream = RoutineStream | EventStream

Made = tuple[Stream, "Callable[[int], None]", int, int]
"""A stream, what adds to it, and the bytes of one event and of what holds a piece of them."""


def heartbeats(events_max: int, room: Room) -> Made:
    """Make a stream of heartbeats."""
    stream = RoutineStream(events_max, room)
    return (
        stream,
        lambda number: stream.append(f"{number:016x}", "wrk_1", "pol_1", number),
        ROUTINE_EVENT_BYTES,
        SEGMENT_BYTES,
    )


def others(events_max: int, room: Room) -> Made:
    """Make one of events that are no heartbeats."""
    stream = EventStream("refused", events_max, room)
    return stream, lambda _number: stream.append(EVENT), EVENT.size, 0


def shown(stream: Stream) -> list[dict[str, Any]]:
    events = [stream.event(position) for _, position in stream.moments()]
    assert_chained(events, {"sequence": stream.sequence, "hash": stream.hash})
    assert stream.base == (stream.sequence - len(events), events[0]["previous_hash"] if events else stream.hash)
    return events


@pytest.mark.parametrize("make", [heartbeats, others])
@settings(max_examples=examples(120), deadline=None)
@given(
    events_max=st.integers(1, 40),
    room_events=st.integers(1, 60),
    bursts=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 30)), max_size=12),
)
def test_all_have_no_more_than_the_room_and_who_has_least_loses_last(
    make: Any, events_max: int, room_events: int, bursts: list[tuple[int, int]]
) -> None:
    streams: list[Stream] = []
    room = Room(0, lambda: streams)
    made = [make(events_max, room) for _ in range(5)]
    streams += [stream for stream, *_ in made]
    one = sum(made[0][2:])
    room._bytes_max = bytes_max = room_events * one
    for number, (which, count) in enumerate(bursts):
        for at in range(count):
            before = [(len(stream), stream.size) for stream in streams]
            made[which][1](1000 * number + at)
            after = [len(stream) for stream in streams]
            assert room.used == sum(stream.size for stream in streams) <= bytes_max
            grown = [length + (at == which) for at, (length, _) in enumerate(before)]
            grown[which] = min(grown[which], events_max)
            if after == grown:
                continue
            # Room was made: all down to one level, so who had no more than that has it all.
            lost = [now < then for now, then in zip(after, grown, strict=True)]
            level = min(size for (_, size), less in zip(before, lost, strict=True) if less) + one
            assert all(less or stream.size <= level for stream, less in zip(streams, lost, strict=True))
            assert room.used >= bytes_max * 15 // 16 - one * len(streams)
        for stream in streams:
            events = shown(stream)
            assert [event["sequence"] for event in events] == list(
                range(stream.sequence - len(events) + 1, stream.sequence + 1)
            )


def test_streams_that_were_cut_go_on_as_any_other() -> None:
    """Their ring grows again, wraps, and still shows each event once and in order."""
    for make in (heartbeats, others):
        stream, add, size, more = make(7, Room(1 << 30, tuple))
        for number in range(11):
            add(number)
        hashes = {event["sequence"]: event["hash"] for event in shown(stream)}
        stream.cut(more + 3 * size)
        assert [event["hash"] for event in shown(stream)] == [hashes[number] for number in (9, 10, 11)]
        for number in range(11, 30):
            add(number)
            assert len(shown(stream)) == min(7, number - 7)
        stream.cut(0)
        assert (len(stream), stream.size, stream.base) == (0, 0, (30, stream.hash))


def test_no_noise_of_made_up_tenants_costs_a_quiet_one_anything() -> None:
    """Whoever holds the token makes owners up by registering machines, and makes noise in the name of each."""
    server = Server(bounds=StateBounds(audit_refused_max_bytes=100_000, audit_notable_max_bytes=100_000))
    machine, policy_id = server.register("ada"), server.policy("ada")
    server.consent(machine, policy_id)
    server.lane(machine.id, "", "", b"{}")
    before = server.audit("ada")
    for number in range(12):
        owner_id = f"made up {number}"
        noisy = server.register(owner_id)
        for _ in range(40):
            server.lane(noisy.id, "", "", b"{}")
            server.lane(f"wrk_{number}", "", "", b"{}")
            headers = {**owner_headers(owner_id), "x-machine-token": noisy.token}
            assert server.send("POST", f"/machines/{noisy.id}/certificate", None, headers).status == 200
    assert server.audit("ada") == before
    state = server.api.state
    owners = state.owners.values()
    assert sum(owner.notable.size for owner in owners) <= 100_000
    assert state.unattributed.size + sum(owner.refused.size for owner in owners) <= 100_000
    assert state.unattributed.sequence == 480
    assert sum(owner.refused.sequence for owner in owners) == 481


@pytest.mark.parametrize("text", ["plain", "\u00e9", "\u20ac", "\U0001f600", "<&>"])
def test_what_an_event_is_said_to_take_is_no_less_than_it_takes(text: str) -> None:
    """The bound is on what is counted, so what is counted has to be what it costs."""
    server = Server(audit_events_per_stream=1_000_000)
    policy_id = server.policy("ada", active=False)
    refused = server.api.state.owners["ada"].refused

    def fill(count: int) -> None:
        for number in range(count):
            path = f"/policies/{policy_id}/activate"
            name = f"{number:04}" + text * (200 // len(text))
            header = name
            assert server.send("POST", path, None, owner_headers(header)).status == 403

    fill(10)
    counted = refused.size
    with counted_bytes() as took:
        fill(150)
        assert took() <= 1.1 * (refused.size - counted)


@pytest.mark.parametrize(("owners", "beats"), [(300, 1), (100, 5), (30, 100), (4, 1000)])
def test_what_heartbeats_are_said_to_take_is_no_less_than_they_take(owners: int, beats: int) -> None:
    """An owner's first one above all: so many owners may have just one, or lose all but one to the others."""
    streams: list[Stream] = []
    room = Room(1 << 30, lambda: streams)
    streams += [RoutineStream(600, room) for _ in range(owners)]

    def fill(first: int) -> None:
        for number in range(first, first + beats):
            for stream in streams:
                assert isinstance(stream, RoutineStream)
                stream.append(f"{number:016x}", "wrk_1", "pol_1", number)

    with counted_bytes() as took:
        fill(0)
        hashes = sum(len(stream.hash) + 200 for stream in streams)  # one a stream, and a last digest and number
        assert took() <= room.used + hashes
        for stream in streams:
            stream.cut(SEGMENT_BYTES + ROUTINE_EVENT_BYTES)
        assert room.used <= owners * (SEGMENT_BYTES + ROUTINE_EVENT_BYTES)
        assert took() <= room.used + hashes
