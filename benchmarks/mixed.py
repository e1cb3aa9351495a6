"""`hatchfarm bench mixed`: heartbeats of many machines on few connections, as load balancers send them."""

from __future__ import annotations

from contextlib import nullcontext

from benchmarks import bars
from benchmarks.heartbeat import subject
from benchmarks.measuring import Benchmark, Yardstick

YARDSTICKS = (
    Yardstick("mixed", "own", bars.MIXED_OF_OWN),
    Yardstick("mixed", "constant_mixed", bars.OF_CONSTANT),
)


def benchmark(seconds: float) -> Benchmark:
    """Return the benchmark, each measurement of which takes so many seconds."""
    subjects = [subject(name, seconds) for name in ("own", "mixed", "constant_mixed")]
    return Benchmark("mixed", lambda: nullcontext(subjects), YARDSTICKS)
