"""Several scenarios in one call: each is a run with results of its own, and a table sums up their verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from rich.table import Table

from simulator.checkers.verdict import EXIT_CODES, Status
from simulator.errors import first_message
from simulator.platform.interruptions import signals_held
from simulator.platform.program import as_called
from simulator.platform.wording import plural
from simulator.running.terminal import COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from simulator.judging.verdict_file import RunVerdict
    from simulator.running.run import RunRequest

COULD_NOT_RUN = 2
WORLDS = "both worlds do not agree"
"""The problem shown for a cross-check whose live run passed, but whose virtual run disagrees."""
_ORDER = (EXIT_CODES[Status.FAIL], COULD_NOT_RUN, EXIT_CODES[Status.INCONCLUSIVE])


class Ran(msgspec.Struct):
    """The result of one scenario. Without a verdict the run did not begin, and `problem` says why."""

    request: RunRequest
    exit_code: int
    problem: str = ""
    verdict: RunVerdict | None = None
    folder: Path | None = None


def worst_code(codes: Sequence[int]) -> int:
    """Return the worst exit code: a proven failure, else a run that could not begin, else an inconclusive one."""
    return next((code for code in _ORDER if code in codes), max(codes, default=0))


def run_all(
    requests: Sequence[RunRequest],
    play: Callable[[RunRequest, Console], int],
    errors: tuple[type[Exception], ...],
    console: Console,
) -> int:
    """Play one request after the other, show the results of all, and return the worst exit code.

    If one cannot begin, the others are played all the same. A signal ends them all, at any moment; scenarios that were
    not run because of it count as inconclusive.
    """
    ran: list[Ran] = []
    with signals_held() as held:
        for request in requests:
            ran.append(_play(msgspec.structs.replace(request, held=held), play, errors, console))
            if held.number is not None:
                break
            console.print()
        console.print(_table(ran))
        left = requests[len(ran) :]
        for request in left:
            console.print(f"{request.scenario.name} was not run: {held.name} came before", markup=False)
    return worst_code([*(one.exit_code for one in ran), *(EXIT_CODES[Status.INCONCLUSIVE] for _ in left)])


def _play(
    request: RunRequest,
    play: Callable[[RunRequest, Console], int],
    errors: tuple[type[Exception], ...],
    console: Console,
) -> Ran:
    ran = Ran(request, COULD_NOT_RUN)

    def keep(verdict: RunVerdict, folder: Path) -> None:
        ran.verdict, ran.folder = verdict, folder

    try:
        ran.exit_code = play(msgspec.structs.replace(request, on_verdict=keep), console)
    except* errors as group:
        ran.problem = as_called(first_message(group))
        console.print(f"{request.scenario.name}: {ran.problem}", markup=False)
    return ran


def _table(ran: Sequence[Ran]) -> Table:
    """Return a table with one line for the result of each scenario."""
    table = Table("scenario", "verdict", "what did not hold", "results", box=None, padding=(0, 2, 0, 0))
    for one in ran:
        if one.verdict is None:
            table.add_row(escape(one.request.scenario.name), "[red]not run[/]", escape(one.problem), "")
            continue
        status = one.verdict.status
        shown = f"[{COLOURS[status]}]{status.value}[/]"
        where = "not written" if one.exit_code == COULD_NOT_RUN else str(one.folder)
        problems = _problems(one.verdict)
        if not problems and one.exit_code not in {COULD_NOT_RUN, one.verdict.exit_code}:
            problems = WORLDS
        table.add_row(escape(one.verdict.scenario), shown, escape(problems), escape(where))
    return table


def _problems(verdict: RunVerdict) -> str:
    """Return a short text that counts the checks, thresholds and campaigns that are a problem; empty for none."""
    parts = (("check", verdict.checkers), ("threshold", verdict.thresholds), ("campaign", verdict.attacks))
    named = [plural(sum(one.status.is_problem for one in found), noun) for noun, found in parts]
    wrong = [text for text in named if not text.startswith("0 ")]
    return ", ".join([*wrong, *(["interrupted"] if verdict.interrupted else [])])
