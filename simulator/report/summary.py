"""`summary.md`: the verdict for the summary page of a CI job, short, with the evidence folded away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.checkers.verdict import Status, Verdict
from simulator.platform.wording import plural
from simulator.report import wording
from simulator.report.text import markdown, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.report.report_input import ReportInput

MARKS = {
    Status.PASS: "\N{WHITE HEAVY CHECK MARK}",
    Status.FAIL: "\N{CROSS MARK}",
    Status.INCONCLUSIVE: "\N{BLACK QUESTION MARK ORNAMENT}",
    Status.NOT_APPLICABLE: "\N{EN DASH}",
    Status.NOT_TRIED: "\N{EN DASH}",
}
FINDINGS_SHOWN = 5


def summary_markdown(report_input: ReportInput) -> bytes:
    """Write the file."""
    return ("\n".join(_lines(report_input)) + "\n").encode()


def _lines(report_input: ReportInput) -> Iterator[str]:
    verdict = report_input.verdict
    yield f"## {MARKS[verdict.status]} {verdict.status.value.upper()}: {markdown(verdict.scenario)}"
    yield f"\n{markdown(wording.headline(verdict))}\n"
    p50, p99 = verdict.latency_s.get("p50"), verdict.latency_s.get("p99")
    latency = "" if p50 is None or p99 is None else f", response time p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms"
    yield (
        f"{plural(report_input.record.machines, 'machine')} against {markdown(verdict.target)} "
        f"for {verdict.duration_s:.0f} s, seed {verdict.seed}{latency}.\n"
    )
    for warning in verdict.warnings:
        yield f"> Beware: {markdown(warning)}\n"
    judged = wording.worst_first([*verdict.checkers, *verdict.thresholds])
    for one in judged:
        if one.status.is_problem:
            yield from _why(one)
    if verdict.advisories:
        yield f"**Advisories**, beyond the {verdict.profile} profile and not failed:\n"
        for advisory in verdict.advisories[:FINDINGS_SHOWN]:
            yield f"- {markdown(advisory.rule)} ({advisory.basis}): {markdown(advisory.message)}"
        if len(verdict.advisories) > FINDINGS_SHOWN:
            yield f"- and {len(verdict.advisories) - FINDINGS_SHOWN} more in report.html"
        yield ""
    yield "| | check or threshold | found |"
    yield "|---|---|---|"
    for one in judged:
        yield f"| {MARKS[one.status]} {one.status.value} | {markdown(one.name)} | {markdown(one.summary)} |"
    if verdict.attacks:
        yield f"\n<details><summary>Attacks ({plural(len(verdict.attacks), 'campaign')})</summary>\n"
        yield "| | attack | sent | refused | accepted | wrong | unjudged | |"
        yield "|---|---|---:|---:|---:|---:|---:|---|"
        for attack in verdict.attacks:
            counts = (attack.sent, attack.refused, attack.accepted, attack.wrong, attack.unjudged)
            yield (
                f"| {MARKS[attack.status]} {attack.status.value} | {markdown(attack.attack)} | "
                f"{' | '.join(f'{count:,}' for count in counts)} | {markdown(attack.note)} |"
            )
        yield "\n</details>"
    yield f"\nReproduce with:\n\n```sh\n{one_line(verdict.reproduce).replace('```', '` ` `')}\n```"


def _why(one: Verdict) -> Iterator[str]:
    yield f"**{one.status.value} {markdown(one.name)}**: {markdown(one.summary)}\n"
    for finding in one.findings[:FINDINGS_SHOWN]:
        at = wording.time_text(finding)
        yield f"- {markdown(wording.message_with_cause(finding))}{f' (at {at})' if at else ''}"
    if more := wording.not_shown_text(one, FINDINGS_SHOWN):
        yield f"- {more}"
    if one.findings:
        yield ""
