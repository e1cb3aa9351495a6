"""Comparing how long two kinds of requests take: real differences are found, and noise never is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from simulator.attacks.timing import DIFFERENCE_MIN_NS, SAMPLES_MIN, compare_times, welch_t

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 6000


def noisy(rng: np.random.Generator) -> NDArray[Any]:
    """Service times as a busy machine has them: a heavy tail, a drift, and stalls that hit many in a row."""
    taken = 400_000 + rng.lognormal(11, 1, SAMPLES) + np.linspace(0, 300_000, SAMPLES)
    for start in rng.integers(SAMPLES, size=20):
        taken[start : start + 60] += rng.exponential(5_000_000)
    return np.asarray(taken).astype(np.int64)


@pytest.mark.parametrize("seed", range(60))
def test_noise_is_never_taken_for_a_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = compare_times(noisy(rng), rng.random(SAMPLES) < 0.5)
    assert found.leaks is False
    assert abs(found.t) < 6


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("seed", range(5))
def test_a_difference_that_can_be_used_is_found_in_the_same_noise(seed: int, sign: int) -> None:
    rng = np.random.default_rng(seed)
    second = rng.random(SAMPLES) < 0.5
    taken = noisy(rng)
    taken[second if sign > 0 else ~second] += 80_000
    found = compare_times(taken, second)
    assert found.leaks is True
    assert found.t * sign > 10
    assert (found.medians_ns[1] - found.medians_ns[0]) * sign > DIFFERENCE_MIN_NS
    assert found.shown()["samples"] == SAMPLES


def test_a_difference_too_small_for_anybody_is_none_however_sure_it_is() -> None:
    rng = np.random.default_rng(1)
    second = rng.random(SAMPLES) < 0.5
    taken = 400_000 + rng.integers(0, 1000, SAMPLES)
    taken[second] += DIFFERENCE_MIN_NS - 2000
    found = compare_times(taken, second)
    assert found.t > 10
    assert found.leaks is False
    taken[second] += 4000
    assert compare_times(taken, second).leaks is True


def test_a_difference_that_noise_could_have_made_is_none_however_large_it_is() -> None:
    """More than 20 us apart in each third of the run, in a noise of half a millisecond: a laxer one would be fooled."""
    rng = np.random.default_rng(59)
    second = rng.random(3000) < 0.5
    taken = (5_000_000 + rng.normal(0, 500_000, 3000)).astype(np.int64)
    assert compare_times(taken, second).leaks is False
    assert compare_times(taken, second, t_max=1.0).leaks is True


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_difference_that_is_not_there_all_the_time_is_none(part: int) -> None:
    rng = np.random.default_rng(1)
    second = rng.random(SAMPLES) < 0.5
    taken = 400_000 + rng.integers(0, 1000, SAMPLES)
    there = np.arange(SAMPLES) * 3 // SAMPLES != part
    taken[second & there] += 200_000
    found = compare_times(taken, second)
    assert found.t > 10
    assert found.leaks is False


def test_a_kind_that_a_part_of_the_run_lacks_is_not_told_apart() -> None:
    rng = np.random.default_rng(1)
    second = np.arange(SAMPLES) >= SAMPLES // 2
    found = compare_times(np.where(second, 900_000, 400_000) + rng.integers(0, 1000, SAMPLES), second)
    assert found.leaks is False


@pytest.mark.parametrize(("of_second", "enough"), [(SAMPLES_MIN - 1, False), (SAMPLES_MIN, True)])
def test_it_takes_enough_of_either_kind(of_second: int, enough: bool) -> None:  # noqa: FBT001 - a table
    for flipped in (False, True):
        second = np.arange(SAMPLES) < of_second
        found = compare_times(np.full(SAMPLES, 400_000), second ^ flipped)
        assert (found.leaks is not None) is enough


def test_times_without_any_variance_differ_endlessly_or_not_at_all() -> None:
    alike, more = np.full(10, 5), np.full(10, 6)
    assert welch_t(alike, alike) == 0
    assert welch_t(alike, more) == np.inf
    assert welch_t(more, alike) == -np.inf


def test_t_is_that_of_the_textbook() -> None:
    """Means 3 and 6, variances 1 and 4, of 4 and 16 values: 3 over the root of a quarter and a quarter."""
    first = np.array([3 - 0.75**0.5, 3 + 0.75**0.5] * 2)
    second = np.array([6 - 3.75**0.5, 6 + 3.75**0.5] * 8)
    assert welch_t(first, second) == pytest.approx(3 / 0.5**0.5)
