"""Several benchmarks as one suite: measured one after the other, shown, and written as one document."""

from __future__ import annotations

from functools import partial
from pathlib import Path  # noqa: TC003 - a Struct resolves its annotations
from typing import TYPE_CHECKING, Any

import msgspec
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import formats
from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import BUSY_SHARE, HELD, MISSED, UNKNOWN, Benchmark, Figure, Measured, Result, measure
from simulator.platform.machine_facts import MachineFacts, machine_facts
from simulator.platform.output_files import write_outputs
from simulator.platform.wording import four_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

SCHEMA_VERSION = 2


class Chosen(msgspec.Struct, frozen=True):
    """A benchmark that was chosen, and how often each of its subjects is measured."""

    benchmark: Benchmark
    rounds: int


class Suite(msgspec.Struct, frozen=True):
    """What a suite writes. `measured_at` is ISO 8601; bars were eased by `margin`, a share of each."""

    schema_version: int
    measured_at: str
    margin: float
    machine: MachineFacts
    benchmarks: tuple[Result, ...]
    exit_code: int


class Outputs(msgspec.Struct, frozen=True):
    """Files that are written, for whom: ourselves, CI's test views, github-action-benchmark's two tools, Bencher.

    `json_flag` is the one that says where the first goes.
    """

    json: Path
    junit: Path | None = None
    bigger_is_better: Path | None = None
    smaller_is_better: Path | None = None
    bencher: Path | None = None
    json_flag: str = "--json"

    def given(self) -> Iterator[tuple[Path, str, Callable[[Suite], bytes]]]:
        """Yield each file with its flag, and what writes it."""
        bigger_flag, smaller_flag = "--custom-bigger-is-better", "--custom-smaller-is-better"
        files: tuple[tuple[Path | None, str, Callable[[Suite], bytes]], ...] = (
            (
                self.json,
                self.json_flag,
                lambda suite: msgspec.json.format(msgspec.json.encode(suite), indent=2) + b"\n",
            ),
            (self.junit, "--junit", lambda suite: formats.junit(suite.benchmarks, suite.measured_at)),
            (self.bigger_is_better, bigger_flag, partial(_action_benchmark, bigger=True)),
            (self.smaller_is_better, smaller_flag, partial(_action_benchmark, bigger=False)),
            (self.bencher, "--bencher", lambda suite: formats.bencher(suite.benchmarks)),
        )
        for path, flag, write in files:
            if path is not None:
                yield path, flag, write


def _action_benchmark(suite: Suite, *, bigger: bool) -> bytes:
    return formats.github_action_benchmark(suite.benchmarks, bigger=bigger)


def suite_schema() -> dict[str, Any]:
    """Return the JSON Schema of what a suite writes."""
    return msgspec.json.schema(Suite)


def run(
    chosen: Sequence[Chosen],
    outputs: Outputs,
    console: Console,
    measured_at: str,
    *,
    margin: float = 0.0,
) -> int:
    """Measure all that was chosen, print tables, write the files, and return the exit code.

    Raises OutputError where one cannot be written, once everything is printed.
    """
    results = []
    for one in chosen:
        result = _measure(one, margin, console)
        show(result, console)
        results.append(result)
    suite = Suite(
        SCHEMA_VERSION, measured_at, margin, machine_facts(), tuple(results), worst([one.exit_code for one in results])
    )
    console.print(conclusion(suite), markup=False)
    write_outputs((path, flag, write(suite)) for path, flag, write in outputs.given())
    console.print(f"Figures: {outputs.json}", markup=False)
    return suite.exit_code


def worst(codes: Sequence[int]) -> int:
    """Return what all exit codes say together: a miss that is known counts before what is not."""
    return next((code for code in (MISSED, UNKNOWN) if code in codes), HELD)


def conclusion(suite: Suite) -> str:
    """Say in a line what came of it."""
    lines = [
        (f"{result.name}: {one.title}", one.outcome)
        for result in suite.benchmarks
        for one in (*result.figures.values(), *result.ratios.values())
        if one.outcome is not None
    ]
    bars = f"Bars: {sum(outcome == 'held' for _, outcome in lines)} held"
    for words, wanted in (("missed", "missed"), ("hidden by noise", "noise")):
        names = [name for name, outcome in lines if outcome == wanted]
        if names:
            bars += f"; {len(names)} {words} ({', '.join(names)})"
    unmeasured = [result.name for result in suite.benchmarks if result.problem]
    return bars + (f"; not measured: {', '.join(unmeasured)}" if unmeasured else "") + "."


def _measure(one: Chosen, margin: float, console: Console) -> Result:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    # It is drawn from here, for a process that forks has no threads.
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task(one.benchmark.name, total=1.0)

        def note(figure: Figure, value: float, share: float) -> None:
            description = f"{one.benchmark.name}: {figure.name} {four_digits(value)}{figure.unit}"
            progress.update(task, description=description, completed=share)

        measurer = partial(in_fresh_process, meanwhile=progress.refresh)
        return measure(one.benchmark, one.rounds, measurer, margin=margin, note=note)


def show(result: Result, console: Console) -> None:
    """Print the figures and the ratios, each with the interval of its median and its bar."""
    if result.problem:
        console.print(f"{result.name}: not measured: {result.problem}", markup=False)
        return
    table = Table(result.name, "median", "interval", "bar", box=None)
    for one in (*result.figures.values(), *result.ratios.values()):
        interval = (
            f"{four_digits(one.low)} - {four_digits(one.high)} ({one.confidence:.0%})"
            if len(one.rounds) > 1
            else "measured once"
        )
        table.add_row(one.title, f"{four_digits(one.median)}{one.unit}", interval, _bar(one))
    console.print(table)
    if result.waited > BUSY_SHARE:
        console.print(
            f"The servers had no core for {result.waited:.0%} of their time: this machine is busy.", markup=False
        )


def _bar(one: Measured) -> str:
    if one.outcome is None:
        return ""
    sign, bar = (">=", one.at_least) if one.at_most is None else ("<=", one.at_most)
    ending = {"held": "", "missed": " MISSED", "noise": " hidden by noise"}[one.outcome]
    return f"{sign} {bar:,.10g}{one.unit}{ending}"
