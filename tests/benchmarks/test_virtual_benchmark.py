"""The benchmark of the virtual world measures what it says: small ones here, whatever they come to."""

from __future__ import annotations

import pytest

from benchmarks import virtual, virtual_long
from benchmarks.measuring import BenchmarkError
from reference_server.wire.units import SECOND_NS
from simulator.scenario.loading import parse_scenario


def test_the_bare_decision_and_a_fleet_that_is_up_are_measured() -> None:
    (decided,), (played,) = virtual.bare(20, 30), virtual.played(20, 30)
    assert decided > 0 < played


def test_a_fleet_that_did_not_come_up_is_not_measured() -> None:
    limited = {**virtual.IN_MEMORY, "RATE_LIMIT_BURST": "2", "RATE_LIMIT_REFILL_PER_SECOND": "0.001"}
    with pytest.raises(BenchmarkError, match=r"^0 of 20 machines were up"):
        virtual.played(20, 30, limited)


def test_more_rounds_than_a_certificate_lasts_by_itself_are_decided() -> None:
    assert virtual.bare(2, 140)[0] > 0


def test_an_hour_is_played_to_its_verdict() -> None:
    seconds, resident_bytes = virtual_long.hour(20, seconds=60)
    assert seconds > 0
    assert resident_bytes > 1024**2


def test_what_heartbeats_cost_is_measured_before_and_after_a_fleet_has_grown() -> None:
    few, many, ratio = virtual_long.grown(4, 20)
    assert few > 0 < many
    assert ratio == many / few


def test_a_growing_fleet_comes_up_in_stages() -> None:
    scenario = parse_scenario(virtual.scenario_of(virtual.Stage(4, 30), virtual.Stage(20, 660)))
    stages = [(stage.duration_ns // SECOND_NS, stage.target) for stage in scenario.fleet.stages]
    assert stages == [(30, 4), (600, 4), (30, 20)]
