from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.fleet.hardware import (
    FAULT_SECONDS,
    HARDWARE,
    HOT_PERCENT_SECONDS,
    MIXED_WEIGHTS,
    PROFILES,
    HardwareLoad,
    Profile,
    capped,
)
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

kinds = st.sampled_from(HARDWARE)
seeds = st.integers(0, 2**32)
DAYTIME_PEAK_HOUR, NIGHT_HOUR = 15, 3
QUIET: dict[str, Any] = {
    "noise_percent": 0.0, "burst_probability": 0.0, "gpu_job_probability": 0.0, "fault_probability": 0.0,
    "leak_percent_per_hour": 0.0, "daily_percent": 0.0,
}  # fmt: skip


def load(machines: int, hardware: str, seed: int) -> HardwareLoad:
    return HardwareLoad(machines, hardware, np.random.default_rng(seed))


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Turns `laptop` into a kind on which nothing happens but what a test asks for."""
    options = {**QUIET, "name": "laptop", "base_percent": 30.0, "memory_percent": 40.0}

    def replace(**wanted: float) -> None:
        monkeypatch.setitem(PROFILES, "laptop", Profile(**{**options, **wanted}))

    return replace


@settings(deadline=None, max_examples=examples(30))
@given(
    hardware=kinds,
    seed=seeds,
    steps=st.lists(st.tuples(st.floats(0.01, 3600), st.floats(0, 24)), min_size=1, max_size=20),
)
def test_the_same_seed_gives_the_same_load_and_every_value_is_a_percentage(
    hardware: str,
    seed: int,
    steps: list[tuple[float, float]],
) -> None:
    one, other = load(7, hardware, seed), load(7, hardware, seed)
    for seconds, hour in steps:
        one.advance(seconds, hour)
        other.advance(seconds, hour)
        for name in ("cpu", "memory", "gpu"):
            column: NDArray[np.float64] = getattr(one, name)
            assert column.shape == (7,)
            assert np.array_equal(column, getattr(other, name))
            assert np.all((column >= 0) & (column <= 100))


@pytest.mark.parametrize("hardware", HARDWARE)
def test_another_seed_gives_another_load(hardware: str) -> None:
    one, other = load(50, hardware, 1), load(50, hardware, 2)
    one.advance(1, 12)
    other.advance(1, 12)
    assert not np.array_equal(one.cpu, other.cpu)


def test_a_mixed_fleet_has_the_kinds_in_their_shares() -> None:
    """The kinds are told apart by their memory, which differs by 5% and hardly moves in one second."""
    hardware = load(20_000, "mixed", 3)
    hardware.advance(0.001, 12)
    for (name, profile), weight in zip(PROFILES.items(), MIXED_WEIGHTS, strict=True):
        near = np.abs(hardware._memory_base - profile.memory_percent) < 1e-9
        assert near.mean() == pytest.approx(weight, abs=0.02), name


def steady(machines: int = 200, seconds: float = 1.0, hour: float = 0.0, seed: int = 4) -> HardwareLoad:
    hardware = load(machines, "laptop", seed)
    hardware.advance(seconds, hour)
    return hardware


def test_a_machine_on_which_nothing_happens_shows_its_base_load(profile: Callable[..., None]) -> None:
    profile()
    hardware = steady()
    assert np.allclose(hardware.cpu, 30)
    assert np.allclose(hardware.memory, 40)
    assert np.allclose(hardware.gpu, 2)


def test_each_machine_has_its_day_in_its_own_time_zone(profile: Callable[..., None]) -> None:
    profile(daily_percent=25.0)
    hardware = load(500, "laptop", 5)
    busiest = np.zeros(500)
    peak_hours = np.full(500, -1.0)
    for hour in range(24):
        hardware.advance(1e-6, hour)
        better = hardware.cpu > busiest
        peak_hours[better] = hour
        busiest = np.maximum(busiest, hardware.cpu)
        assert np.all(hardware.cpu >= 30 - 1e-9)
    assert np.allclose(busiest, 55)
    assert np.array_equal((peak_hours + hardware.zone_hours) % 24, np.full(500, DAYTIME_PEAK_HOUR))
    assert len(set(hardware.zone_hours.tolist())) == 24
    hardware.advance(1e-6, NIGHT_HOUR)
    assert np.allclose(hardware.cpu[hardware.zone_hours == 0], 30)


def test_noise_keeps_its_strength_and_forgets_slowly(profile: Callable[..., None]) -> None:
    """Autocorrelated by e^(-t/15 s), at the same standard deviation whatever the step."""
    profile(noise_percent=5.0, base_percent=50.0)
    hardware = load(20_000, "laptop", 6)
    for seconds in (1.0, 5.0, 60.0):
        before = hardware._noise.copy()
        hardware.advance(seconds, 0)
        after = hardware._noise
        assert after.std() == pytest.approx(5, rel=0.03)
        assert np.corrcoef(before, after)[0, 1] == pytest.approx(np.exp(-seconds / 15), abs=0.03)
    hardware.advance(1, 0)
    assert hardware.cpu.std() > 1, "the noise is seen in the load"


def test_the_wildest_noise_stays_within_percentages(profile: Callable[..., None]) -> None:
    profile(noise_percent=500.0, gpu_job_probability=0.5)
    hardware = steady(1000)
    for column in (hardware.cpu, hardware.memory, hardware.gpu):
        assert (column.min(), column.max()) == (0, 100)


def test_bursts_come_at_their_rate_have_heavy_tails_and_end(profile: Callable[..., None]) -> None:
    profile(burst_probability=0.02, base_percent=0.0)
    hardware = load(20_000, "laptop", 7)
    hardware.advance(1, 0)
    bursting = hardware.cpu > 0
    assert bursting.mean() == pytest.approx(0.02, abs=0.004)
    assert hardware.cpu[bursting].min() >= 10
    assert hardware.cpu[bursting].max() > 5 * np.median(hardware.cpu[bursting])
    first = hardware.cpu.copy()
    hardware.advance(1, 0)
    lasting = bursting & (hardware.cpu > 0)
    assert lasting.sum() > 0.8 * bursting.sum(), "a burst lasts for seconds"
    assert np.median(np.abs(hardware.cpu - first)[lasting]) == 0, "and keeps its height"
    hardware._burst_probability[:] = 0
    for _ in range(200):
        hardware.advance(1, 0)
    assert not hardware.cpu.any()


def test_rarer_steps_start_as_many_bursts_as_frequent_ones(profile: Callable[..., None]) -> None:
    profile(burst_probability=0.02, base_percent=0.0)
    hardware = load(20_000, "laptop", 8)
    hardware.advance(10, 0)
    assert (hardware.cpu > 0).mean() == pytest.approx(1 - 0.98**10, abs=0.01)


def test_gpu_jobs_keep_the_gpu_busy_and_load_the_cpu(profile: Callable[..., None]) -> None:
    profile(gpu_job_probability=0.1)
    hardware = steady(20_000)
    busy = hardware.gpu > 50
    assert busy.mean() == pytest.approx(0.1, abs=0.01)
    assert np.allclose(hardware.gpu[busy], 85)
    assert np.allclose(hardware.cpu[busy], 40)
    assert np.allclose(hardware.cpu[~busy], 30)


def test_a_faulty_machine_does_nothing_for_a_while(profile: Callable[..., None]) -> None:
    profile(fault_probability=0.05)
    hardware = steady(20_000)
    faulty = hardware.cpu == 0
    assert faulty.mean() == pytest.approx(0.05, abs=0.006)
    assert not hardware.gpu[faulty].any()
    assert np.allclose(hardware.memory, 40)
    hardware._fault_probability[:] = 0
    hardware.advance(20 * FAULT_SECONDS, 0)
    assert np.allclose(hardware.cpu, 30)


def test_a_hot_machine_throttles_and_cools(profile: Callable[..., None]) -> None:
    """Heat is load above half of full times time; above its bound the load is held to 60% until it has cooled."""
    profile(base_percent=90.0)
    hardware = load(3, "laptop", 9)
    seen = []
    for _ in range(40):
        hardware.advance(1, 0)
        seen.append(hardware.cpu.copy())
    until_hot = int(HOT_PERCENT_SECONDS // 40)
    assert np.all(np.array(seen[:until_hot]) == 90)
    assert np.all(np.array(seen[until_hot:]) == 60)
    hardware._base[:] = 10
    hardware.advance(3600, 0)
    assert not hardware._heat.any()


def test_memory_leaks_until_the_machine_starts_anew(profile: Callable[..., None]) -> None:
    profile(leak_percent_per_hour=10.0, memory_percent=50.0)
    hardware = load(1, "laptop", 10)
    seen = []
    for _ in range(9 * 6):
        hardware.advance(600, 0)
        seen.append(float(hardware.memory[0]))
    assert max(seen) <= 95
    rises = [later - earlier for earlier, later in pairwise(seen)]
    falls = [rise for rise in rises if rise < 0]
    assert sum(abs(rise - 10 / 6) < 1e-6 for rise in rises) == len(rises) - len(falls)
    assert 1 <= len(falls) <= 2
    assert all(fall < -40 for fall in falls)


@given(rows=st.lists(st.tuples(st.floats(0, 100), st.floats(1, 100), st.booleans()), min_size=1, max_size=30))
def test_a_capped_load_obeys_the_policy(rows: list[tuple[float, float, bool]]) -> None:
    """Never above the maximum, nothing outside the allowed hours, and otherwise as it was."""
    loads, limits, allowed = (np.array(column) for column in zip(*rows, strict=True))
    held = capped(loads.astype(np.float64), limits.astype(np.float64), allowed.astype(np.bool_))
    assert held.tolist() == [min(load, limit) if allow else 0.0 for load, limit, allow in rows]
