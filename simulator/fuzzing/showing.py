"""The output of a search: its progress, its result, and the result as JSON."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import msgspec
from rich.live import Live
from rich.markup import escape

from simulator.fuzzing.shrinking import size_of
from simulator.limits import FUZZ_UNDECIDED_MAX, FUZZ_UNDECIDED_SHOWN
from simulator.platform.program import NAME
from simulator.platform.wording import plural
from simulator.report.text import printed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from simulator.fuzzing.searching import Search

UNDECIDED_BY_SHOWN = 3
LINE_SECONDS, LIVE_SECONDS = 5.0, 0.2
FOUND, NOT_KNOWN = 1, 3


class ShownSearch:
    """The progress display of a search: in place on a terminal, a line every few seconds elsewhere."""

    def __init__(
        self, console: Console, state: Search, minutes: float | None = None, *, all_seeds: bool = True
    ) -> None:
        """Show progress as a share of `minutes` if given, and as a share of the seeds if `all_seeds` is true."""
        self.live = Live(console=console, auto_refresh=False, transient=True)
        self._console = console
        self._state = state
        self._minutes = minutes
        self._all_seeds = all_seeds
        self._began_at = self._shown_at = time.monotonic()
        self._looks = 0

    def look(self) -> None:
        """Show the progress, if enough time has passed since it was last shown."""
        self._looks += 1
        now = time.monotonic()
        terminal = self._console.is_terminal
        if now - self._shown_at < (LIVE_SECONDS if terminal else LINE_SECONDS):
            return
        self._shown_at = now
        line = self._line(now - self._began_at)
        if terminal:
            self.live.update(line, refresh=True)
        else:
            self._console.print(line, markup=False)

    def _line(self, seconds: float) -> str:
        state = self._state
        if state.failing:
            return (
                f"seed {state.failing[0]} failed: making it small, {plural(self._looks - state.played, 'run')} so far"
            )
        time_gone = f"{seconds:,.0f}s" if self._minutes is None else f"{seconds / 60:.1f} of {self._minutes:g} minutes"
        of_all = f"/{len(state.seeds):,}" if self._all_seeds else ""
        return "  ".join([
            time_gone,
            f"{state.played:,}{of_all} {'seed' if state.played == 1 and not of_all else 'seeds'}",
            f"{state.failed:,} failed",
            _undecided(state),
            f"{plural(len(state.coverage.states), 'state')}, {state.news:,} new in this round",
            f"{plural(state.coverage.faults, 'fault')} covered",
            plural(state.requests, "request"),
        ])  # fmt: skip


def _undecided(state: Search) -> str:
    """Return the number of undecided scenarios, and the checkers that were inconclusive most often."""
    by = ", ".join(f"{name} {count:,}" for name, count in state.undecided_by.most_common(UNDECIDED_BY_SHOWN))
    return f"{state.undecided:,} undecided" + (f" ({by})" if by else "")


def summary_of(state: Search, files: Sequence[Path]) -> dict[str, Any]:
    """Return the result of a search for its JSON output."""
    found = state.found
    return {
        "seeds": [state.seeds.start, state.seeds.stop - 1],
        "scenarios": state.played,
        "requests": state.requests,
        "states": dict(sorted(state.coverage.states.items())),
        "drawn": dict(sorted(state.coverage.drawn.items())),
        "failed": state.failed,
        "undecided": state.undecided,
        "undecided_by": dict(state.undecided_by.most_common()),
        "undecided_seeds": [{"seed": seed, "doubts": msgspec.to_builtins(doubts)} for seed, doubts in state.doubts],
        "interrupted": state.interrupted,
        "problem": state.problem,
        "failing_seeds": state.failing,
        "failure": None
        if found is None
        else {
            "seed": found.seed,
            "failures": msgspec.to_builtins(found.failures),
            "drawn": size_of(found.drawn),
            "smallest": size_of(found.smallest),
            "runs_to_shrink": found.tries,
            "files": [str(path) for path in files],
        },
        "exit_code": exit_code_of(state),
    }


def exit_code_of(state: Search) -> int:
    """Return 1 if a failure was found, 3 if the search was interrupted or every scenario was undecided, else 0."""
    if state.found is not None:
        return FOUND
    return NOT_KNOWN if state.interrupted or state.played == state.undecided else 0


def show_end(
    console: Console, state: Search, files: Sequence[Path], again: str = "--virtual", program: str = NAME
) -> None:
    """Print the result of a search, and the command that plays its scenario again: `program` with the flags `again`."""
    states = plural(len(state.coverage.states), "state")
    counts = f"{plural(state.played, 'scenario')}, {plural(state.requests, 'request')}, {states}"
    found = state.found
    if state.undecided:
        counts += f"; {_undecided(state)}"
    if state.problem:
        console.print(f"It could go no further: {state.problem}", markup=False)
    if found is None:
        end = "[yellow bold]INTERRUPTED[/]" if state.interrupted else "[green bold]NOTHING FOUND[/]"
        console.print(f"{end} {counts}")
        _show_undecided(console, state)
        return
    console.print(f"[red bold]FAILED[/] seed {found.seed}: {escape(printed(str(found.cause)))}")
    before, after = size_of(found.drawn), size_of(found.smallest)
    sizes = ", ".join(f"{name} {before[name]:g} to {after[name]:g}" for name in before if before[name] != after[name])
    console.print(f"Made small in {plural(found.tries, 'run')}: {sizes or 'it stays as it was drawn'}")
    more = [str(seed) for seed in state.failing if seed != found.seed]
    if more:
        console.print(f"Seeds of the same round that failed as well: {', '.join(more)}")
    for path in files:
        console.print(f"  {path}", markup=False)
    console.print(counts)
    _show_undecided(console, state)
    if files:
        console.print(f"Reproduce with: {program} run {shlex.quote(str(files[0]))} {again}", markup=False)


def _show_undecided(console: Console, state: Search) -> None:
    """Print the first few seeds whose scenarios are undecided, and why."""
    shown = state.doubts[:FUZZ_UNDECIDED_SHOWN]
    for seed, doubts in shown:
        why = "; ".join(f"{one.checker}: {one.why}" for one in doubts)
        console.print(f"  seed {seed} is undecided: {printed(why)}", markup=False)
    if state.undecided > len(shown):
        console.print(f"  and {state.undecided - len(shown):,} more: --json names the first {FUZZ_UNDECIDED_MAX}")
