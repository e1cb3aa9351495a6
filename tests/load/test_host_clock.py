"""Two hosts' clocks: whatever messages took, and however clocks drift, the true offset is within the bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.load.host_clock import UNKNOWN, offset_bounds, read_boot_id, read_network_host

if TYPE_CHECKING:
    from pathlib import Path


class Trip(NamedTuple):
    """One question and its answer: what passed before it, and how long each way took."""

    pause_ns: int
    there_ns: int
    back_ns: int


delays = st.integers(0, 3 * SECOND_NS)
trips = st.lists(st.builds(Trip, delays, delays, delays), min_size=1, max_size=10)
offsets = st.integers(-(1 << 60), 1 << 60)


def made(
    trips: list[Trip], offset_ns: int, drift_ns_each_second: int = 0
) -> tuple[list[tuple[int, int, int]], set[int]]:
    """Return trips as the asking side keeps them, and the offsets there truly were, when the other clock was read."""
    now_ns, kept, true = 0, [], set()
    for trip in trips:
        left_ns = now_ns + trip.pause_ns
        read_at_ns = left_ns + trip.there_ns
        offset_now_ns = offset_ns + read_at_ns * drift_ns_each_second // SECOND_NS
        true.add(offset_now_ns)
        now_ns = read_at_ns + trip.back_ns
        kept.append((left_ns, read_at_ns + offset_now_ns, now_ns))
    return kept, true


@given(trips=trips, offset_ns=offsets)
def test_the_true_offset_is_within_the_bounds_whatever_each_way_took(trips: list[Trip], offset_ns: int) -> None:
    kept, _ = made(trips, offset_ns)
    low_ns, high_ns = offset_bounds(kept)
    assert low_ns <= offset_ns <= high_ns


@given(trips=trips, offset_ns=offsets)
def test_bounds_are_as_narrow_as_the_fastest_ways_allow(trips: list[Trip], offset_ns: int) -> None:
    """From below by the fastest way back, from above by the fastest way there: no more than the shortest trip."""
    kept, _ = made(trips, offset_ns)
    low_ns, high_ns = offset_bounds(kept)
    assert offset_ns - low_ns == min(trip.back_ns for trip in trips)
    assert high_ns - offset_ns == min(trip.there_ns for trip in trips)
    assert high_ns - low_ns <= min(trip.there_ns + trip.back_ns for trip in trips)


@given(trips=trips, offset_ns=offsets, mixed=st.data())
def test_the_order_of_trips_does_not_matter(trips: list[Trip], offset_ns: int, mixed: st.DataObject) -> None:
    kept, _ = made(trips, offset_ns)
    assert offset_bounds(mixed.draw(st.permutations(kept))) == offset_bounds(kept)


@given(offset_ns=offsets, drift=st.integers(-MILLISECOND_NS, MILLISECOND_NS))
def test_clocks_that_drift_apart_between_trips_give_bounds_that_hold_every_offset_there_was(
    offset_ns: int, drift: int
) -> None:
    """Instant trips an hour apart: their bounds have nothing in common, so the widest must be given."""
    instant = [Trip(3600 * SECOND_NS, 0, 0)] * 3
    kept, true = made(instant, offset_ns, drift)
    low_ns, high_ns = offset_bounds(kept)
    assert (low_ns, high_ns) == (min(true), max(true))


def test_nothing_measured_is_nothing_known() -> None:
    assert offset_bounds([]) == UNKNOWN
    assert UNKNOWN[0] < -(1 << 61) < 1 << 61 < UNKNOWN[1]


def test_processes_of_one_boot_name_the_same_one_and_a_host_that_does_not_tell_names_none(tmp_path: Path) -> None:
    boot = tmp_path / "boot_id"
    boot.write_text("0d7c8a8e-1d1f-4a2b-9b1a-000000000001\n", encoding="ascii")
    assert read_boot_id(boot) == "0d7c8a8e-1d1f-4a2b-9b1a-000000000001"
    assert read_boot_id(tmp_path / "none") == ""
    assert read_boot_id() == read_boot_id()


def test_a_network_is_named_by_the_boot_and_its_namespace(tmp_path: Path) -> None:
    namespace = tmp_path / "net"
    namespace.symlink_to("net:[4026531840]")
    assert read_network_host(namespace) == f"{read_boot_id()} net:[4026531840]"
    assert read_network_host(tmp_path / "none") == ""
