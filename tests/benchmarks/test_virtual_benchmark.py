"""The benchmark of the virtual world measures what it says: small ones here, whatever they come to."""

from __future__ import annotations

import pytest

from benchmarks import virtual
from benchmarks.measuring import BenchmarkError


def test_the_bare_decision_and_a_fleet_that_is_up_are_measured() -> None:
    (decided,), (played,) = virtual.bare(20, 30), virtual.played(20, 30)
    assert decided > 0 < played


def test_a_fleet_that_did_not_come_up_is_not_measured() -> None:
    limited = {**virtual.IN_MEMORY, "RATE_LIMIT_BURST": "2", "RATE_LIMIT_REFILL_PER_SECOND": "0.001"}
    with pytest.raises(BenchmarkError, match=r"^0 of 20 machines were up"):
        virtual.played(20, 30, limited)


def test_an_hour_is_played_to_its_verdict() -> None:
    seconds, resident_bytes = virtual.hour(20, seconds=60)
    assert seconds > 0
    assert resident_bytes > 1024**2


@pytest.mark.parametrize(("seconds", "names"), [(0.4, 3), (4.0, 4)])
def test_in_a_hurry_no_hour_is_played(seconds: float, names: int) -> None:
    with virtual.benchmark(seconds).open_subjects() as subjects:
        assert len(subjects) == names
