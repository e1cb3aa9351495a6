"""What every form of the report says in the same words: the verdict in a sentence, findings, times and marks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.limits import EVIDENCE_SHOWN_MAX_CHARACTERS
from simulator.report.text import shortened
from simulator.wording import all_of, plural, sentence

if TYPE_CHECKING:
    from simulator.report.verdict_file import RunVerdict

SECOND_NS = 1_000_000_000
MARKS = {Status.PASS: "\N{HEAVY CHECK MARK}", Status.FAIL: "\N{HEAVY BALLOT X}", Status.INCONCLUSIVE: "?"}
ORDER = [Status.FAIL, Status.INCONCLUSIVE, Status.PASS]
EXCHANGE = ("request", "answer")
"""Keys of a finding's evidence that hold the bytes that were exchanged, as text and without secrets."""


def worst_first(verdicts: list[Verdict]) -> list[Verdict]:
    """Order verdicts: failures, what could not be known, passes."""
    return sorted(verdicts, key=lambda one: ORDER.index(one.status))


def headline(verdict: RunVerdict) -> str:
    """Say the verdict and its main reason in one sentence."""
    judged = worst_first([*verdict.checkers, *verdict.thresholds])
    first = judged[0] if judged else None
    if verdict.status is Status.PASS or first is None:
        held = all_of(len(verdict.checkers), "check")
        held += f" and {all_of(len(verdict.thresholds), 'threshold')}" if verdict.thresholds else ""
        return f"{sentence(held)} held over {plural(verdict.requests.get('total', 0), 'request')}{_hostile(verdict)}."
    if verdict.status is Status.FAIL:
        failed = sum(one.status is Status.FAIL for one in judged)
        return f"{failed} of {len(judged)} checks and thresholds failed. {first.name}: {first.summary.rstrip('.')}."
    if verdict.interrupted:
        return f"This run proves nothing either way. It was interrupted: {verdict.interrupted.rstrip('.')}."
    unknown = next((one for one in judged if one.status is Status.INCONCLUSIVE), first)
    return f"This run proves nothing either way. {unknown.name}: {unknown.summary.rstrip('.')}."


def _hostile(verdict: RunVerdict) -> str:
    sent = sum(one.sent for one in verdict.attacks) or verdict.requests.get("attacks", 0)
    return f", {sent:,} of them hostile" if sent else ""


def moment(at_ns: int) -> str:
    """Write when something was, from the start of the run."""
    return f"{at_ns / SECOND_NS:.3f} s"


def exchanged(finding: Finding) -> list[tuple[str, str]]:
    """Give the request and the answer a finding holds, where it does."""
    return [
        (name, shortened(value, EVIDENCE_SHOWN_MAX_CHARACTERS))
        for name in EXCHANGE
        if isinstance(value := finding.evidence.get(name), str)
    ]


def evidence(finding: Finding) -> list[tuple[str, str]]:
    """Give the rest of a finding's evidence as text."""
    rest = {name: value for name, value in finding.evidence.items() if name not in dict(exchanged(finding))}
    return [(name, written(value)) for name, value in rest.items()]


def written(value: Any) -> str:
    """Write a value for people: text and numbers as they are, anything else as JSON."""
    if isinstance(value, str):
        return shortened(value, EVIDENCE_SHOWN_MAX_CHARACTERS)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
    return shortened(text, EVIDENCE_SHOWN_MAX_CHARACTERS)


def figures(verdict: Verdict) -> list[tuple[str, str]]:
    """Give a checker's measured numbers, those within others by their path."""
    found: list[tuple[str, str]] = []

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        else:
            found.append((path, written(value)))

    walk("", verdict.figures)
    return found if verdict.figures else []


def readable(name: str, value: Any) -> tuple[str, str]:
    """Write a figure with its unit, which its name ends in, for a place where there is room for few."""
    words = name.replace("_", " ")
    if isinstance(value, float) and name.endswith("_s"):
        return words.removesuffix(" s"), f"{value * 1000:.1f} ms"
    if isinstance(value, float) and "share" in name:
        return words.replace(" share", ""), f"{value:.0%}"
    return words, f"{value:,}" if isinstance(value, int) else written(value)


def when(finding: Finding) -> str:
    """Write when something was found, where the finding does not say it itself and it was at any moment."""
    return "" if not finding.at_ns or finding.message.startswith("at ") else moment(finding.at_ns)
