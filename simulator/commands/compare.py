"""`hatchfarm compare`: its flags, each with an environment variable, and finding out what two things it was given."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS
from simulator.commands.reports import find_bundle
from simulator.platform.console import make_console
from simulator.platform.output_files import OutputError, see_file_writable, write_outputs

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.comparing.alternating import Rounds
    from simulator.comparing.deciding import Tolerance
    from simulator.comparing.outcome import Comparison
    from simulator.comparing.runs import Run

COMMIT, RESULT, RUN = "commit", "benchmark's result", "run"
NOT_MEASURED = 3
Before = Annotated[
    str,
    typer.Argument(
        help="A commit by any name, a folder with a checkout, a file of `hatchfarm bench --json`, or a run's folder.",
        envvar="HATCHFARM_COMPARE_BEFORE",
    ),
]
After = Annotated[
    str, typer.Argument(help="Another of the same kind, which came later.", envvar="HATCHFARM_COMPARE_AFTER")
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the comparison to this file.", envvar="HATCHFARM_COMPARE_JSON")
]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", help="Write it to this file as a page.", envvar="HATCHFARM_COMPARE_HTML")
]
JunitFile = Annotated[
    Path | None, typer.Option("--junit", help="Write it to this file as JUnit.", envvar="HATCHFARM_COMPARE_JUNIT")
]
FirstRounds = Annotated[
    int, typer.Option("--rounds", help="Rounds of two commits, at least.", envvar="HATCHFARM_COMPARE_ROUNDS", min=2)
]
MostRounds = Annotated[
    int,
    typer.Option(
        help="Rounds at most, where noise hides a change that must be seen; as many again confirm.",
        envvar="HATCHFARM_COMPARE_ROUNDS_MAX",
        min=2,
        max=100,
    ),
]
Seconds = Annotated[
    float, typer.Option(help="Length of a measurement.", envvar="HATCHFARM_COMPARE_SECONDS", min=0.2, max=60)
]
Ignored = Annotated[
    float,
    typer.Option(help="Changes below this share are none.", envvar="HATCHFARM_COMPARE_IGNORE", min=0, max=0.5),
]
Seen = Annotated[
    float,
    typer.Option(
        help="A change of this share must not be hidden by noise; else nothing can be told.",
        envvar="HATCHFARM_COMPARE_SEE",
        min=0.01,
        max=1,
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Where commits are unpacked and their environments made; in the user's cache by default.",
        envvar="HATCHFARM_COMPARE_CACHE",
    ),
]
OrderSeed = Annotated[
    int,
    typer.Option("--seed", help="Draws which commit is first in a round.", envvar="HATCHFARM_COMPARE_SEED", min=0),
]


def compare(
    before: Before,
    after: After,
    *,
    rounds: FirstRounds = 10,
    rounds_max: MostRounds = 40,
    seconds: Seconds = 1.0,
    ignore: Ignored = 0.02,
    see: Seen = 0.08,
    cache: Cache = None,
    seed: OrderSeed = 1,
    json: JsonFile = None,
    html: HtmlFile = None,
    junit: JunitFile = None,
) -> None:
    """Say what of two commits, two results of `bench`, or two runs is faster or slower, and the least it could see.

    Commits are measured here, in alternation and in fresh processes, and again where one looks slower.

    Exit codes: 0 nothing is slower, 1 something is, or a check fails that did not, 2 usage error, 3 it cannot be told.
    """
    from simulator.comparing.alternating import Rounds  # noqa: PLC0415 - slow to load, as is what follows
    from simulator.comparing.deciding import Tolerance  # noqa: PLC0415
    from simulator.comparing.outcome import encode  # noqa: PLC0415
    from simulator.comparing.page import comparison_page  # noqa: PLC0415
    from simulator.comparing.showing import junit as as_junit  # noqa: PLC0415
    from simulator.comparing.showing import show, summary_markdown  # noqa: PLC0415
    from simulator.errors import BundleError  # noqa: PLC0415
    from simulator.running.in_ci import add_to_summary  # noqa: PLC0415

    if rounds_max < rounds:
        fail("compare", f"--rounds {rounds} is above --rounds-max {rounds_max}")
    console = make_console()
    at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251 - when they were compared
    wanted = Rounds(first=rounds, most=rounds_max, tolerance=Tolerance(ignore, see))
    files = ((json, "--json", encode), (html, "--html", comparison_page), (junit, "--junit", as_junit))
    outputs = [(path, flag, make) for path, flag, make in files if path is not None]
    try:
        for path, flag, _ in outputs:
            see_file_writable(path, flag)  # before minutes of measuring, and not after them alone
        comparison = _stored(before, after, at, wanted.tolerance) or _measured(
            before, after, at, wanted, seconds, seed, cache, console
        )
    except (BundleError, OutputError) as error:
        fail("compare", str(error))
    show(comparison, console)
    add_to_summary(console, os.environ, summary_markdown(comparison))
    try:
        write_outputs((path, flag, make(comparison)) for path, flag, make in outputs)
    except OutputError as error:
        fail("compare", str(error))
    raise typer.Exit(comparison.exit_code)


def _stored(before: str, after: str, at: str, tolerance: Tolerance) -> Comparison | None:
    """Compare two results or two runs; None where neither is one. Raises BundleError."""
    from simulator.comparing.results import compare_results  # noqa: PLC0415 - as above
    from simulator.comparing.runs import compare_runs  # noqa: PLC0415 - as above
    from simulator.errors import BundleError  # noqa: PLC0415 - as above

    one, other = _kind(before), _kind(after)
    if one != other:
        raise BundleError(f"{before} is a {one}, {after} is a {other}: two of a kind are compared")
    if one == RESULT:
        return compare_results(Path(before), Path(after), at, tolerance)
    return compare_runs(_run(before), _run(after), at, tolerance) if one == RUN else None


def _kind(thing: str) -> str:
    from simulator.bundle.verify import VERDICT  # noqa: PLC0415 - as above

    path = Path(thing)
    if path.name == VERDICT or (path / VERDICT).is_file() or any(path.glob(f"*/{VERDICT}")):
        return RUN
    return RESULT if path.is_file() else COMMIT


def _run(thing: str) -> Run:
    from simulator.comparing.runs import read_run  # noqa: PLC0415 - as above

    return read_run(find_bundle(thing, RESULTS))


def _measured(
    before: str, after: str, at: str, rounds: Rounds, seconds: float, seed: int, cache: Path | None, console: Console
) -> Comparison:
    """Measure two commits of the checkout that this is started in."""
    from benchmarks.commits import compare_commits  # noqa: PLC0415 - as above
    from benchmarks.environments import checkout, default_cache  # noqa: PLC0415 - as above
    from benchmarks.measuring import BenchmarkError  # noqa: PLC0415 - as above

    def note(text: str) -> None:
        console.print(text, style="dim", markup=False)

    folder = cache or default_cache()
    try:
        versions = [checkout(one, Path.cwd(), folder, note) for one in (before, after)]
    except BenchmarkError as error:
        fail("compare", str(error))
    try:
        return compare_commits(versions[0], versions[1], seconds, rounds, seed, at, note)
    except BenchmarkError as error:
        fail("compare", str(error), NOT_MEASURED)
