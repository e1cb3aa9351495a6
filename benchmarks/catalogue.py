"""Which benchmarks there are: one row each. A module is loaded only where its benchmark is run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Literal

import msgspec

from benchmarks.measuring import Benchmark
from benchmarks.suite import Chosen
from simulator.platform.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = "all"
ROUNDS = 5
"""The fewest that can be sure of a miss: their least and their greatest enclose the true median in 15 of 16 cases."""
QUICK_MARGIN = 0.3
"""Of each bar, where it is looked at in a hurry: a busy neighbour takes a fifth from one side of a ratio, no third."""
QUICK_SECONDS = 0.4
QUICK_MACHINES = 1000


class Entry(msgspec.Struct, frozen=True):
    """A benchmark: `benchmarks/NAME.py`, or `module`, has its `benchmark`, which takes the size that `sized_by` names.

    `quick` ones are those of `--quick` where none is named. `seconds` is how long each measurement takes. What takes
    `minutes` is measured where it is named, and not among all.
    """

    name: str
    summary: str
    module: str = ""
    seconds: float = 1.0
    sized_by: Literal["seconds", "machines"] = "seconds"
    quick: bool = False
    minutes: bool = False

    def load(self, size: float) -> Benchmark:
        """Load the benchmark, of a size."""
        made = importlib.import_module(f"benchmarks.{self.module or self.name}").benchmark(size)
        if not isinstance(made, Benchmark):
            raise TypeError(f"{self.name} is no benchmark")
        return made


class Scale(msgspec.Struct, frozen=True):
    """How much is measured; None is what each benchmark takes by itself."""

    rounds: int | None = None
    seconds: float | None = None
    machines: int = 5000
    quick: bool = False


CATALOGUE = (
    Entry("heartbeat", "Heartbeats, against a constant server and against Hypercorn alone.", quick=True),
    Entry("mixed", "Heartbeats of many machines on few connections, as load balancers send them.", quick=True),
    Entry("fleet", "Heartbeats, their p99 at half load and pauses, with 1,000 and with 100,000 machines."),
    Entry("tls", "Heartbeats over TLS, against plain ones."),
    Entry("behind_proxy", "Heartbeats through HAProxy's pool of connections, against a constant server's."),
    Entry("limited", "What a 429 costs the server, against an accepted heartbeat.", quick=True),
    Entry("routes", "Every other route, with 1,000 and with 100,000 machines.", seconds=0.12),
    Entry("onboarding", "Registering and consenting 1,000 machines."),
    Entry("market", "What 10,000 machines with jobs and 10,000 queued jobs cost: matching, lists, heartbeats."),
    Entry("durable", "What a state file costs; a start from 100,000 machines, and a snapshot of them."),
    Entry("redis", "What nonces in Redis cost, and all state there."),
    Entry(
        "memory", "Memory that a machine costs the server, idle and connected, and the simulator.", sized_by="machines"
    ),
    Entry("shard", "The simulator's client against Locust and wrk.", seconds=1.5),
    Entry(
        "rivals",
        "The server against others that do the same, the shard against other clients.",
        module="rivals.measured",
        seconds=3.0,  # the slowest of them takes one to have answered each of its connections
        minutes=True,
    ),
    Entry("conduct", "What it costs that Locust conducts the fleet.", module="conducted", seconds=3.0),
    Entry("virtual", "Heartbeats in virtual time, against the server's decision alone.", seconds=4.0),
    Entry("virtual_long", "An hour of 10,000 machines in virtual time, and a fleet that grows.", minutes=True),
    Entry("checkers", "How many rows the checkers judge in a second.", seconds=2.0),
)


class UnknownBenchmarkError(Exception):
    """There is no benchmark of this name."""


def select(names: Sequence[str], *, quick: bool = False) -> list[Entry]:
    """Return the benchmarks of these names, each once, in the catalogue's order.

    `all` names all but those that take minutes; where none is named, quick ones are the quick subset. Raises
    UnknownBenchmarkError.
    """
    known = {entry.name for entry in CATALOGUE}
    for name in names:
        if name not in {ALL, *known}:
            raise UnknownBenchmarkError(f"{name!r} is no benchmark: {nearest(name, (ALL, *known))}")
    if not names:
        return [entry for entry in CATALOGUE if entry.quick and quick]
    return [entry for entry in CATALOGUE if entry.name in names or (ALL in names and not entry.minutes)]


def load(entries: Sequence[Entry], scale: Scale) -> list[Chosen]:
    """Load what was selected, at a scale."""
    return [Chosen(entry.load(_size(entry, scale)), scale.rounds or ROUNDS) for entry in entries]


def _size(entry: Entry, scale: Scale) -> float:
    if entry.sized_by == "machines":
        return scale.machines
    if scale.seconds is not None:
        return scale.seconds
    return min(entry.seconds, QUICK_SECONDS) if scale.quick else entry.seconds
