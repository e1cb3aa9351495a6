"""The generator checker: whether the harness itself kept up. When it did not, its other verdicts say less.

What the target kept from leaving in time, by an answer or a connection that it owed, is no lateness of the harness.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.checkers.verdict import Finding, Status, Verdict
from simulator.history.schedule import own_lateness_ns

if TYPE_CHECKING:
    from simulator.checkers.facts import Facts
    from simulator.history.rows import History

ADVICE = "use fewer machines, a longer interval, or a machine with more cores"


def check_generator(history: History, facts: Facts, whole: History | None = None) -> Verdict:
    """Hold loop lag, schedule slip and dropped starts against their budgets. Never fails: it is about us.

    `whole` is what the history is a part of, if it is one.
    """
    if facts.virtual:
        return Verdict("generator", Status.NOT_APPLICABLE, "Time was virtual: the harness cannot have been late.")
    slips = own_lateness_ns(history, whole) / SECOND_NS
    if not len(slips) and not history.generator:
        return Verdict("generator", Status.INCONCLUSIVE, "Nothing tells how the harness itself did.")
    slip = float(np.percentile(slips, 99)) if len(slips) else 0.0
    lags = [sample.loop_lag_ns / SECOND_NS for sample in history.generator if not sample.ending]
    dropped = sum(sample.dropped_starts for sample in history.generator)
    held_up = sum(sample.held_up for sample in history.generator)
    late_seconds = sum(lag > facts.lag_budget_seconds for lag in lags)
    figures = {
        "schedule_slip_p99_s": slip,
        "loop_lag_max_s": max(lags, default=0.0),
        "cpu_share_max": max((sample.cpu_share for sample in history.generator), default=0.0),
        "dropped_starts": dropped,
        "held_up": held_up,
    }
    planned = len(slips) + dropped
    over = []
    if slip > facts.slip_budget_seconds:
        over.append(f"1% of heartbeats left more than {slip:.2f}s late")
    if late_seconds > max(1, facts.bad_seconds_share_budget * len(lags)):
        over.append(f"in {late_seconds} of {len(lags)} seconds the harness stood still for more than "
                    f"{facts.lag_budget_seconds:g}s")  # fmt: skip
    if planned and dropped / planned > facts.dropped_share_budget:
        over.append(f"{dropped} of {planned} planned heartbeats could not be started")
    if over:
        findings = tuple(Finding("generator.over-budget", problem, 0) for problem in over)
        summary = f"The harness could not keep its schedule: {'; '.join(over)}. To mend it, {ADVICE}."
        return Verdict("generator", Status.INCONCLUSIVE, summary, findings, figures)
    summary = f"The harness kept its schedule: 99% of heartbeats left within {slip * 1000:.1f} ms of their time."
    if held_up:
        summary += f" {held_up} more could not leave because the target still owed an answer: their time counts."
    return Verdict("generator", Status.PASS, summary, (), figures)
