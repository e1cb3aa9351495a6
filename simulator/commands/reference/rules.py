"""The page of the checkers and of the rules that findings name."""

from __future__ import annotations

from itertools import groupby

from simulator.checkers import CHECKERS
from simulator.commands.reference.markdown import code, page, prose, sentence, table
from simulator.judging.rules import known_rules, rule_of


def rules_page() -> str:
    """Return the page: each checker, and its rules with what a correct server does."""
    by_checker = {
        checker: [rule_of(identifier) for identifier in identifiers]
        for checker, identifiers in groupby(
            sorted(one for one in known_rules() if one.startswith("checker/")),
            key=lambda one: one.partition("/")[2].partition(".")[0],
        )
    }
    blocks = []
    for checker in [*CHECKERS, *sorted(by_checker.keys() - CHECKERS.keys())]:
        blocks.append(f"## Checker {checker}")
        if checker in CHECKERS:
            blocks.append(prose((CHECKERS[checker].__doc__ or "").partition("\n")[0]))
        rows = [
            (code(rule.id), prose(rule.summary), prose(rule.expected), f"{rule.severity:g}", rule.basis.value)
            for rule in by_checker.get(checker, [])
        ]
        heading = ("rule", "what broke it", "what a correct server does", "severity", "basis")
        blocks.append(
            table(heading, rows) if rows else prose(sentence("it has no rule: what it finds is never failed"))
        )
    return page(
        "Checkers and the rules of findings",
        "Each finding names the rule that was broken, by an id that never changes its meaning: in `verdict.json`, in "
        "`findings.sarif` and in the report. What each checker proves is told in "
        "[what a verdict means](../verdicts.md#the-checkers).",
        "`checker/NAME` are the rules below. `attack/NAME` is an [attack](attacks.md) that was not refused as it must "
        "be, with the attack's own severity, and `threshold/METRIC` a threshold of the scenario that was missed. "
        "Severities are from 0 to 10, as CVSS 3 has them. Rules that rest on `hardened` are advisories where a target "
        "is judged by the [published API](../verdicts.md#two-measures).",
        *blocks,
    )
