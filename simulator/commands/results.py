"""`hatchfarm results`: the stored runs, newest first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.commands.options import RESULTS
from simulator.limits import RESULTS_READ_MAX, RESULTS_SHOWN
from simulator.platform.program import as_called

Out = Annotated[Path, typer.Option(help="The folder of results.", envvar="HATCHFARM_OUT")]
Limit = Annotated[
    int,
    typer.Option(help="List so many of the newest.", envvar="HATCHFARM_RESULTS_LIMIT", min=1, max=RESULTS_READ_MAX),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print them as JSON.", envvar="HATCHFARM_RESULTS_JSON")]
COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def results(out: Out = RESULTS, limit: Limit = RESULTS_SHOWN, *, as_json: AsJson = False) -> None:
    """List stored runs, newest first: when, scenario, verdict, accepted heartbeats a second, p99, and the folder."""
    import msgspec  # noqa: PLC0415 - slow to load, as is what follows
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from simulator.bundle.listing import list_results  # noqa: PLC0415
    from simulator.platform.console import make_console  # noqa: PLC0415
    from simulator.platform.wording import plural  # noqa: PLC0415
    from simulator.report.text import one_line, printed  # noqa: PLC0415

    found = list_results(out)
    shown = found.lines[:limit]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())
        return
    console = make_console()
    if not shown:
        text = as_called("`hatchfarm run` makes some")
        console.print(f"There are no results in {one_line(str(out))}: {text}.", markup=False)
    else:
        table = Table("when (UTC)", "scenario", "verdict", "rate", "p99", "path", box=None, padding=(0, 2, 0, 0))
        for one in shown:
            colour = COLOURS.get(one.verdict, "")
            table.add_row(
                one.started_at[:19].replace("T", " "),
                escape(printed(one.scenario)),
                f"[{colour}]{one.verdict}[/]" if colour else escape(printed(one.verdict)),
                "-" if one.rate is None else f"{one.rate:,.0f}/s",
                "-" if one.p99_ms is None else f"{one.p99_ms:,.1f} ms",
                escape(printed(one.path)),
            )
        console.print(table)
    more = len(found.lines) - len(shown) + found.left_out
    if more:
        console.print(f"and {more:,} older: --limit shows more", markup=False)
    if found.unreadable:
        console.print(f"{plural(found.unreadable, 'folder')} with a verdict that cannot be read", markup=False)
