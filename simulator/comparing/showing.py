"""A comparison on a terminal, as Markdown and as JUnit."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from simulator.comparing import wording
from simulator.comparing.deciding import Says
from simulator.comparing.outcome import CANNOT_TELL, NO_SLOWER, SLOWER
from simulator.report.text import markdown, one_line, printed

if TYPE_CHECKING:
    from rich.console import Console

    from simulator.comparing.outcome import Comparison

COLOURS = {Says.FASTER: "green", Says.NO_DIFFERENCE: "green", Says.SLOWER: "red", Says.CANNOT_TELL: "yellow"}
CODE_COLOURS = {NO_SLOWER: "green", SLOWER: "red", CANNOT_TELL: "yellow"}


def show(comparison: Comparison, console: Console) -> None:
    """Print a table of the figures, the checks and findings that changed, and the summary."""
    console.print(f"{_shown(comparison.before)} -> {_shown(comparison.after)}")
    if comparison.lines:
        table = Table("", "figure", "before", "after", "change", "true change", "smallest seen", "rounds", box=None)
        for line in comparison.lines:
            found = line.decision
            table.add_row(
                f"[{COLOURS[found.says]}]{found.says.value}[/]",
                _shown(line.title + (f" ({line.why})" if line.why else "")),
                wording.value_text(line, line.before),
                wording.value_text(line, line.after),
                wording.change_text(found.change),
                wording.interval_text(found),
                wording.smallest_text(found),
                wording.rounds_text(line),
            )
        console.print(table)
        console.print(f"[dim]{wording.legend(comparison)}[/]")
    changed = [one for one in comparison.checks if one.before != one.after or one.unknown]
    if changed:
        table = Table("before", "after", "check", "what it says now", box=None)
        for one in changed:
            colour = "red bold" if one.worse else "yellow" if one.unknown else ""
            after = f"[{colour}]{one.after or 'not there'}[/]" if colour else one.after or "not there"
            table.add_row(one.before or "not there", after, _shown(one.name), _shown(one.note))
        console.print(table)
    for finding in comparison.findings:
        if finding.before != finding.after:
            counts = f"{finding.before:,} -> {finding.after:,}"
            console.print(f"{_shown(finding.rule)}: {counts} findings: {_shown(finding.message)}")
    for note in comparison.notes:
        console.print(f"[dim]note:[/] {_shown(note)}")
    if advice := wording.advice(comparison):
        console.print(advice, markup=False)
    colour = CODE_COLOURS[comparison.exit_code]
    console.print(f"[{colour} bold]{_shown(comparison.summary)}[/]")


def _shown(text: str) -> str:
    return escape(printed(text))


def summary_markdown(comparison: Comparison) -> bytes:
    """Return the summary and the figures as Markdown, for the summary page of a CI job."""
    lines = [f"## {markdown(comparison.before)} → {markdown(comparison.after)}", "", markdown(comparison.summary), ""]
    if comparison.lines:
        lines += [
            "| | figure | before | after | change | true change | smallest seen |",
            "|---|---|---:|---:|---:|---|---:|",
        ]
    for line in comparison.lines:
        found = line.decision
        cells = (
            found.says.value, line.title, wording.value_text(line, line.before), wording.value_text(line, line.after),
            wording.change_text(found.change), wording.interval_text(found), wording.smallest_text(found),
        )  # fmt: skip
        lines.append(f"| {' | '.join(map(markdown, cells))} |")
    for text in filter(None, (wording.legend(comparison), wording.advice(comparison))):
        lines += ["", markdown(text)]
    return "\n".join([*lines, ""]).encode()


def junit(comparison: Comparison) -> bytes:
    """Return JUnit XML with a case for each figure and check: slower or worse fails, cannot tell is an error."""
    suite = ET.Element("testsuite", {"name": "hatchfarm compare", "timestamp": one_line(comparison.compared_at)})
    counts = dict.fromkeys(("tests", "failures", "errors"), 0)

    def add(name: str, kind: str, message: str) -> None:
        counts["tests"] += 1
        case = ET.SubElement(suite, "testcase", {"classname": "hatchfarm.compare", "name": one_line(name), "time": "0"})
        if kind:
            counts[f"{kind}s"] += 1
            ET.SubElement(case, kind, {"type": "comparison", "message": one_line(message)})

    for line in comparison.lines:
        found = line.decision
        kind = {Says.SLOWER: "failure", Says.CANNOT_TELL: "error"}.get(found.says, "")
        change = f"{found.says}: {wording.change_text(found.change)} ({wording.interval_text(found)})"
        add(line.title, kind, f"{change}; {line.why}" if line.why else change)
    for one in comparison.checks:
        kind = "failure" if one.worse else "error" if one.unknown else ""
        add(one.name, kind, f"{one.before} before, {one.after} now: {one.note}")
    for name, count in counts.items():
        suite.set(name, str(count))
    root = ET.Element("testsuites", {name: str(count) for name, count in counts.items()})
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"
