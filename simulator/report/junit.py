"""`junit.xml`: a case for each check, threshold and attack campaign, for the test views of CI systems.

What could not be known is an `error`: CI systems show a skipped case as harmless and let it pass, but a run that proves
nothing must not look like one that passed, nor like a proven `failure`. What had nothing to check, and a campaign that
was not tried against this target, are `skipped`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from reference_server.wire.visible_text import visible
from simulator.checkers.verdict import Status, Verdict
from simulator.judging.campaigns import findings_of_campaigns
from simulator.report import wording
from simulator.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from simulator.checkers.verdict import Finding
    from simulator.judging.verdict_file import AttackSummary
    from simulator.report.report_input import ReportInput

CaseResult = tuple[str, str, str, str] | None
"""Element, type, message and text of what is wrong with a case; None for a pass."""


def junit_xml(report_input: ReportInput) -> bytes:
    """Write the file."""
    verdict = report_input.verdict
    root = ET.Element("testsuites", {"name": f"hatchfarm {one_line(verdict.scenario)}"})
    accusing = findings_of_campaigns(verdict.checkers)
    suites = {
        "checks": [(one.name, _of_verdict(one, "check")) for one in verdict.checkers],
        "thresholds": [(one.name, _of_verdict(one, "threshold")) for one in verdict.thresholds],
        "attacks": [
            (f"{one.attack} (campaign {one.campaign})", _of_attack(one, accusing.get(one.campaign, [])))
            for one in verdict.attacks
        ],
    }
    for name, cases in suites.items():
        if cases:
            _suite(root, report_input, name, cases)
    for count in ("tests", "failures", "errors", "skipped"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", f"{verdict.duration_s:.3f}")
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _suite(root: ET.Element, report_input: ReportInput, name: str, cases: list[tuple[str, CaseResult]]) -> None:
    verdict = report_input.verdict
    kinds = [outcome[0] for _, outcome in cases if outcome is not None]
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": f"{one_line(verdict.scenario)} {name}",
            "tests": str(len(cases)),
            "failures": str(kinds.count("failure")),
            "errors": str(kinds.count("error")),
            "skipped": str(kinds.count("skipped")),
            "time": f"{verdict.duration_s:.3f}",
            "timestamp": one_line(verdict.started_at),
        },
    )
    properties = ET.SubElement(suite, "properties")
    for key, value in (
        ("seed", str(verdict.seed)),
        ("target", verdict.target),
        ("profile", verdict.profile),
        ("reproduce", verdict.reproduce),
    ):
        ET.SubElement(properties, "property", {"name": key, "value": one_line(value)})
    for case, outcome in cases:
        element = ET.SubElement(
            suite,
            "testcase",
            {"classname": f"hatchfarm.{one_line(verdict.scenario)}.{name}", "name": one_line(case), "time": "0"},
        )
        if outcome is not None:
            kind, type_, message, text = outcome
            ET.SubElement(element, kind, {"type": type_, "message": one_line(message)}).text = visible(text)
        advised = [one for one in verdict.advisories if name == "checks" and one.checker == case]
        if advised:
            lines = [f"{wording.moment_text(one.at_ns)} {one.rule} ({one.basis}): {one.message}" for one in advised]
            text = "\n".join([f"beyond the {verdict.profile} profile, not failed:", *lines])
            ET.SubElement(element, "system-out").text = visible(text)


def _of_verdict(one: Verdict, type_: str) -> CaseResult:
    if one.status is Status.PASS:
        return None
    if one.status is Status.NOT_APPLICABLE:
        return "skipped", one.status.value, one.summary, one.summary
    lines = _lines(one.findings)
    if (lost := one.findings_total - len(one.findings)) > 0:
        lines.append(f"and {lost:,} more, which were too many to keep")
    kind = "failure" if one.status is Status.FAIL else "error"
    return kind, type_ if kind == "failure" else "inconclusive", one.summary, "\n".join([one.summary, *lines])


def _lines(findings: Sequence[Finding]) -> list[str]:
    return [f"{wording.moment_text(each.at_ns)} {each.rule}: {wording.message_with_cause(each)}" for each in findings]


def _of_attack(one: AttackSummary, findings: list[Finding]) -> CaseResult:
    text = (
        f"{one.sent:,} sent, {one.refused:,} refused, {one.accepted:,} accepted, {one.wrong:,} wrong, "
        f"{one.unjudged:,} unjudged"
    )
    message = f"{one.note}: {text}" if one.note else text
    if one.status is Status.FAIL:
        return "failure", "attack", message, "\n".join([message, *_lines(findings)])
    if one.status is Status.NOT_TRIED:
        return "skipped", one.status.value, one.note, message
    return None if one.status is Status.PASS else ("error", "inconclusive", message, message)
