"""Output for GitHub Actions: the job's summary, and an annotation for each problem with a line in the scenario.

Text in it may come from a server: it is escaped, so that no line of it works as a workflow command.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.checkers.verdict import Status
from simulator.report.files import SUMMARY
from simulator.report.text import one_line
from simulator.scenario.source import is_file
from simulator.scenario.source_lines import line_at, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.console import Console

    from simulator.judging.verdict_file import RunVerdict
    from simulator.scenario.source_lines import Problem
    from simulator.scenario.values import Scenario

ANNOTATIONS_MAX = 10
"""The most annotations of one kind in a step: GitHub shows no more."""
SUMMARY_MAX_BYTES = 1 << 20
"""The longest summary of a step: GitHub refuses a longer one."""


def tell_ci(console: Console, environ: Mapping[str, str], annotations: Iterable[str], folder: Path) -> None:
    """Add a run's summary to the job's, and print annotations. Does nothing outside GitHub Actions."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return
    for line in annotations:
        console.print(line, markup=False)
    summary = folder / SUMMARY
    if summary.is_file():
        add_to_summary(console, environ, summary.read_bytes())


def add_to_summary(console: Console, environ: Mapping[str, str], text: bytes) -> None:
    """Add as much Markdown to the job's summary as fits; prints a warning if it cannot be written."""
    path = environ.get("GITHUB_STEP_SUMMARY") if environ.get("GITHUB_ACTIONS") == "true" else None
    if not path:
        return
    if len(text) > SUMMARY_MAX_BYTES:
        text = text[:SUMMARY_MAX_BYTES].rpartition(b"\n")[0] + b"\n"
    try:
        with Path(path).open("ab") as file:
            file.write(text)
    except OSError as error:
        problem = f"the summary could not be added to the job's ({error.strerror})"
        console.print(f"::warning::{_data(problem)}", markup=False)


def place_of(path: Path, environ: Mapping[str, str]) -> str:
    """Return the path of a file relative to the checkout, as annotations need it; empty for a file elsewhere."""
    if not is_file(path):
        return ""
    root = Path(environ.get("GITHUB_WORKSPACE") or ".")
    try:
        return Path(os.path.realpath(path)).relative_to(os.path.realpath(root)).as_posix()
    except ValueError:
        return ""


def annotations_of(verdict: RunVerdict, scenario: Scenario, file: str, text: str) -> Iterator[str]:
    """Yield an annotation for each failed or inconclusive threshold and campaign that has a line in the scenario."""
    if not file:
        return
    lines = lines_of(text)
    shown = dict.fromkeys(("error", "warning"), 0)
    for name, place, status, what in _placed(verdict, scenario):
        kind = {Status.FAIL: "error", Status.INCONCLUSIVE: "warning"}.get(status)
        line = line_at(lines, place)
        if kind is None or not line or shown[kind] == ANNOTATIONS_MAX:
            continue
        shown[kind] += 1
        yield annotation(kind, file, line, name, what)


def _placed(verdict: RunVerdict, scenario: Scenario) -> Iterator[tuple[str, str, Status, str]]:
    ending = {f"{one.metric}: {one.threshold}": number for number, one in enumerate(scenario.abort_on_fail)}
    for one in verdict.thresholds:
        metric, _, expression = one.name.partition(": ")
        asked = expression in scenario.thresholds.get(metric, ())
        place = f'thresholds."{metric}"' if asked else f"abort_on_fail[{ending.get(one.name)}].threshold"
        yield one.name, place, one.status, one.summary
    for attack in verdict.attacks:
        yield attack.attack, f"attacks[{attack.campaign - 1}]", attack.status, attack.note


def problems_of(problems: tuple[Problem, ...], path: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield an annotation for each problem of a scenario that has a line. Yields nothing outside GitHub Actions."""
    file = place_of(path, environ) if environ.get("GITHUB_ACTIONS") == "true" else ""
    if file:
        yield from (annotation("error", file, one.line, "scenario", one.what) for one in problems if one.line)


def annotation(kind: str, file: str, line: int, title: str, message: str) -> str:
    """Return the workflow command that marks a line of a file with a title and a message."""
    return f"::{kind} file={_property(file)},line={line},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return one_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
