"""What every form of the report says in the same words: the verdict in a sentence, findings, times and marks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.checkers.keeping import EXCHANGED
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.contract.profiles import Profile
from simulator.limits import EVIDENCE_SHOWN_MAX_CHARACTERS
from simulator.platform.wording import all_of, plural, sentence
from simulator.report.text import shortened

if TYPE_CHECKING:
    from simulator.judging.verdict_file import Advisory, RunVerdict

MARKS = {
    Status.PASS: "\N{HEAVY CHECK MARK}",
    Status.FAIL: "\N{HEAVY BALLOT X}",
    Status.INCONCLUSIVE: "?",
    Status.NOT_APPLICABLE: "\N{EN DASH}",
    Status.NOT_TRIED: "\N{EN DASH}",
}
ORDER = [Status.FAIL, Status.INCONCLUSIVE, Status.PASS, Status.NOT_TRIED, Status.NOT_APPLICABLE]
NOT_KNOWN_SHOWN = 5
"""Checks and thresholds that a verdict's line names as not known; the tables above it say why."""
NOT_TRIED_SHOWN = 5
"""Attacks that a verdict's line names as not tried; the attack matrix has all of them."""


def worst_first(verdicts: list[Verdict]) -> list[Verdict]:
    """Order verdicts: failures, what could not be known, passes, what had nothing to check."""
    return sorted(verdicts, key=lambda one: ORDER.index(one.status))


def headline(verdict: RunVerdict) -> str:
    """Return the verdict and its main reason in one sentence."""
    judged = worst_first([*verdict.checkers, *verdict.thresholds])
    first = judged[0] if judged else None
    if verdict.status is Status.PASS or first is None:
        checks, thresholds = _held(verdict.checkers), _held(verdict.thresholds)
        idle = len(judged) - checks - thresholds
        held = all_of(checks, "check")
        held += f" and {all_of(thresholds, 'threshold')}" if verdict.thresholds else ""
        return (
            f"{sentence(held)} held over {plural(verdict.requests.get('total', 0), 'request')}{_hostile(verdict)}"
            f"{f'; {idle} had nothing to check' if idle else ''}{untried_text(verdict)}.{profile_text(verdict)}"
        )
    if verdict.status is Status.FAIL:
        failed = sum(one.status is Status.FAIL for one in judged)
        asked = sum(one.status is not Status.NOT_APPLICABLE for one in judged)
        return (
            f"{failed} of {asked} checks and thresholds failed{untried_text(verdict)}. "
            f"{first.name}: {first.summary.rstrip('.')}."
        )
    if verdict.interrupted:
        return f"This run proves nothing either way. It was interrupted: {verdict.interrupted.rstrip('.')}."
    unknown = next((one for one in judged if one.status is Status.INCONCLUSIVE), first)
    return f"This run proves nothing either way. {unknown.name}: {unknown.summary.rstrip('.')}."


def _held(verdicts: list[Verdict]) -> int:
    return sum(one.status is Status.PASS for one in verdicts)


def untried_text(verdict: RunVerdict) -> str:
    """Count and name the attacks that were not tried, as the end of a sentence; nothing where all were."""
    names = [one.attack for one in verdict.attacks if one.status is Status.NOT_TRIED]
    if not names:
        return ""
    more = f" and {len(names) - NOT_TRIED_SHOWN} more" if len(names) > NOT_TRIED_SHOWN else ""
    return f"; {len(names)} not tried: {', '.join(names[:NOT_TRIED_SHOWN])}{more}"


def not_known(verdict: RunVerdict) -> list[Verdict]:
    """Return what made a verdict inconclusive, but for thresholds that only follow from a checker among it.

    Nothing where an interruption did.
    """
    if verdict.status is not Status.INCONCLUSIVE or verdict.interrupted:
        return []
    found = [*verdict.checkers, *(one for one in verdict.thresholds if not _followed(one, verdict.checkers))]
    return [one for one in found if one.status is Status.INCONCLUSIVE]


def not_known_text(verdict: RunVerdict) -> str:
    """Name what made a verdict inconclusive, as the end of a sentence; nothing of one that is not, or interrupted."""
    names = [one.name for one in not_known(verdict)]
    more = f" and {len(names) - NOT_KNOWN_SHOWN} more" if len(names) > NOT_KNOWN_SHOWN else ""
    return f": nobody could know of {', '.join(names[:NOT_KNOWN_SHOWN])}{more}" if names else ""


def summary_beside(threshold: Verdict, checkers: list[Verdict]) -> str:
    """Return a threshold's summary for a place where the checkers' stand as well, so that none is repeated."""
    followed = _followed(threshold, checkers)
    return threshold.summary.removesuffix(f": {followed.summary}") if followed else threshold.summary


def _followed(threshold: Verdict, checkers: list[Verdict]) -> Verdict | None:
    """Return the checker that keeps a threshold from saying anything, which its summary ends with."""
    ends = (one for one in checkers if one.status is threshold.status)
    return next((one for one in ends if threshold.summary.endswith(f"{one.name} is {one.status}: {one.summary}")), None)


def not_shown_text(verdict: Verdict, shown: int) -> str:
    """Return how many findings there are besides those shown, and where they are; nothing where there are none.

    Those that were too many to keep are counted all the same.
    """
    more = verdict.findings_total - min(shown, len(verdict.findings))
    if more <= 0:
        return ""
    if verdict.findings_total == len(verdict.findings):
        return f"and {more:,} more in verdict.json"
    listed = max(0, len(verdict.findings) - shown)
    return f"and {more:,} more, {listed:,} of them in verdict.json: the rest was too many to keep"


def profile_text(verdict: RunVerdict) -> str:
    """Return by which measure a run was judged, and how much went beyond it; nothing of one judged by the contract."""
    if verdict.profile == Profile.HARDENED:
        return ""
    count = len(verdict.advisories)
    return f" Judged by the {verdict.profile} profile: {count} advisor{'y' if count == 1 else 'ies'}."


def _hostile(verdict: RunVerdict) -> str:
    sent = sum(one.sent for one in verdict.attacks) or verdict.requests.get("attacks", 0)
    return f", {sent:,} of them hostile" if sent else ""


def moment_text(at_ns: int) -> str:
    """Write when something was, from the start of the run."""
    return f"{at_ns / SECOND_NS:.3f} s"


def exchange_texts(finding: Finding | Advisory) -> list[tuple[str, str]]:
    """Return the request and the answer a finding holds, where it does."""
    return [
        (name, shortened(value, EVIDENCE_SHOWN_MAX_CHARACTERS))
        for name in EXCHANGED
        if isinstance(value := finding.evidence.get(name), str)
    ]


def evidence_texts(finding: Finding | Advisory) -> list[tuple[str, str]]:
    """Return the rest of a finding's evidence as text."""
    rest = {name: value for name, value in finding.evidence.items() if name not in dict(exchange_texts(finding))}
    return [(name, value_text(value)) for name, value in rest.items()]


def value_text(value: Any) -> str:
    """Write a value for people: text and numbers as they are, anything else as JSON."""
    if isinstance(value, str):
        return shortened(value, EVIDENCE_SHOWN_MAX_CHARACTERS)
    if isinstance(value, float):
        return f"{value:.6g}"
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
    return shortened(text, EVIDENCE_SHOWN_MAX_CHARACTERS)


def figure_texts(verdict: Verdict) -> list[tuple[str, str]]:
    """Return a checker's measured numbers, those within others by their path."""
    found: list[tuple[str, str]] = []

    def walk(path: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(f"{path}.{name}" if path else str(name), inner)
        else:
            found.append((path, value_text(value)))

    walk("", verdict.figures)
    return found if verdict.figures else []


def readable(name: str, value: Any) -> tuple[str, str]:
    """Write a figure with its unit, which its name ends in, for a place where there is room for few."""
    words = name.replace("_", " ")
    if isinstance(value, float) and name.endswith("_s"):
        return words.removesuffix(" s"), f"{value * 1000:.1f} ms"
    if isinstance(value, float) and "share" in name:
        return words.replace(" share", ""), f"{value:.0%}"
    return words, f"{value:,}" if isinstance(value, int) else value_text(value)


def message_with_cause(finding: Finding | Advisory) -> str:
    """Return a finding's message, with what explains it or how many others it explains."""
    if not isinstance(finding, Finding):
        return finding.message
    if finding.follows_from:
        return f"{finding.message} (follows from {finding.follows_from})"
    if not finding.explains:
        return finding.message
    others = "1 other finding follows" if finding.explains == 1 else f"{finding.explains:,} other findings follow"
    return f"{finding.message} ({others} from this)"


def time_text(finding: Finding | Advisory) -> str:
    """Write when something was found, where the finding does not say it itself and it was at any moment."""
    return "" if not finding.at_ns or finding.message.startswith("at ") else moment_text(finding.at_ns)
