"""The result of a comparison, as values and as JSON: a line for each figure and each check, and an exit code."""

from __future__ import annotations

import math
import statistics
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.comparing.deciding import SURE, Decision, Says, Tolerance, decide, is_hidden, judged_alone
from simulator.platform.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from simulator.comparing.ranks import Shift

SCHEMA_VERSION = 1
NO_SLOWER, SLOWER, CANNOT_TELL = 0, 1, 3
"""Exit codes: 1 if anything is slower or worse, 3 if that cannot be told of something, else 0. 2 is a usage error."""


class Kind(StrEnum):
    """The kind of measurements compared."""

    COMMITS = "commits"
    RESULTS = "results"
    RUNS = "runs"


class Line(msgspec.Struct, frozen=True):
    """One figure of both measurements: `before` and `after` are medians, changes in `decision` are shares of the first.

    A median is None if it is infinite: half of the answers never came. `rounds` is the number of values on each side,
    `confirmed` is true if the figure was measured again, and `why` says why it cannot be told, if it cannot.
    """

    title: str
    unit: str
    higher_is_better: bool
    before: float | None
    after: float | None
    rounds: tuple[int, int]
    decision: Decision
    confirmed: bool = False
    why: str = ""


class CheckLine(msgspec.Struct, frozen=True):
    """One check, threshold or attack of two runs: its status in each, empty for a run that did not have it.

    `unknown` is true if it may be worse, but that cannot be told.
    """

    name: str
    before: str
    after: str
    worse: bool
    note: str = ""
    unknown: bool = False


class FindingLine(msgspec.Struct, frozen=True):
    """How often a rule was broken in each of two runs, and the message of one such finding."""

    rule: str
    before: int
    after: int
    message: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a comparison. `before` and `after` name what was compared; `notes` are sentences for readers."""

    schema_version: int = SCHEMA_VERSION
    kind: Kind
    before: str
    after: str
    compared_at: str
    exit_code: int
    summary: str
    lines: list[Line]
    checks: list[CheckLine] = []
    findings: list[FindingLine] = []
    notes: list[str] = []


class Pair(msgspec.Struct, frozen=True):
    """One figure to be compared: all values of both sides, and the shift between them, positive for the better."""

    title: str
    unit: str
    higher_is_better: bool
    before: tuple[float, ...]
    after: tuple[float, ...]
    shift: Shift
    tolerance: Tolerance


def lines_of(
    pairs: Sequence[Pair], again: Mapping[int, Shift] | None = None, whole: Mapping[int, Shift] | None = None
) -> list[Line]:
    """Return a line for each pair; `again` and `whole` are as `decide` takes them."""
    decisions = decide([one.shift for one in pairs], [one.tolerance for one in pairs], again, whole)
    return [
        Line(
            title=one.title,
            unit=one.unit,
            higher_is_better=one.higher_is_better,
            before=_median(one.before),
            after=_median(one.after),
            rounds=(len(one.before), len(one.after)),
            decision=decision,
            confirmed=number in (again or {}),
            why=_why(one, decision, (whole or {}).get(number, one.shift), again=number in (again or {})),
        )
        for number, (one, decision) in enumerate(zip(pairs, decisions, strict=True))
    ]


def _median(values: Sequence[float]) -> float | None:
    median = statistics.median(values)
    return median if math.isfinite(median) else None


def notes_of(pairs: Sequence[Pair]) -> list[str]:
    """Return a note if some pairs have too few values to be corrected for the number of all pairs."""
    alone = judged_alone([one.shift for one in pairs])
    note = (
        f"{alone} of {plural(len(pairs), 'figure')} rest on too few values to be corrected for being so many: each is "
        f"judged by itself, and of a hundred that did not change {SURE * 100:.0f} may be called slower"
    )
    return [note] if alone else []


def _why(pair: Pair, decision: Decision, shift: Shift, *, again: bool) -> str:
    if decision.says is not Says.CANNOT_TELL:
        return ""
    if decision.smallest is None:
        return f"{min(len(pair.before), len(pair.after))} rounds are too few to be sure of anything"
    if is_hidden(shift, pair.tolerance):
        return f"noise hides any change below {decision.smallest:.0%}"
    return (
        "it looks slower, and was not when it was measured again"
        if again
        else "it looks slower, and not surely enough beside so many others"
    )


def conclude(
    kind: Kind,
    names: tuple[str, str],
    compared_at: str,
    lines: list[Line],
    checks: Sequence[CheckLine] = (),
    findings: Sequence[FindingLine] = (),
    notes: Sequence[str] = (),
    lost: Sequence[str] = (),
) -> Comparison:
    """Return the comparison with its exit code and summary.

    Anything slower or worse outranks anything that cannot be told; if there was nothing to compare, nothing can be
    told. `lost` has the titles of figures that only one side has: these cannot be told either.
    """
    slower = [one.title for one in lines if one.decision.says is Says.SLOWER]
    worse = [one.name for one in checks if one.worse]
    unknown = [one.title for one in lines if one.decision.says is Says.CANNOT_TELL]
    unknown += [*lost, *(one.name for one in checks if one.unknown)]
    code = SLOWER if slower or worse else CANNOT_TELL if unknown or not (lines or checks) else NO_SLOWER
    parts = [f"slower: {', '.join(slower)}"] if slower else []
    parts += [f"worse: {', '.join(worse)}"] if worse else []
    parts += [f"cannot tell of {', '.join(unknown)}"] if unknown else []
    if not parts:
        faster = [one.title for one in lines if one.decision.says is Says.FASTER]
        parts = ["no slower", *([f"faster: {', '.join(faster)}"] if faster else [])]
    if not (lines or checks):
        parts = ["nothing is in both"]
    return Comparison(
        kind=kind,
        before=names[0],
        after=names[1],
        compared_at=compared_at,
        exit_code=code,
        summary="; ".join(parts),
        lines=lines,
        checks=list(checks),
        findings=list(findings),
        notes=list(notes),
    )


def comparison_schema() -> dict[str, Any]:
    """Return the JSON Schema of a comparison."""
    draft, title = "https://json-schema.org/draft/2020-12/schema", "HatchFarm Harness comparison"
    return {"$schema": draft, "title": title, **msgspec.json.schema(Comparison)}


def encode(comparison: Comparison) -> bytes:
    """Return a comparison as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(comparison), indent=2) + b"\n"
