"""What a checker says, and how verdicts combine."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Status(StrEnum):
    """PASS: held. FAIL: proven wrong. INCONCLUSIVE: the harness could not know."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


EXIT_CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3}
"""A run's exit code by its worst verdict; 2 is a usage, scenario or reachability error."""


class Finding(msgspec.Struct, frozen=True):
    """One piece of evidence: what was seen, against what was possible. `at_ns` counts from the start of the run."""

    rule: str
    message: str
    at_ns: int
    evidence: dict[str, Any] = {}


class Verdict(msgspec.Struct, frozen=True):
    """A checker's or threshold's answer. `summary` is one sentence for people; `figures` are its measured numbers.

    `doubt` says what a failed one could not know besides: what it would be inconclusive for without its findings.
    """

    name: str
    status: Status
    summary: str
    findings: tuple[Finding, ...] = ()
    figures: dict[str, Any] = {}
    doubt: str = ""


def worst(statuses: list[Status]) -> Status:
    """A proven failure outranks not knowing, which outranks a pass. Nothing at all is inconclusive."""
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS if statuses else Status.INCONCLUSIVE
