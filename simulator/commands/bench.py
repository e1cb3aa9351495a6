"""`hatchfarm bench`: the benchmarks as one suite, measured, shown and written the same way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS
from simulator.platform.console import make_console
from simulator.platform.output_files import OutputError, see_file_writable
from simulator.platform.program import as_called

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Which benchmarks to measure, or all (but those of minutes). Without any they are listed.",
        envvar="HATCHFARM_BENCH",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(
        help="Rounds of every subject, 5 if not said: fewer cannot be sure of a miss.",
        envvar="HATCHFARM_BENCH_ROUNDS",
        min=1,
    ),
]
MeasuredSeconds = Annotated[
    float | None,
    typer.Option(help="Length of a measurement, other than its own.", envvar="HATCHFARM_BENCH_SECONDS", min=0.2),
]
Machines = Annotated[int, typer.Option(help="Connected machines of `memory`.", envvar="HATCHFARM_MACHINES", min=100)]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Short rounds against eased bars; of what changes most often, where no name is given.",
        envvar="HATCHFARM_BENCH_QUICK",
    ),
]
Figures = Annotated[Path, typer.Option(help="Where the figures go.", envvar="HATCHFARM_OUT")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", help="Write the figures to this file, and not into --out.", envvar="HATCHFARM_BENCH_JSON"),
]
JunitFile = Annotated[
    Path | None, typer.Option("--junit", help="Write the bars as JUnit XML, too.", envvar="HATCHFARM_BENCH_JUNIT")
]
BiggerFile = Annotated[
    Path | None,
    typer.Option(
        "--custom-bigger-is-better",
        help="Write rates and ratios as customBiggerIsBetter, too.",
        envvar="HATCHFARM_BENCH_BIGGER",
    ),
]
SmallerFile = Annotated[
    Path | None,
    typer.Option(
        "--custom-smaller-is-better",
        help="Write times and sizes as customSmallerIsBetter, too.",
        envvar="HATCHFARM_BENCH_SMALLER",
    ),
]
BencherFile = Annotated[
    Path | None,
    typer.Option("--bencher", help="Write all figures in Bencher Metric Format, too.", envvar="HATCHFARM_BENCHER"),
]


def bench(
    names: Names = None,
    *,
    rounds: Rounds = None,
    seconds: MeasuredSeconds = None,
    machines: Machines = 5000,
    quick: Quick = False,
    out: Figures = RESULTS,
    json: JsonFile = None,
    junit: JunitFile = None,
    custom_bigger_is_better: BiggerFile = None,
    custom_smaller_is_better: SmallerFile = None,
    bencher: BencherFile = None,
) -> None:
    """Measure this machine and this code, as ratios to a yardstick.

    Exits with 0 where every bar was held, 1 where one was missed beyond noise, 3 where noise hides one or something
    could not be measured.
    """
    from benchmarks.catalogue import (  # noqa: PLC0415 - slow to load, and needed by this command only
        QUICK_MACHINES,
        QUICK_MARGIN,
        Scale,
        UnknownBenchmarkError,
        load,
        select,
    )
    from benchmarks.suite import Outputs, run  # noqa: PLC0415 - as above

    try:
        entries = select(names or [], quick=quick)
    except UnknownBenchmarkError as error:
        fail("bench", str(error))
    if not entries:
        _list()
        return
    path = json or out / (f"bench-{entries[0].name}.json" if len(entries) == 1 else "bench.json")
    flag = "--out" if json is None else "--json"
    outputs = Outputs(path, junit, custom_bigger_is_better, custom_smaller_is_better, bencher, flag)
    at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251 - when these figures are from
    scale = Scale(rounds, seconds, min(machines, QUICK_MACHINES) if quick else machines, quick)
    margin = QUICK_MARGIN if quick else 0.0
    try:
        for path, flag, _ in outputs.given():
            see_file_writable(path, flag)  # before minutes of measuring, and not after them alone
        code = run(load(entries, scale), outputs, make_console(), at, margin=margin)
    except OutputError as error:
        fail("bench", str(error))
    raise typer.Exit(code)


def _list() -> None:
    """Print which benchmarks there are."""
    from benchmarks.catalogue import CATALOGUE  # noqa: PLC0415 - as above

    width = max(len(entry.name) for entry in CATALOGUE)
    for entry in CATALOGUE:
        kind = " (quick)" if entry.quick else " (minutes)" if entry.minutes else ""
        typer.echo(f"{entry.name:<{width}}  {entry.summary}{kind}")
    ways = (
        "`hatchfarm bench NAME...` measures some of them, `hatchfarm bench all` all but those that take minutes each,\n"
        "`--quick` the quick ones."
    )
    typer.echo(f"\n{as_called(ways)}")
