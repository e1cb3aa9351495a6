"""`findings.sarif`: what failed, as SARIF 2.1.0, for viewers of security findings.

Proven failures are results, and so, as notes, are advisories. What could not be known is a notification of the
invocation: it is about the tool's run, and viewers would show it as a weakness of the server.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from reference_server.wire.units import SECOND_NS
from reference_server.wire.visible_text import visible
from simulator.checkers.verdict import Finding, Status
from simulator.judging.rules import known_rules, rule_id, rule_of
from simulator.report import wording

if TYPE_CHECKING:
    from simulator.judging.verdict_file import Advisory
    from simulator.report.report_input import ReportInput

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
EXIT_CODES = {
    0: "everything held",
    1: "a check or threshold failed",
    3: "the harness could not know",
}


def sarif_log(report_input: ReportInput) -> bytes:
    """Write the log."""
    verdict = report_input.verdict
    judged = [*verdict.checkers, *verdict.thresholds]
    found = [
        (rule_id(finding, report_input.attack_names), one, finding)
        for one in judged
        if one.status is Status.FAIL
        for finding in one.findings or (Finding(f"{one.name}.failed", one.summary, 0),)
    ]
    advised = [one.rule for one in verdict.advisories]
    identifiers = list(dict.fromkeys([*known_rules(), *(identifier for identifier, _, _ in found), *advised]))
    places = {identifier: place for place, identifier in enumerate(identifiers)}
    run = {
        "tool": {
            "driver": {
                "name": "HatchFarm Harness",
                "semanticVersion": version("hatchfarm-harness"),
                "rules": [_rule(identifier) for identifier in identifiers],
            },
        },
        "automationDetails": {"id": f"hatchfarm/{verdict.scenario}/"},
        "invocations": [_invocation(report_input)],
        "results": [
            *(
                _result(report_input, identifier, places[identifier], one.name, finding)
                for identifier, one, finding in found
            ),
            *(_advisory(report_input, places[one.rule], one) for one in verdict.advisories),
        ],
        "columnKind": "unicodeCodePoints",
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(_clean(log), ensure_ascii=False, indent=2, allow_nan=False).encode() + b"\n"


def _rule(identifier: str) -> dict[str, Any]:
    rule = rule_of(identifier)
    return {
        "id": identifier,
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.expected},
        "help": {"text": f"{rule.summary}. A correct server: {rule.expected}"},
        "defaultConfiguration": {"level": rule.level},
        "properties": {
            "security-severity": f"{rule.severity:.1f}",
            "basis": rule.basis,
            "tags": [] if identifier.startswith("threshold/") else ["security"],
        },
    }


def _advisory(report_input: ReportInput, place: int, one: Advisory) -> dict[str, Any]:
    """Write what goes beyond the run's profile: a note, whatever its rule's level is."""
    finding = Finding(one.finding, one.message, one.at_ns, one.evidence)
    result = _result(report_input, one.rule, place, one.checker, finding)
    properties = {**result["properties"], "advisory": True, "basis": one.basis, "profile": report_input.verdict.profile}
    return {**result, "level": "note", "properties": properties}


def _result(report_input: ReportInput, identifier: str, place: int, checker: str, finding: Finding) -> dict[str, Any]:
    scenario = report_input.verdict.scenario
    same = hashlib.sha256(f"{scenario}\n{identifier}\n{_what(finding)}".encode("utf-8", "replace")).hexdigest()
    return {
        "ruleId": identifier,
        "ruleIndex": place,
        "level": rule_of(identifier).level,
        "message": {"text": finding.message},
        "locations": [_location(report_input, identifier)],
        "partialFingerprints": {"hatchfarmFinding/v1": same},
        "properties": {
            "checker": checker,
            "rule": finding.rule,
            "atSeconds": finding.at_ns / SECOND_NS,
            **({"followsFrom": finding.follows_from} if finding.follows_from else {}),
            "evidence": dict([*wording.exchange_texts(finding), *wording.evidence_texts(finding)]),
        },
    }


def _what(finding: Finding) -> str:
    """Name what is broken, without anything that differs from run to run."""
    return str(finding.evidence.get("metric", finding.rule))


def _location(report_input: ReportInput, identifier: str) -> dict[str, Any]:
    """Point to the line of the scenario that asked for it: viewers want a place in a file."""
    kind, _, name = identifier.partition("/")
    wanted = {"attack": f'name = "{name}"', "threshold": f'"{name}"'}.get(kind, "name =")
    lines = report_input.scenario_text.split("\n")
    line = next((number for number, text in enumerate(lines, 1) if text.strip().startswith(wanted)), 1)
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": _address(report_input.record.scenario_file), "uriBaseId": "%SRCROOT%"},
            "region": {"startLine": line},
        },
    }


def _address(path: str) -> str:
    """Write a scenario's path as a relative address; of one from elsewhere only the name, for it means nothing here."""
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts:
        parts = (PurePosixPath(path).name or "scenario.toml",)
    return quote("/".join(parts), errors="replace")


def _invocation(report_input: ReportInput) -> dict[str, Any]:
    verdict = report_input.verdict
    judged = [*verdict.checkers, *verdict.thresholds]
    notes = [("warning", "inconclusive", one.name, one.summary) for one in judged if one.status is Status.INCONCLUSIVE]
    notes += [("note", "n/a", one.name, one.summary) for one in judged if one.status is Status.NOT_APPLICABLE]
    notes += [("note", "not-tried", one.attack, one.note) for one in verdict.attacks if one.status is Status.NOT_TRIED]
    notes += [
        ("note", "not-kept", one.name, f"{one.findings_total - len(one.findings)} findings were too many to keep")
        for one in judged
        if one.findings_total > len(one.findings)
    ]
    invocation = {
        "commandLine": verdict.reproduce,
        "exitCode": verdict.exit_code,
        "exitCodeDescription": EXIT_CODES.get(verdict.exit_code, "unknown"),
        "executionSuccessful": verdict.status is not Status.INCONCLUSIVE,
        "toolExecutionNotifications": [
            {"level": level, "descriptor": {"id": f"{kind}/{name}"}, "message": {"text": text}}
            for level, kind, name, text in notes
        ],
        "properties": {"seed": verdict.seed, "target": verdict.target, "profile": verdict.profile},
    }
    started = _moment(verdict.started_at)
    if started is not None:
        invocation["startTimeUtc"] = _utc(started)
        invocation["endTimeUtc"] = _utc(started + timedelta(seconds=verdict.duration_s))
    return invocation


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _clean(value: Any) -> Any:
    """Make every text in a log visible: viewers need not be ready for what servers say."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(name)): _clean(inner) for name, inner in value.items()}
    return [_clean(inner) for inner in value] if isinstance(value, list) else value
