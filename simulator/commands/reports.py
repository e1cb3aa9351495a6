"""`hatchfarm report` and `hatchfarm verify`: a stored run drawn anew, and judged anew. Neither needs a network."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from simulator.commands.failing import fail
from simulator.commands.options import RESULTS
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

GENUINE, CHANGED = 0, 1
DIGEST = re.compile("(sha256:)?[0-9a-fA-F]{64}")
LATEST = "latest"
ResultsFolder = Annotated[
    str,
    typer.Argument(
        help="A run's folder or its verdict.json, a scenario's folder for its newest run, or `latest` for the newest.",
        envvar="HATCHFARM_RESULTS",
    ),
]
Out = Annotated[Path, typer.Option(help="Where `latest` looks for results.", envvar="HATCHFARM_OUT")]


def find_bundle(results: str, out: Path) -> Path:
    """Find the run's folder that is meant. Raises BundleError."""
    from simulator.bundle.verify import VERDICT  # noqa: PLC0415 - as above
    from simulator.errors import BundleError  # noqa: PLC0415 - nothing loads that a command does not use

    path = Path(results)
    if results == LATEST and not path.exists():
        newest = _newest(out.glob(f"*/*/{VERDICT}"))
        if newest is None:
            raise BundleError(f"there are no results in {out}: give --out, or a run's folder")
        return newest
    if path.name == VERDICT and path.is_file():
        path = path.parent
    elif not (path / VERDICT).exists():
        path = _newest(path.glob(f"*/{VERDICT}")) or path
    if not path.is_dir():
        raise BundleError(f"{results} is no folder of results")
    return path.resolve()


def _newest(verdicts: Iterable[Path]) -> Path | None:
    """Return the folder of the run that began last, by what its verdict says: folders may be renamed, and copied."""
    import msgspec  # noqa: PLC0415 - as above

    from simulator.limits import BUNDLE_RECORD_MAX_BYTES  # noqa: PLC0415 - as above

    found: list[tuple[datetime, str, Path]] = []
    for verdict in verdicts:
        try:
            if verdict.stat().st_size <= BUNDLE_RECORD_MAX_BYTES:
                began = datetime.fromisoformat(msgspec.json.decode(verdict.read_bytes())["started_at"]).astimezone(UTC)
                folder = verdict.parent.resolve()  # a link's own name says nothing
                found.append((began, folder.name, folder))
        except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
            continue  # nobody's run
    return max(found)[2] if found else None


def report(
    results: ResultsFolder = LATEST,
    to: Annotated[
        Path | None,
        typer.Option(help="Write to this folder, and leave the results alone.", envvar="HATCHFARM_REPORT_TO"),
    ] = None,
    out: Out = RESULTS,
    compare: Annotated[
        str | None,
        typer.Option(
            help="An older run, named as the first: make a page that has both side by side, and no other file.",
            envvar="HATCHFARM_REPORT_COMPARE",
        ),
    ] = None,
    *,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.", envvar="HATCHFARM_REPORT_OPEN")
    ] = False,
) -> None:
    """Make report.html, junit.xml, findings.sarif, summary.md, gates.md and metrics.om anew from a stored run.

    The run's verdict and history are taken as they are, if they are what the manifest says. Exit codes: 0 made,
    1 some could not be made, 2 no run that can be read, or no browser for --open.
    """
    from simulator.bundle.rebuilding import rebuild  # noqa: PLC0415 - as above
    from simulator.errors import BundleError  # noqa: PLC0415 - as above
    from simulator.platform.console import make_console  # noqa: PLC0415 - as above
    from simulator.platform.output_files import OutputError, see_writable  # noqa: PLC0415 - as above
    from simulator.report.files import PAGE  # noqa: PLC0415 - as above
    from simulator.running.terminal import show_written  # noqa: PLC0415

    console = make_console()
    made, page_made = True, True
    try:
        folder = find_bundle(results, out)
        see_writable(to or (folder if compare is None else folder.parent), flag="--to")
        if compare is None:
            written = rebuild(folder, to)
            page, made, page_made = (to or folder) / PAGE, not written.warnings, not written.lacks(PAGE)
            show_written(console, to or folder, written)
        else:
            page = _compare(find_bundle(compare, out), folder, to)
            console.print(f"Comparison: {page}", markup=False)
    except (BundleError, OutputError, OSError) as error:
        _fail("report", error)
    if open_it and page_made:
        _open(page)
    raise typer.Exit(GENUINE if made else CHANGED)


def _compare(before: Path, after: Path, to: Path | None) -> Path:
    """Write both runs side by side, beside the newer one's folder or into another. Raises BundleError and OSError."""
    from simulator.bundle.writing import SCENARIO, read_scenario  # noqa: PLC0415 - as above
    from simulator.comparing.deciding import Tolerance  # noqa: PLC0415
    from simulator.comparing.page import comparison_page  # noqa: PLC0415
    from simulator.comparing.runs import compare_runs, read_run  # noqa: PLC0415
    from simulator.comparing.side_by_side import side_by_side  # noqa: PLC0415
    from simulator.platform.output_files import write_whole  # noqa: PLC0415
    from simulator.report.report_input import ReportInput  # noqa: PLC0415

    runs = [read_run(folder) for folder in (before, after)]
    at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251 - when they were compared
    sides = [
        ReportInput(run.verdict, run.record, run.history, read_scenario(folder / SCENARIO))
        for run, folder in zip(runs, (before, after), strict=True)
    ]
    page = comparison_page(compare_runs(runs[0], runs[1], at, Tolerance()), side_by_side(sides[0], sides[1]))
    target = to or after.parent
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{after.name}-against-{before.name}.html"
    write_whole(path, [page])
    return path


def _open(page: Path) -> None:
    """Open a page in the user's browser; where there is none, end with what to do."""
    import webbrowser  # noqa: PLC0415 - as above

    try:
        opened = webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        fail("report", f"no browser could be started: open {page} yourself, or name one in the variable BROWSER")


def verify(
    results: ResultsFolder = LATEST,
    digest: Annotated[
        str | None,
        typer.Option(help="The bundle's digest, as the run's last lines gave it.", envvar="HATCHFARM_DIGEST"),
    ] = None,
    out: Out = RESULTS,
) -> None:
    """Judge a stored run anew, offline, and say whether anything in its folder was altered.

    Exit codes: 0 genuine and the same verdict, 1 altered or another verdict, 2 nothing that can be verified. Without
    --digest a bundle proves only that it agrees with itself.
    """
    from rich.markup import escape  # noqa: PLC0415 - as above

    from simulator.bundle.verify import verify_bundle  # noqa: PLC0415 - as above
    from simulator.errors import BundleError  # noqa: PLC0415 - as above
    from simulator.platform.console import make_console  # noqa: PLC0415 - as above
    from simulator.platform.machine_facts import machine_facts  # noqa: PLC0415 - as above
    from simulator.report.text import printed  # noqa: PLC0415 - as above

    if digest is not None and DIGEST.fullmatch(digest) is None:
        fail("verify", "--digest is no digest: give all of what follows `Bundle: `, sha256: and 64 hexadecimal digits")
    try:
        folder = find_bundle(results, out)
        found = verify_bundle(folder, digest)
    except BundleError as error:
        _fail("verify", error)
    console = make_console()
    for problem in found.altered:
        console.print(f"[red bold]ALTERED[/] {escape(printed(problem))}")
    for problem in found.differs:
        console.print(f"[red bold]DIFFERS[/] {escape(printed(problem))}")
    console.print(f"{folder}: {plural(found.files, 'file')}, {found.digest}", markup=False)
    if not found.genuine:
        console.print("[red bold]NOT GENUINE[/]" if found.altered else "[red bold]ANOTHER VERDICT[/]")
        here = machine_facts().commit
        if not found.altered and found.commit not in ("", here):
            hint = f"It was judged by commit {found.commit}, and this is {here or 'of none'}: verify it by that one."
            console.print(printed(hint), markup=False)
        raise typer.Exit(CHANGED)
    console.print(f"[green bold]GENUINE[/] judged anew it is {found.status} again")
    if digest is None:
        console.print("Compare the digest with the line `Bundle: …` that the run printed, or give it as --digest.")


def _fail(command: str, error: Exception) -> NoReturn:
    from simulator.report.text import one_line  # noqa: PLC0415 - as above

    fail(command, one_line(str(error)))
