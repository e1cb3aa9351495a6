"""`hatchfarm bench`: the benchmarks, each measured, shown and written the same way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS
from simulator.platform.console import make_console
from simulator.platform.output_files import OutputError, see_writable

if TYPE_CHECKING:
    from benchmarks.measuring import Benchmark

bench_app = typer.Typer(help="Measure this machine and this code, as ratios to a yardstick.", no_args_is_help=True)
Figures = Annotated[Path, typer.Option(help="Where the figures go.", envvar="HATCHFARM_OUT")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write the figures to this file, and not into --out.", envvar="HATCHFARM_BENCH_JSON"),
]
Rounds = Annotated[int, typer.Option(help="Rounds of every subject.", envvar="HATCHFARM_BENCH_ROUNDS", min=1)]
MeasuredSeconds = Annotated[
    float, typer.Option(help="Length of a measurement.", envvar="HATCHFARM_BENCH_SECONDS", min=0.2)
]


def _run(benchmark: Benchmark, rounds: int, out: Path, json: Path | None) -> None:
    """Run a benchmark, and exit with its code: 1 where a bar was missed, 3 where it could not be measured."""
    from benchmarks.measuring import run  # noqa: PLC0415 - slow to load, and needed by these commands only

    path = json or out / f"bench-{benchmark.name}.json"
    try:  # before minutes of measuring, not after them
        see_writable(path.parent)
    except OutputError as error:
        fail("bench", str(error))
    if path.is_dir():
        fail("bench", f"{path} is a folder: name a file to write the figures to")
    at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251 - when these figures are from
    raise typer.Exit(run(benchmark, rounds, path, make_console(), at))


@bench_app.command("heartbeat")
def bench_heartbeat(
    rounds: Rounds = 5, seconds: MeasuredSeconds = 2.0, out: Figures = RESULTS, json: JsonFile = None
) -> None:
    """Measure the heartbeat path against its yardsticks, in alternation."""
    from benchmarks.heartbeat import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)


@bench_app.command("durable")
def bench_durable(
    rounds: Rounds = 5, seconds: MeasuredSeconds = 2.0, out: Figures = RESULTS, json: JsonFile = None
) -> None:
    """Measure what a state file costs: heartbeats with and without one, and a large state's start and snapshot."""
    from benchmarks.durable import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)


@bench_app.command("market")
def bench_market(
    rounds: Rounds = 5, seconds: MeasuredSeconds = 2.0, out: Figures = RESULTS, json: JsonFile = None
) -> None:
    """Measure what 10,000 machines with jobs and 10,000 queued jobs cost: matching, lists, heartbeats."""
    from benchmarks.market import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)


@bench_app.command("memory")
def bench_memory(
    machines: Annotated[int, typer.Option(help="Connected machines.", envvar="HATCHFARM_MACHINES", min=100)] = 5000,
    out: Figures = RESULTS,
    json: JsonFile = None,
) -> None:
    """Measure memory a connected machine costs the server and the simulator."""
    from benchmarks.memory import benchmark  # noqa: PLC0415 - as above

    # Once: the simulator is this very process, and what a round left in it the next would find there.
    _run(benchmark(machines), 1, out, json)


@bench_app.command("redis")
def bench_redis(
    rounds: Rounds = 5, seconds: MeasuredSeconds = 2.0, out: Figures = RESULTS, json: JsonFile = None
) -> None:
    """Measure what nonces in Redis cost, against the server's own memory, in alternation."""
    from benchmarks.redis import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)


@bench_app.command("conduct")
def bench_conduct(
    rounds: Rounds = 5,
    seconds: Annotated[
        float, typer.Option(help="Length of a measurement.", envvar="HATCHFARM_BENCH_SECONDS", min=1)
    ] = 8.0,
    out: Figures = RESULTS,
    json: JsonFile = None,
) -> None:
    """Measure what it costs that Locust conducts the fleet, in alternation."""
    from benchmarks.conducted import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)


@bench_app.command("rivals")
def bench_rivals(
    rounds: Rounds = 5, seconds: MeasuredSeconds = 2.0, out: Figures = RESULTS, json: JsonFile = None
) -> None:
    """Measure the server against others that do the same, and the shard against other clients, in alternation."""
    from benchmarks.rivals.measured import benchmark  # noqa: PLC0415 - as above

    _run(benchmark(seconds), rounds, out, json)
