"""Which findings are kept: all of them, until they take too many bytes. What is not kept is still counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.limits import FINDINGS_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from simulator.checkers.verdict import Finding

EXCHANGED = ("request", "answer")
"""Keys of a finding's evidence that hold the bytes that were exchanged, as text and without secrets."""
LINK_BYTES = 80
"""Room for what parts a finding from the next one, and for the name of what it follows from."""


def kept(findings: Iterable[Finding], most_bytes: int = FINDINGS_MAX_BYTES) -> tuple[Finding, ...]:
    """Return the first findings, as many as take no more than so many bytes as JSON.

    The bytes that were exchanged get half of that room; later findings go without theirs, so that a few long answers
    push no other finding out.
    """
    taken: list[Finding] = []
    left, left_for_exchanged = most_bytes, most_bytes // 2
    for finding in findings:
        one, size = finding, _size(finding)
        if any(name in one.evidence for name in EXCHANGED):
            if size > left_for_exchanged:
                evidence = {name: value for name, value in one.evidence.items() if name not in EXCHANGED}
                one = msgspec.structs.replace(one, evidence=evidence)
                size = _size(one)
            else:
                left_for_exchanged -= size
        if size > left:
            break
        left -= size
        taken.append(one)
    return tuple(taken)


def one_of_each_first(findings: Iterable[Finding], kind: Callable[[Finding], Hashable]) -> list[Finding]:
    """Put one finding of each kind first: a thousand like the first would hide the second."""
    first: dict[Hashable, Finding] = {}
    rest = [one for one in findings if first.setdefault(kind(one), one) is not one]
    return [*first.values(), *rest]


def _size(finding: Finding) -> int:
    try:
        return len(msgspec.json.encode(finding)) + LINK_BYTES
    except UnicodeEncodeError:  # a name that is not UTF-8 is escaped when it is written
        return len(repr(finding))
