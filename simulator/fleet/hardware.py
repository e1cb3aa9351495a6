"""Simulated hardware load of a whole fleet, in numpy, from a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

DAY_HOURS = 24
PERCENT_MAX = 100.0


class Profile(msgspec.Struct, frozen=True):
    """One kind of machine. Percentages of its own hardware; probabilities a second."""

    name: str
    base_percent: float
    daily_percent: float
    noise_percent: float
    memory_percent: float
    leak_percent_per_hour: float
    burst_probability: float
    gpu_job_probability: float
    fault_probability: float


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("laptop", 12, 25, 8, 55, 0.6, 0.02, 0.0, 2e-5),
        Profile("workstation", 20, 30, 6, 40, 0.2, 0.01, 0.004, 1e-5),
        Profile("gpu-server", 35, 8, 4, 50, 0.1, 0.005, 0.02, 5e-6),
    )
}
MIXED_WEIGHTS = (0.5, 0.35, 0.15)
HARDWARE = (*PROFILES, "mixed")

BURST_SECONDS = 8.0
GPU_JOB_SECONDS = 45.0
FAULT_SECONDS = 20.0
CORRELATION_SECONDS = 15.0
HOT_PERCENT_SECONDS = 1200.0
"""Load times time above half of full at which a machine gets so hot that it throttles to 60%."""


class HardwareLoad:
    """The load of `machines` machines. Columns `cpu`, `memory` and `gpu` are percentages, one row a machine.

    Each follows the daily rhythm of its own time zone, with autocorrelated noise, heavy-tailed bursts, GPU jobs,
    throttling when hot, memory that leaks until the machine restarts its work, and faults during which it does nothing.
    """

    def __init__(self, machines: int, hardware: str, rng: np.random.Generator) -> None:
        self._rng = rng
        names = list(PROFILES)
        kinds = (
            rng.choice(len(names), size=machines, p=MIXED_WEIGHTS)
            if hardware == "mixed"
            else np.full(machines, names.index(hardware))
        )

        def column(field: str) -> Column:
            values: Column = np.array([getattr(PROFILES[name], field) for name in names], dtype=np.float64)[kinds]
            return values

        self._base, self._daily, self._sigma = column("base_percent"), column("daily_percent"), column("noise_percent")
        self._memory_base, self._leak = column("memory_percent"), column("leak_percent_per_hour") / 3600
        self._burst_probability = column("burst_probability")
        self._gpu_probability = column("gpu_job_probability")
        self._fault_probability = column("fault_probability")
        self.zone_hours: Column = rng.integers(-11, 13, size=machines).astype(np.float64)
        zeros = np.zeros(machines)
        self._noise: Column = rng.normal(0, 1, machines) * self._sigma
        self._burst, self._burst_left = zeros.copy(), zeros.copy()
        self._gpu_left, self._fault_left = zeros.copy(), zeros.copy()
        self._heat, self._leaked = zeros.copy(), zeros.copy()
        self.cpu, self.memory, self.gpu = zeros.copy(), zeros.copy(), zeros.copy()

    def advance(self, seconds: float, utc_hour: float) -> None:
        """Move on by `seconds`; `utc_hour` is the hour of the day, with its fraction."""
        rng, machines = self._rng, len(self.cpu)
        keep = np.exp(-seconds / CORRELATION_SECONDS)
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * rng.normal(0, 1, machines) * self._sigma
        self._start(self._burst_left, self._burst_probability, BURST_SECONDS, seconds)
        fresh = self._burst_left > 0
        self._burst = np.where(fresh & (self._burst == 0), 10 * rng.pareto(2.5, machines) + 10, self._burst) * fresh
        self._start(self._gpu_left, self._gpu_probability, GPU_JOB_SECONDS, seconds)
        self._start(self._fault_left, self._fault_probability, FAULT_SECONDS, seconds)
        local = (utc_hour + self.zone_hours) % DAY_HOURS
        rhythm = 0.5 - 0.5 * np.cos(2 * np.pi * (local - 3) / DAY_HOURS)
        working = self._fault_left <= 0
        gpu_busy = self._gpu_left > 0
        demand = self._base + self._daily * rhythm + self._noise + self._burst + 10 * gpu_busy
        self._heat = np.maximum(0, self._heat + (np.minimum(demand, PERCENT_MAX) - PERCENT_MAX / 2) * seconds)
        demand = np.where(self._heat > HOT_PERCENT_SECONDS, np.minimum(demand, 60.0), demand)
        self.cpu = np.clip(demand, 0, PERCENT_MAX) * working
        self.gpu = np.clip(np.where(gpu_busy, 85 + self._noise, 2.0), 0, PERCENT_MAX) * working
        self._leaked += self._leak * seconds
        full = self._memory_base + self._leaked > PERCENT_MAX - 5
        self._leaked[full] = 0
        self.memory = np.clip(self._memory_base + self._leaked + 0.2 * self._noise, 0, PERCENT_MAX)

    def _start(self, left: Column, probability: Column, mean_seconds: float, seconds: float) -> None:
        left -= seconds
        starts: NDArray[Any] = (left <= 0) & (self._rng.random(len(left)) < 1 - (1 - probability) ** seconds)
        left[starts] = self._rng.exponential(mean_seconds, int(starts.sum())) + seconds


def capped(load: Column, limit_percent: Column, allowed: NDArray[np.bool_]) -> Column:
    """Return a load limited by a policy's maximum, and zero outside of its allowed hours."""
    held: Column = np.minimum(load, limit_percent) * allowed
    return held
