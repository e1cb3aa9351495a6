"""The terminal output at the end of a run: verdict and place of the results. `simulator/view` shows a running one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from simulator.checkers.verdict import Status, Verdict
from simulator.platform.wording import plural
from simulator.report import wording
from simulator.report.text import printed

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from simulator.judging.verdict_file import RunVerdict
    from simulator.report.files import WriteResult

COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.INCONCLUSIVE: "yellow",
    Status.NOT_APPLICABLE: "dim",
    Status.NOT_TRIED: "dim",
}
FINDINGS_SHOWN = 3
ADVISORIES_SHOWN = 12


def _shown(text: str) -> str:
    """Return `text`, which a server may have chosen, escaped for Rich's markup and for the terminal itself."""
    return escape(printed(text))


def _rows(table: Table, verdicts: list[Verdict], checkers: list[Verdict]) -> None:
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for verdict in wording.worst_first(verdicts):
        colour = COLOURS[verdict.status]
        summary = wording.summary_beside(verdict, checkers)
        table.add_row(f"[{colour}]{verdict.status.value}[/]", _shown(verdict.name), _shown(summary))


def _show_advisories(console: Console, verdict: RunVerdict) -> None:
    if verdict.advisories:
        console.print(f"[cyan bold]ADVISORIES[/] beyond the {verdict.profile} profile, not failed")
        for advisory in verdict.advisories[:ADVISORIES_SHOWN]:
            console.print(f"  - {_shown(advisory.rule)} ({advisory.basis}): {_shown(advisory.message)}")
        if len(verdict.advisories) > ADVISORIES_SHOWN:
            console.print(f"  - and {len(verdict.advisories) - ADVISORIES_SHOWN} more in verdict.json")


def show_verdict(console: Console, verdict: RunVerdict) -> None:
    """Print the verdict: first what failed and why, then the rest."""
    console.print()
    for one in [*verdict.checkers, *verdict.thresholds]:
        if one.status is Status.FAIL:
            console.print(f"[red bold]FAILED[/] {_shown(one.name)}: {_shown(one.summary)}")
            for finding in one.findings[:FINDINGS_SHOWN]:
                console.print(f"  - {_shown(wording.message_with_cause(finding))}")
            if more := wording.not_shown_text(one, FINDINGS_SHOWN):
                console.print(f"  - {more}")
    _show_advisories(console, verdict)
    for title, verdicts in (("Checkers", verdict.checkers), ("Thresholds", verdict.thresholds)):
        if verdicts:
            table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), show_header=False)
            _rows(table, verdicts, verdict.checkers)
            console.print(table)
    counts = verdict.requests
    latency = verdict.latency_s
    if latency.get("p50") is not None and latency.get("p99") is not None:
        console.print(
            f"{plural(counts['total'], 'request')}, {plural(counts['heartbeats_accepted'], 'heartbeat')} accepted, "
            f"{counts['attacks']:,} hostile, {counts['lost']:,} lost; response time "
            f"p50 {(latency['p50'] or 0) * 1000:.1f} ms, p99 {(latency['p99'] or 0) * 1000:.1f} ms",
        )
    for warning in verdict.warnings:
        console.print(f"[yellow]warning:[/] {_shown(warning)}")
    for one in wording.not_known(verdict)[:FINDINGS_SHOWN]:
        console.print(f"[yellow bold]NOT KNOWN[/] {_shown(one.name)}: {_shown(one.summary)}")
    if verdict.interrupted:
        console.print(f"[yellow]Interrupted:[/] {_shown(verdict.interrupted)}")
    colour = COLOURS[verdict.status]
    untried, profile_note = _shown(wording.untried_text(verdict)), wording.profile_text(verdict)
    more = f"{_shown(wording.not_known_text(verdict))}{untried}{profile_note and f'.{profile_note}'}"
    console.print(f"[{colour} bold]{verdict.status.value.upper()}[/] {_shown(verdict.scenario)}{more}")


def show_written(console: Console, folder: Path, written: WriteResult) -> None:
    """Print where the results are, and the digest of the bundle."""
    for warning in written.warnings:
        console.print(f"[yellow]warning:[/] {_shown(warning)}")
    if written.note:
        console.print(written.note, markup=False)
    console.print(f"Results: {folder}", markup=False)
    report = folder / "report.html"
    if report.exists():
        console.print(f"Report: {report}", markup=False)
    if written.digest is not None:
        console.print(f"Bundle: {written.digest}", markup=False)
