"""What a checker says, and how verdicts combine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """PASS: held. FAIL: proven wrong. INCONCLUSIVE: the harness could not know.

    NOT_APPLICABLE: there was nothing to check. NOT_TRIED, of attacks alone: it cannot be tried on this target. Neither
    of the two is counted among what held, and neither changes a run's status.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "n/a"
    NOT_TRIED = "not tried"

    @property
    def is_problem(self) -> bool:
        """Return whether it keeps a run from passing."""
        return self in {Status.FAIL, Status.INCONCLUSIVE}


EXIT_CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3}
"""A run's exit code by its worst verdict; 2 is a usage, scenario or reachability error."""


class Finding(msgspec.Struct, frozen=True):
    """One piece of evidence: what was seen, against what was possible. `at_ns` counts from the start of the run.

    `follows_from` names the finding that explains this one by its rule and moment; it is empty for one that stands by
    itself. `explains` is how many findings follow from this one.
    """

    rule: str
    message: str
    at_ns: int
    evidence: dict[str, Any] = {}
    follows_from: str = ""
    explains: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """A checker's or threshold's answer. `summary` is one sentence for people; `figures` are its measured numbers.

    `found` is how many findings there are in all, those among them that were too many to keep. `doubt` says what a
    failed one could not know besides: what it would be inconclusive for without its findings.
    """

    name: str
    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    figures: dict[str, Any] = {}
    found: int = 0
    doubt: str = ""

    @property
    def findings_total(self) -> int:
        """Return how many findings there are in all; files of before count only those that they hold."""
        return max(self.found, len(self.findings))


def worst(statuses: list[Status]) -> Status:
    """Return the worst: a proven failure outranks not knowing, which outranks a pass.

    Where nothing was checked at all, it is inconclusive.
    """
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS if Status.PASS in statuses else Status.INCONCLUSIVE
