"""Driving the shard at full speed, for benchmarks: each machine sends again as soon as it is answered."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import trio

from simulator.fleet.machine import Machine
from simulator.history.rows import History
from simulator.worlds.live.shard import Shard
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from simulator.client.target import Target

NEVER_ROTATE_NS = 1 << 62
WORKER_ID = "wrk_0123456789abcdef"
"""The worker id of all machines, so that a server with a constant answer is right."""
METRICS = '{"cpu_percent":12.5,"memory_percent":30.1,"gpu_percent":0.0}'


async def drive(target: Target, machines: int, seconds: float, progress: Progress | None = None) -> float:
    """Send signed heartbeats with fresh nonces from `machines` invented machines; return accepted answers per second.

    The target must accept anything. The first half second, in which the machines connect, does not count for the rate,
    but does in `progress`.
    """
    history, progress = History(), progress or Progress()
    start_ns = time.monotonic_ns()

    def now() -> int:
        return time.monotonic_ns() - start_ns

    def no_call(machine: Machine) -> None:
        raise RuntimeError(f"machine {machine.index} wants the control plane")

    rng = np.random.default_rng(1)
    wall = time.time_ns  # noqa: TID251 - the live world runs on the real clock
    shard = Shard(target, history, progress, rng, now, wall, lambda _index: METRICS, no_call, jitter=0.0)
    for index in range(machines):
        machine = Machine(index, "owner", interval_ns=0)
        machine.registered(WORKER_ID, rng.bytes(24).hex(), f"mcert_{index:020x}", NEVER_ROTATE_NS)
        machine.consented = True
        machine.fetched_policy("pol_0123456789abcdef", {}, 0)
        shard.resume(machine)
    rate = 0.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shard.run)
        await trio.sleep(0.5)
        before, start = progress.accepted, time.monotonic()
        await trio.sleep(seconds)
        rate = (progress.accepted - before) / (time.monotonic() - start)
        nursery.cancel_scope.cancel()
    await shard.finish(1.0)
    return rate
