"""Sampling a run's counters into the state that is shown. A sample's cost depends on what is new since the last."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.checkers.verdict import Status
from simulator.contract.answers import operation_name
from simulator.judging.so_far import judge_so_far
from simulator.limits import THRESHOLD_LOOK_MAX_SECONDS
from simulator.scenario.thresholds import KNOWN_AT_ONCE, parse_threshold
from simulator.view.state import ThresholdNow, ViewState

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.checkers.verdict import Verdict
    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.worlds.progress import Progress

RATE_NS = 3 * SECOND_NS
"""The window of the mean rate: workers report once a second, and a small fleet sends few heartbeats."""
UNKNOWN_SECONDS = 2
"""The latest seconds whose counts are incomplete: workers report once a second, with some delay."""
THRESHOLDS_SECONDS = 2.0
"""The least interval between two evaluations of the thresholds."""
THRESHOLDS_SHARE = 0.005
"""The greatest share of a CPU spent on thresholds: below a hundredth, which would show in a 99th percentile."""


class Thresholds:
    """The status of a scenario's thresholds, evaluated less often as the history grows.

    `known` returns the history so far, and the time of the run, in nanoseconds, up to which it is complete.
    """

    def __init__(
        self,
        scenario: Scenario,
        known: Callable[[], tuple[History, int]],
        progress: Progress,
        seconds_now: Callable[[], float],
        cpu_seconds: Callable[[], float],
    ) -> None:
        self._known = known
        self._progress = progress
        self._now = seconds_now
        self._cpu_seconds = cpu_seconds
        self._attacks = [one.name for one in scenario.attacks]
        wanted = scenario.judged_thresholds
        self._wanted = {metric: wanted[metric] for metric in wanted if metric.startswith(KNOWN_AT_ONCE)}
        self._due = seconds_now() + THRESHOLDS_SECONDS
        self._warm = False
        """Whether there was an evaluation before: the first one costs more than later ones."""
        self.at_ns: int | None = None
        self.now = tuple(ThresholdNow(metric, one) for metric, expressions in wanted.items() for one in expressions)

    def look(self) -> None:
        """Evaluate the thresholds if the interval has passed and the evaluation is cheap enough."""
        if not self._wanted or self._now() < self._due or not self._progress.accepted:
            return
        began = self._cpu_seconds()
        progress = self._progress
        verdicts = judge_so_far(
            self._wanted, self._attacks, self._known(), progress.connected_max, progress.memory_max_bytes
        )
        found = {one.name: one for one in verdicts}
        if found:
            self.at_ns = progress.elapsed_ns
        self.now = tuple(
            one
            if (verdict := found.get(f"{one.metric}: {one.expression}")) is None
            else self._threshold_now(one, verdict)
            for one in self.now
        )
        took = self._cpu_seconds() - began if self._warm else 0.0
        self._warm = True
        self._due = self._now() + max(THRESHOLDS_SECONDS, took / THRESHOLDS_SHARE)
        if took > THRESHOLD_LOOK_MAX_SECONDS:
            self._due = float("inf")

    @staticmethod
    def _threshold_now(one: ThresholdNow, verdict: Verdict) -> ThresholdNow:
        measured = "" if verdict.status is Status.INCONCLUSIVE else verdict.summary
        value = verdict.figures.get("value")
        may_hold = verdict.status is Status.FAIL and parse_threshold(one.metric, one.expression).may_hold_later(
            inf if value is None else value  # infinity: figures are JSON, which cannot express it
        )
        return ThresholdNow(one.metric, one.expression, verdict.status, measured, value, may_hold)


class Sampling:
    """Samples one run. `history` is this process's part of the run's history.

    `seconds_now` returns real time, `cpu_seconds` the CPU time of this process's thread, both in seconds.
    `virtual` says that the run is in virtual time.
    """

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        history: History,
        progress: Progress,
        known: Callable[[], tuple[History, int]],
        seconds_now: Callable[[], float],
        cpu_seconds: Callable[[], float],
        *,
        virtual: bool = False,
    ) -> None:
        self._scenario = scenario
        self._seed = seed
        self._history = history
        self._counted = 0
        self._progress = progress
        self._now = seconds_now
        self._virtual = virtual
        self._thresholds = Thresholds(scenario, known, progress, seconds_now, cpu_seconds)
        self._before: deque[tuple[int, float, int]] = deque([(0, seconds_now(), 0)])

    def look(self) -> ViewState:
        """Return the current state."""
        progress, counts = self._progress, self._progress.counts
        rows = self._history.since(self._counted)
        self._counted += len(rows)
        counts.add(rows)
        self._thresholds.look()
        elapsed_ns = progress.elapsed_ns
        rate, times_as_fast = self._rates()
        recent_ns = counts.recent_ns(elapsed_ns)
        p50_ms, p99_ms = (
            (round(float(one), 3) for one in np.percentile(recent_ns / MILLISECOND_NS, [50, 99]))
            if len(recent_ns)
            else (None, None)
        )
        attacks = dict(enumerate((one.name for one in self._scenario.attacks), 1))
        attack_answers: dict[tuple[str, int], int] = {}
        for (campaign, status), count in counts.hostile.items():
            of = attacks.get(campaign, f"campaign {campaign}"), status
            attack_answers[of] = attack_answers.get(of, 0) + count
        return ViewState(
            name=self._scenario.name,
            seed=self._seed,
            phase=progress.phase,
            elapsed_ns=elapsed_ns,
            duration_ns=self._scenario.duration_ns,
            machines_connected=progress.connected,
            machines_wanted=progress.machines_wanted,
            in_flight=progress.in_flight,
            held_up=progress.held_up,
            dropped_starts=progress.dropped_starts,
            accepted=progress.accepted,
            refused=progress.refused,
            lost=progress.lost,
            rate=rate,
            rates=self._whole_seconds(counts.accepted, elapsed_ns),
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            attacks_refused=progress.attacks_refused,
            attacks_accepted=progress.attacks_accepted,
            attacks_other=progress.attacks_other,
            jobs_posted=progress.jobs_posted,
            jobs_ended=progress.jobs_ended,
            withdrawals_asked=progress.withdrawals_asked,
            withdrawals_settled=progress.withdrawals_settled,
            requests=counts.honest.total() + counts.hostile.total(),
            under_way=tuple(progress.under_way.values()),
            alerts_raised=dict(progress.alerts_raised),
            thresholds=self._thresholds.now,
            thresholds_at_ns=self._thresholds.at_ns,
            last_problem=progress.last_problem,
            times_as_fast=times_as_fast,
            answers={(operation_name(kind), status): count for (kind, status), count in counts.honest.items()},
            attack_answers=attack_answers,
            buckets=tuple(counts.buckets),
            response_total_ns=counts.response_total_ns,
        )

    def _whole_seconds(self, accepted: list[int], elapsed_ns: int) -> tuple[int, ...]:
        """Return the accepted heartbeats of each second that is over and completely known."""
        over = max(0, elapsed_ns // SECOND_NS - UNKNOWN_SECONDS)
        return (*accepted[:over], *[0] * (over - len(accepted)))

    def _rates(self) -> tuple[float, float | None]:
        """Return the accepted heartbeats per second of the run, and in virtual time its speed relative to real time."""
        progress, before = self._progress, self._before
        if progress.elapsed_ns > before[-1][0]:
            before.append((progress.elapsed_ns, self._now(), progress.accepted))
        while len(before) > 2 and before[1][0] <= progress.elapsed_ns - RATE_NS:  # noqa: PLR2004 - the two ends
            before.popleft()
        (from_ns, from_seconds, from_accepted), (to_ns, to_seconds, to_accepted) = before[0], before[-1]
        passed_seconds = (to_ns - from_ns) / SECOND_NS
        rate = (to_accepted - from_accepted) / passed_seconds if passed_seconds > 0 else 0.0
        real_seconds = to_seconds - from_seconds
        return rate, passed_seconds / real_seconds if self._virtual and real_seconds > 0 else None
