"""What a machine says it has is read whole or not at all, scaled down by its policy, and open in its hours."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.market.capacity import Capacity, maxima_of, opening_at, read_capacity, scale, write_capacity
from reference_server.core.market.working import tick
from tests.market.small_market import SECOND, at, beat, make_market

GOOD = {"cpu_cores": 8, "memory_gb": 31.25, "gpus": [{"model": "RTX 4090", "count": 2}]}


def read(**changed: object) -> Capacity | None:
    fields = {**GOOD, **changed}
    return read_capacity(json.dumps({name: value for name, value in fields.items() if value != "none"}).encode())


def test_a_capacity_is_read() -> None:
    assert read() == Capacity(8_000_000, 31_250_000, (("RTX 4090", 2),))
    assert read(gpus=[]) == read(gpus="none") == Capacity(8_000_000, 31_250_000)
    assert read(cpu_cores=1_024, memory_gb=65_536) is not None
    both = [{"model": "B", "count": 1}, {"model": "A", "count": 2.0}, {"model": "B", "count": 3}]
    assert read(gpus=both) == Capacity(8_000_000, 31_250_000, (("A", 2), ("B", 4)))


@pytest.mark.parametrize(
    "changed",
    [
        {"cpu_cores": 0},
        {"cpu_cores": -1},
        {"cpu_cores": 1_024.5},
        {"cpu_cores": "8"},
        {"cpu_cores": True},
        {"cpu_cores": None},
        {"cpu_cores": "none"},
        {"cpu_cores": 1e-9},
        {"memory_gb": 65_537},
        {"memory_gb": [1]},
        {"memory_gb": "none"},
        {"gpus": None},
        {"gpus": {"model": "A", "count": 1}},
        {"gpus": [{"model": "A", "count": 0}]},
        {"gpus": [{"model": "A", "count": 1.5}]},
        {"gpus": [{"model": "A", "count": 65}]},
        {"gpus": [{"model": "A", "count": 33}, {"model": "B", "count": 32}]},
        {"gpus": [{"model": "", "count": 1}]},
        {"gpus": [{"model": "x" * 129, "count": 1}]},
        {"gpus": [{"model": 7, "count": 1}]},
        {"gpus": [{"count": 1}]},
        {"gpus": [{"model": "A", "count": 1}] * 65},
    ],
)
def test_one_bad_field_voids_the_whole(changed: dict[str, object]) -> None:
    assert read(**changed) is None


@pytest.mark.parametrize("raw", [b"null", b"[]", b"1", b'"x"', b'{"cpu_cores":1e99999,"memory_gb":1}', b"{"])
def test_what_is_no_capacity(raw: bytes) -> None:
    assert read_capacity(raw) is None


def test_the_last_good_capacity_stays() -> None:
    market = make_market()
    beat(market, "w", capacity={"cpu_cores": 4, "memory_gb": 8})
    beat(market, "w", now=5, capacity={"cpu_cores": -4, "memory_gb": 8})
    beat(market, "w", now=9, capacity=None)
    assert market.pool.cpu_offered == 4_000_000
    assert market.ignored == {"capacity": 1, "job": 0}


def test_only_what_a_capacity_says_is_kept() -> None:
    """Not what else stands in it, which nobody reads; and another spelling of the same is no change."""
    market = make_market()
    for now, more in enumerate(({"junk": "x" * 9_000}, {"junk": "y"}, {}, {})):
        beat(market, "w", now=now, capacity={**GOOD, **more})
    offer = market.pool.offers["w"]
    assert json.loads(offer.reported_raw) == GOOD
    assert offer.reported == read()
    assert [noted[0] for noted in market.changes or ()] == ["capacity_reported"]
    beat(market, "w", now=5, capacity={**GOOD, "cpu_cores": 9})
    beat(market, "w", now=6, capacity=GOOD)
    assert offer.reported == read()


@given(st.integers(1, 1_024 * 10**6), st.integers(1, 65_536 * 10**6), st.dictionaries(st.text(min_size=1), st.just(2)))
def test_a_capacity_that_was_written_is_read_as_the_same(cpu: int, memory: int, gpus: dict[str, int]) -> None:
    capacity = Capacity(cpu, memory, tuple(sorted(gpus.items())))
    assert len(gpus) > 32 or read_capacity(write_capacity(capacity)) == capacity


def test_what_a_policy_does_not_name_is_not_offered() -> None:
    everything = Capacity(8_000_000, 32_000_000, (("A", 3),))
    assert scale(everything, maxima_of('{"max_cpu_percent":50}')) == Capacity(4_000_000, 0)
    most = maxima_of('{"max_cpu_percent":33.3,"max_gpu_percent":66,"max_memory_percent":12.5}')
    assert scale(everything, most) == Capacity(2_664_000, 4_000_000, (("A", 1),))
    assert scale(everything, maxima_of('{"max_cpu_percent":1,"max_gpu_percent":33}')).gpus == ()


@given(st.integers(1, 10**9), st.decimals(1, 100, places=3))
def test_never_more_than_a_policy_allows(cpu: int, percent: object) -> None:
    offered = scale(Capacity(cpu, cpu), maxima_of(f'{{"max_cpu_percent":{percent}}}')).cpu
    assert offered * 100 <= cpu * percent < (offered + 1) * 100  # type: ignore[operator]


@settings(max_examples=40, deadline=None)
@given(
    st.sets(st.integers(0, 23), min_size=1),
    st.sampled_from(
        ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "no zone", ".."]
    ),
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - it sets the zone
)
def test_hours_are_those_of_the_policys_clock(hours: set[int], zone: str, moment: datetime) -> None:
    """Up to the moment when that changes, and not before; what is no time zone counts as UTC."""
    rules = json.dumps({"allowed_hours": sorted(hours), "max_cpu_percent": 100, "timezone": zone})
    known = ZoneInfo("UTC" if zone in {"no zone", ".."} else zone)
    wall_ns = int(moment.timestamp()) * SECOND
    opening = opening_at(maxima_of(rules), wall_ns)
    assert opening.is_open == (moment.astimezone(known).hour in hours)
    if len(hours) == 24:
        assert opening.until_ns is None
        return
    assert opening.until_ns is not None
    until = datetime.fromtimestamp(opening.until_ns // SECOND, UTC)
    assert until > moment
    assert (until.astimezone(known).hour in hours) is not opening.is_open
    step = timedelta(minutes=7)
    for _ in range(60):
        if moment >= until:
            return
        assert (moment.astimezone(known).hour in hours) is opening.is_open
        moment += step


def test_a_policy_that_changes_with_each_heartbeat_fills_nothing() -> None:
    """Hours are waited for once, whichever policies a machine goes to and fro between."""
    market = make_market()
    beat(market, "w1", capacity={"cpu_cores": 2, "memory_gb": 4})
    for number in range(50):
        hours = [8] if number % 2 else [8, 9]
        rules = json.dumps({"allowed_hours": hours, "max_cpu_percent": 100, "max_memory_percent": 100})
        beat(market, "w1", now=number, rules=rules, policy_id=f"pol_{number % 2}")
    assert len(market.deadlines.hours) <= 2
    beat(market, "w1", now=3_599, rules=rules, policy_id="pol_1")
    assert market.pool.offers["w1"].is_open
    tick(market, at(3_600))
    assert not market.pool.offers["w1"].is_open
