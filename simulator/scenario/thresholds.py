"""Threshold expressions, as k6 writes them: `p(99)<250ms`, `rate>0.999`, `count==0`, `max<256MB`."""

from __future__ import annotations

import difflib
import operator
import re
import sys
from typing import TYPE_CHECKING

import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import REASONS
from simulator.scenario.kinds import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = ("p", "min", "max", "med", "avg")
MEMORY = "server.memory"
"""The most memory that a server of the run's own has taken, its peak resident set."""
MEGABYTE = "MB"
"""A million bytes: the unit of a bound on memory."""
METRICS: dict[str, tuple[str, ...]] = {
    "heartbeat.response_time": TIMES,
    "heartbeat.service_time": TIMES,
    "heartbeat.accepted": ("rate", "count"),
    "heartbeat.refused": ("rate", "count"),
    "heartbeat.held_up": ("rate", "count"),
    "requests.lost": ("count", "rate"),
    "requests.total": ("count", "rate"),
    "attacks.accepted": ("count",),
    "attacks.sent": ("count",),
    "alerts.errors": ("count",),
    "alerts.stale_workers.fired": ("count",),
    "alerts.stale_workers.cleared": ("count",),
    "alerts.worker_auth_failures.fired": ("count",),
    "alerts.worker_auth_failures.cleared": ("count",),
    **{f"auth_failures.{reason}": ("count",) for reason in REASONS.values()},
    "job.time_to_start": TIMES,
    "jobs.finished": ("count",),
    "withdrawal.time_to_settle": TIMES,
    "withdrawals.settled": ("count",),
    "market.response_time": TIMES,
    "replay.accepted_twice": ("count",),
    "revocation.violations": ("count",),
    "revocation.time_to_stop": TIMES,
    "credentials.violations": ("count",),
    "audit.errors": ("count",),
    "limits.violations": ("count",),
    "durability.violations": ("count",),
    "nonces.violations": ("count",),
    **{f"{checker}.violations": ("count",) for checker in ("ledger", "metering", "matching", "isolation")},
    "generator.dropped_starts": ("count", "rate"),
    "machines.connected": ("max",),
    MEMORY: ("max",),
}
"""Every metric a threshold may name, with what may be asked of it.

`job.time_to_start` is from when the server took a job to when it began, by its own times; of one that had not begun
when its account was read, for how long it had waited until then, and without end of one that expired. So is
`withdrawal.time_to_settle`. `jobs.finished` counts those that succeeded or failed, `withdrawals.settled` those that
were paid out, both in the accounts that were read at the end. `market.response_time` is that of every honest request to
the market.
"""

SHARES = frozenset(
    {"heartbeat.accepted", "heartbeat.refused", "heartbeat.held_up", "requests.lost", "generator.dropped_starts"}
)
"""Whose rates are shares of something; that of all requests counts them a second."""

_EXPRESSION = re.compile(
    r"\s*([a-z]+)(?:\(\s*([0-9]+(?:\.[0-9]+)?)\s*\))?\s*(<=|>=|==|!=|<|>)\s*([0-9.]+(?:e-?[0-9]+)?)(?:\s*(ms|s|m|h|MB))?\s*",
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

    def checks_nothing(self) -> bool:
        """Return whether it holds for every value there can be: none is negative or endless, shares are 1 at most."""
        most = 1.0 if self.aggregate == "rate" and self.metric in SHARES else sys.float_info.max
        if self.comparison == "!=":
            return not 0 <= self.bound <= most
        # Each comparison holds for all of a range if it holds at both of its ends; `==` for no range at all.
        return self.comparison != "==" and self.holds(0.0) and self.holds(most)


def parse_threshold(metric: str, expression: str) -> Threshold:
    """Read one expression for a metric. Raises ThresholdError."""
    if metric not in METRICS:
        close = difflib.get_close_matches(metric, METRICS, 1, 0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(METRICS)}"
        raise ThresholdError(f"unknown metric; {hint}")
    match = _EXPRESSION.fullmatch(expression)
    if match is None:
        raise ThresholdError(f"{expression!r} is no threshold: write it like 'p(99)<250ms', 'rate>0.999' or 'count==0'")
    aggregate, percentile, comparison, number, unit = match.groups()
    if aggregate not in METRICS[metric]:
        raise ThresholdError(f"{expression!r}: {metric} has {', '.join(METRICS[metric])}, not {aggregate!r}")
    if (aggregate == "p") != (percentile is not None):
        raise ThresholdError(f"{expression!r}: only p takes a percentile, and it needs one, like 'p(99)'")
    if percentile is not None and not 0 <= float(percentile) <= PERCENT_MAX:
        raise ThresholdError(f"{expression!r}: a percentile is from 0 to 100")
    is_time, is_memory = METRICS[metric] is TIMES, metric == MEMORY
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
        bound = parse_duration(number + unit) / SECOND_NS if is_time and unit else float(number)
    except ValueError as error:
        raise ThresholdError(f"{expression!r}: {error if is_time else f'{number!r} is no number'}") from None
    return Threshold(
        metric, aggregate, None if percentile is None else float(percentile), comparison, bound, expression
    )
