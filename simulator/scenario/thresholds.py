"""Threshold expressions, as k6 writes them: `p(99)<250ms`, `rate>0.999`, `count==0`, `median>=900`, `max<256MB`."""

from __future__ import annotations

import operator
import re
import sys
from math import inf
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.contract.answers import Operation
from simulator.limits import ATTACKS_MAX
from simulator.platform.wording import nearest
from simulator.scenario.kinds import parse_duration
from simulator.scenario.metrics import MEGABYTE, MEMORY, METRIC_ROWS, PART_ROWS, TIMES

if TYPE_CHECKING:
    from collections.abc import Callable

METRICS = {one.name: one.aggregates for one in METRIC_ROWS}
"""What may be asked of each metric."""
PARTS = {kind: {one.name: one.aggregates for one in rows} for kind, rows in PART_ROWS.items()}
OPERATIONS = {one.name.lower().replace("_", "-"): one for one in Operation}
"""Operations by their names in metrics."""
KNOWN_AT_ONCE = (
    "heartbeat.", "requests.", "machines.", "market.response_time", "server.memory", "operation.", "attack.",
    "campaign.",
)  # fmt: skip
"""What is known while a run goes on: all else the checkers count at its end."""

SHARES = frozenset(
    {"heartbeat.accepted", "heartbeat.refused", "heartbeat.held_up", "requests.lost", "generator.dropped_starts"}
)
"""Whose rates are shares of something. That of all requests is 1 where there are any: `count` says how many."""

_EXPRESSION = re.compile(
    r"\s*([a-z]+)(?:\(\s*([0-9]+(?:\.[0-9]+)?)\s*\))?\s*(<=|>=|==|!=|<|>)\s*([0-9.]+(?:e-?[0-9]+)?)"
    r"(?:\s*(ms|[dhms]|MB)((?:[0-9.]+(?:ms|[dhms]))*))?\s*",
)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
}
PERCENT_MAX = 100


class RunPart(msgspec.Struct, frozen=True):
    """What a metric of a part of a run is about: an operation's, attack's or campaign's `name`, and `what` of it."""

    kind: str
    name: str
    what: str


def part_of(metric: str) -> RunPart | None:
    """Return the part of a run that a metric is about; None for one that is about all of it, or is none."""
    kind, _, rest = metric.partition(".")
    name, _, what = rest.rpartition(".")
    if what not in PARTS.get(kind, {}):
        return None
    known = {"operation": name in OPERATIONS, "attack": name in CATALOGUE, "campaign": _is_number(name)}
    return RunPart(kind, name, what) if known[kind] else None


def counts_accepted_attacks(metric: str) -> bool:
    """Return whether a metric counts what was accepted of one attack, or of one campaign."""
    part = part_of(metric)
    return part is not None and part.kind != "operation" and part.what == "accepted"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) <= ATTACKS_MAX and str(int(text)) == text


def aggregates_of(metric: str) -> tuple[str, ...]:
    """Return what may be asked of a metric; nothing where it is none."""
    part = part_of(metric)
    return METRICS.get(metric, ()) if part is None else PARTS[part.kind][part.what]


def is_share(metric: str) -> bool:
    """Return whether a metric's rate is a share."""
    return metric in SHARES or part_of(metric) is not None


def _unknown_metric(metric: str) -> str:
    kind, _, rest = metric.partition(".")
    if kind in PARTS:
        name, _, what = rest.rpartition(".")
        names = {"operation": [*OPERATIONS], "attack": [*CATALOGUE], "campaign": [name if _is_number(name) else "1"]}
        whats = [what] if what in PARTS[kind] else [*PARTS[kind]]
        options = [f"{kind}.{one}.{other}" for one in names[kind] for other in whats]
        return nearest(metric, options, f"write it like {options[0]!r}")
    return nearest(metric, METRICS, "`hatchfarm metrics` says which there are")


class ThresholdError(ValueError):
    """An expression that cannot be judged; the message says how one is written."""


class Threshold(msgspec.Struct, frozen=True):
    """One expression. `bound` is in seconds for times, in megabytes for memory.

    `percentile` is from 0 to 100 for `p`, else None.
    """

    metric: str
    aggregate: str
    percentile: float | None
    comparison: str
    bound: float
    expression: str

    def holds(self, value: float) -> bool:
        """Compare a measured value."""
        return _OPERATORS[self.comparison](value, self.bound)

    def may_hold_later(self, value: float) -> bool:
        """Return whether it may hold of a whole run though it does not of a part of it, which measured this value.

        Counts and the most of a run only grow, the least only falls, and no share is all or nothing again; what else
        there is may turn either way. A loss that crossed a close may be excused later (`crossed_closes`): then what was
        said to fail holds in the end.
        """
        low, high = -inf, inf  # what may come is between them
        if self.aggregate in {"count", "max"}:
            low = value
        elif self.aggregate == "min":
            high = value
        elif self.aggregate == "rate" and is_share(self.metric):
            low, high = 0, 1
        match self.comparison:
            case "==":
                return low < self.bound < high
            case "<" | "<=":
                return low < self.bound
            case ">" | ">=":
                return self.bound < high
        return True

    def checks_nothing(self) -> bool:
        """Return whether it holds for every value there can be: none is negative or endless, shares are 1 at most."""
        most = 1.0 if self.aggregate == "rate" and is_share(self.metric) else sys.float_info.max
        if self.comparison == "!=":
            return not 0 <= self.bound <= most
        # Each comparison holds for all of a range if it holds at both of its ends; `==` for no range at all.
        return self.comparison != "==" and self.holds(0.0) and self.holds(most)


def parse_threshold(metric: str, expression: str) -> Threshold:
    """Read one expression for a metric. Raises ThresholdError."""
    aggregates = aggregates_of(metric)
    if not aggregates:
        raise ThresholdError(f"unknown metric; {_unknown_metric(metric)}")
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise ThresholdError(f"{expression!r} is no threshold: write it like 'p(99)<250ms', 'rate>0.999' or 'count==0'")
    aggregate, percentile, comparison, number, unit, more = match.groups()
    if aggregate not in aggregates:
        raise ThresholdError(f"{expression!r}: {metric} has {', '.join(aggregates)}, not {aggregate!r}")
    if (aggregate == "p") != (percentile is not None):
        raise ThresholdError(f"{expression!r}: only p takes a percentile, and it needs one, like 'p(99)'")
    if percentile is not None and not 0 <= float(percentile) <= PERCENT_MAX:
        raise ThresholdError(f"{expression!r}: a percentile is from 0 to 100")
    is_time, is_memory = aggregates is TIMES, metric == MEMORY
    if is_memory != (unit == MEGABYTE) or is_time != (unit not in {None, MEGABYTE}):
        raise ThresholdError(
            f"{expression!r}: "
            + (
                "write a time with its unit, like '250ms'"
                if is_time
                else "write it in megabytes, like '256MB'"
                if is_memory
                else "takes no unit"
            ),
        )
    try:
        bound = parse_duration(number + unit + more) / SECOND_NS if is_time and unit else float(number)
    except ValueError as error:
        raise ThresholdError(f"{expression!r}: {error if is_time else f'{number!r} is no number'}") from None
    return Threshold(
        metric, aggregate, None if percentile is None else float(percentile), comparison, bound, expression
    )
