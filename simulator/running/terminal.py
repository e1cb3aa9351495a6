"""What a run shows people: progress while it goes on, and the verdict at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Status, Verdict
from simulator.platform.wording import plural
from simulator.report import wording
from simulator.report.text import printed

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.judging.verdict_file import RunVerdict
    from simulator.report.files import WriteResult
    from simulator.worlds.progress import Progress

LIVE_SECONDS = 0.5
PLAIN_SECONDS = 5.0
COLOURS = {
    Status.PASS: "green",
    Status.FAIL: "red",
    Status.INCONCLUSIVE: "yellow",
    Status.NOT_APPLICABLE: "dim",
    Status.NOT_TRIED: "dim",
}
FINDINGS_SHOWN = 3
ADVISORIES_SHOWN = 12


class _Rates:
    """Turns counters into rates since the last look."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._at = trio.current_time()
        self._accepted = 0
        self.per_second = 0.0
        self.p50_ms = self.p99_ms = "-"

    def look(self) -> None:
        progress, now = self._progress, trio.current_time()
        if now > self._at:
            self.per_second = (progress.accepted - self._accepted) / (now - self._at)
        self._at, self._accepted = now, progress.accepted
        latencies = progress.take_latencies_ns()
        if latencies:
            self.p50_ms, self.p99_ms = (f"{one:.1f} ms" for one in np.percentile(np.array(latencies) / 1e6, [50, 99]))


def _alerts(progress: Progress) -> str:
    on = [name for name, shown in (("stale", progress.stale_alert), ("auth", progress.auth_alert)) if shown]
    return "+".join(on) if on else "none"


def _plain_line(progress: Progress, rates: _Rates, duration_ns: int) -> str:
    return (
        f"{progress.elapsed_ns / SECOND_NS:5.0f}s/{duration_ns / SECOND_NS:.0f}s {progress.phase:<8} "
        f"machines {progress.connected:,}/{progress.machines_wanted:,}  {rates.per_second:,.0f}/s accepted  "
        f"p50 {rates.p50_ms}  p99 {rates.p99_ms}  refused {progress.refused:,}  lost {progress.lost:,}  "
        f"attacks {progress.attacks_refused:,} refused, {progress.attacks_accepted:,} accepted  "
        f"alerts {_alerts(progress)}{_market_text(progress)}"
    )


def _market_text(progress: Progress) -> str:
    """Return what agents have done so far; nothing where there are none."""
    if not (progress.jobs_posted or progress.withdrawals_asked):
        return ""
    return (
        f"  jobs {progress.jobs_posted:,} posted, {progress.jobs_ended:,} seen to end  "
        f"withdrawals {progress.withdrawals_asked:,} asked for, {progress.withdrawals_settled:,} seen to settle"
    )


def _live_view(progress: Progress, rates: _Rates, duration_ns: int, title: str) -> Group:
    table = Table.grid(padding=(0, 3))
    accepted_style = "red bold" if progress.attacks_accepted else "green"
    hostile = f"{progress.attacks_refused:,} refused, {progress.attacks_accepted:,} accepted"
    alert = _alerts(progress)
    alert_style = "dim" if alert == "none" else "yellow bold"
    for left, right in (
        (f"phase [bold]{progress.phase}[/]", f"machines [bold]{progress.connected:,}[/]/{progress.machines_wanted:,}"),
        (f"rate [bold]{rates.per_second:,.0f}[/]/s", f"response p50 {rates.p50_ms}  p99 {rates.p99_ms}"),
        (f"accepted {progress.accepted:,}", f"refused {progress.refused:,}  lost {progress.lost:,}"),
        (
            f"attacks [{accepted_style}]{hostile}[/]",
            f"alerts [{alert_style}]{alert}[/]",
        ),
    ):
        table.add_row(left, right)
    if market := _market_text(progress).strip():
        table.add_row(*market.split("  "))
    bar = ProgressBar(total=duration_ns, completed=min(progress.elapsed_ns, duration_ns), width=60)
    time = Text(f" {progress.elapsed_ns / SECOND_NS:.0f}s of {duration_ns / SECOND_NS:.0f}s", style="dim")
    clock = Table.grid()
    clock.add_row(bar, time)
    problem = Text(printed(progress.last_problem), style="yellow") if progress.last_problem else Text("")
    return Group(Text(title, style="bold"), table, clock, problem)


async def show_progress(console: Console, progress: Progress, duration_ns: int, title: str) -> None:
    """Show a run until cancelled: in place on a terminal, a line every few seconds elsewhere."""
    rates = _Rates(progress)
    if not console.is_terminal:
        while True:
            await trio.sleep(PLAIN_SECONDS)
            rates.look()
            console.print(_plain_line(progress, rates, duration_ns), markup=False)
    with Live(_live_view(progress, rates, duration_ns, title), console=console, auto_refresh=False) as live:
        while True:
            await trio.sleep(LIVE_SECONDS)
            rates.look()
            live.update(_live_view(progress, rates, duration_ns, title), refresh=True)


def _shown(text: str) -> str:
    """Make a text that a server may have chosen safe: for Rich's markup, and for the terminal itself."""
    return escape(printed(text))


def _rows(table: Table, verdicts: list[Verdict]) -> None:
    table.add_column()
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for verdict in wording.worst_first(verdicts):
        colour = COLOURS[verdict.status]
        table.add_row(f"[{colour}]{verdict.status.value}[/]", _shown(verdict.name), _shown(verdict.summary))


def _show_advisories(console: Console, verdict: RunVerdict) -> None:
    if verdict.advisories:
        console.print(f"[cyan bold]ADVISORIES[/] beyond the {verdict.profile} profile, not failed")
        for advisory in verdict.advisories[:ADVISORIES_SHOWN]:
            console.print(f"  - {_shown(advisory.rule)} ({advisory.basis}): {_shown(advisory.message)}")
        if len(verdict.advisories) > ADVISORIES_SHOWN:
            console.print(f"  - and {len(verdict.advisories) - ADVISORIES_SHOWN} more in verdict.json")


def show_verdict(console: Console, verdict: RunVerdict) -> None:
    """Print the verdict: what failed and why first, then the rest."""
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
            _rows(table, verdicts)
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
    if verdict.interrupted:
        console.print(f"[yellow]Interrupted:[/] {_shown(verdict.interrupted)}")
    colour = COLOURS[verdict.status]
    untried, profile_note = _shown(wording.untried_text(verdict)), wording.profile_text(verdict)
    more = f"{untried}{profile_note and f'.{profile_note}'}"
    console.print(f"[{colour} bold]{verdict.status.value.upper()}[/] {_shown(verdict.scenario)}{more}")


def show_written(console: Console, folder: Path, written: WriteResult) -> None:
    """Print where the results are, and by which digest they can be told from others."""
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
