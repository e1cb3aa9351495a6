"""Driving a search for a capacity: one run for each step that the search asks for, and output as each step ends."""

from __future__ import annotations

import io
import os
import shutil
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.markup import escape

from reference_server.wire.visible_text import visible
from simulator.capacity.result import Capacity, SearchRequest, conclude, write_capacity
from simulator.capacity.search import Bounds, Search, TrialOutcome
from simulator.capacity.step import (
    ONBOARDING,
    Measured,
    Plan,
    Step,
    machines_for,
    measure_step,
    plan_step,
    thresholds_of,
)
from simulator.errors import first_message
from simulator.limits import CAPACITY_TOTAL_MAX_SECONDS, SEED_MAX
from simulator.platform.interruptions import signals_held
from simulator.platform.output_files import folder_of, see_writable
from simulator.report.text import markdown
from simulator.running.in_ci import add_to_summary
from simulator.running.leaving import NOT_WRITTEN
from simulator.running.run import OWN_SERVER, USER_ERRORS, RunRequest, observe, see_open_files_suffice

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.judging.record import RunRecord

    Make = Callable[[Plan, int], tuple[RunRecord, History]]

PACE_MACHINES_PER_SECOND = 150.0
PACE_MIN_MACHINES_PER_SECOND = 2.0
"""The first and the slowest pace of onboarding machines; the pace is reduced if machines were not ready in time."""
PACE_MARGIN = 0.7
"""The next pace as a share of the pace at which machines did become ready: the load grows with every machine."""
TRIES_MAX = 4
"""The most tries of one step, each with a slower pace, until its machines are ready in time."""
COLOURS = {TrialOutcome.HELD: "green", TrialOutcome.BROKE: "red", TrialOutcome.HARNESS: "yellow"}


class Finder:
    """The driver of one search. `make` runs a step with a seed; `seconds_now` is a monotonic clock.

    `interrupted` returns the name of a signal that came, empty for none. It is called between steps: a signal within a
    step ends that step.
    """

    def __init__(
        self, request: RunRequest, bounds: Bounds, step_seconds: float, make: Make, seconds_now: Callable[[], float],
        console: Console, interrupted: Callable[[], str] = str,
    ) -> None:  # fmt: skip
        self._interrupted = interrupted
        self._request = request
        self._search = Search(bounds)
        self._bounds = bounds
        self._step_seconds = step_seconds
        self._make = make
        self._now = seconds_now
        self._console = console
        self._thresholds, self.notes = thresholds_of(request.scenario)
        self._pace = PACE_MACHINES_PER_SECOND
        self._runs = 0

    def find(self, started_at: str) -> Capacity:
        """Search to the end and return the result. Raises USER_ERRORS if not even the first step can be run."""
        began = self._now()
        steps: list[Step] = []
        ended_early = ""
        for note in self.notes:
            self._console.print(f"[dim]note:[/] {escape(note)}")
        self._console.print("  rate/s  machines       p50 ms    p99 ms  verdict", markup=False)
        while (rate := self._search.next_rate()) is not None:
            if self._now() - began > CAPACITY_TOTAL_MAX_SECONDS:
                ended_early = f"{CAPACITY_TOTAL_MAX_SECONDS:g} seconds were over"
                break
            if ended_early := self._interrupted():
                break
            measured = self._step(rate, first=not steps)
            if measured.step is None:
                ended_early = measured.problem
                break
            steps.append(measured.step)
            self._search.record(rate, measured.step.outcome)
            self._show(measured.step)
        request, search = self._request, self._search
        asked = SearchRequest(
            request.scenario.name, request.seed, request.target or OWN_SERVER, started_at, self._bounds.precision,
            self._bounds.highest, self.notes, self._thresholds, self._bounds.required,
        )  # fmt: skip
        return conclude(asked, search, steps, ended_early)

    def _step(self, rate: int, *, first: bool) -> Measured:
        """Run a step; if its machines are not ready in time, run it again at a slower pace, which later steps keep."""
        measured = Measured(None)
        for _ in range(TRIES_MAX):
            plan = plan_step(self._request.scenario, rate, self._step_seconds, self._pace, self._thresholds)
            self._runs += 1
            problem = ""
            try:
                record, history = self._make(plan, (self._request.seed + self._runs - 1) % (SEED_MAX + 1))
                measured = measure_step(plan, record, history)
            except* USER_ERRORS as group:
                if first:
                    raise
                problem = first_message(group)
            if problem:
                return Measured(None, problem=problem)
            if measured.step is None or measured.step.limit != ONBOARDING:
                break
            came_up = PACE_MARGIN * self._pace * measured.up_share
            self._pace = max(min(came_up, self._pace / 2), PACE_MIN_MACHINES_PER_SECOND)
        return measured

    def _show(self, step: Step) -> None:
        p50, p99 = ("   never" if one is None else f"{one:8.1f}" for one in (step.p50_ms, step.p99_ms))
        why = f" {escape(visible(f'{step.limit}: {step.why}'))}" if step.limit else ""
        self._console.print(
            f"{step.rate:8}  {step.machines:8}     {p50}  {p99}  [{COLOURS[step.outcome]}]{step.outcome}[/]{why}"
        )


def execute(request: RunRequest, bounds: Bounds, step_seconds: float, console: Console) -> int:
    """Search, report, and return the exit code. Raises USER_ERRORS if the search cannot begin."""
    see_open_files_suffice(machines_for(bounds.highest, request.scenario.fleet.heartbeat_interval_ns))
    started = datetime.now(UTC)  # noqa: TID251 - when this search was
    folder = folder_of(request.out / request.scenario.name, "capacity", started)
    see_writable(folder.parent)

    def make(plan: Plan, seed: int) -> tuple[RunRecord, History]:
        step = msgspec.structs.replace(request, scenario=plan.scenario, seed=seed)
        return observe(step, Console(file=io.StringIO(), quiet=True))

    with signals_held() as held:
        finder = Finder(request, bounds, step_seconds, make, time.monotonic, console, lambda: held.name)
        capacity = finder.find(started.isoformat(timespec="milliseconds"))
        code, where = capacity.exit_code, ""
        try:
            where = f"Results: {write_capacity(capacity, folder)}"
        except OSError as error:
            code = NOT_WRITTEN
            where = f"The result could not be written to {folder} ({error.strerror}): give another --out"
            shutil.rmtree(folder, ignore_errors=True)
        console.print(capacity.summary, markup=False)
        add_to_summary(
            console,
            os.environ,
            f"## Capacity of {markdown(capacity.scenario)}\n\n{markdown(capacity.summary)}\n".encode(),
        )
        console.print(where, markup=False)
        return code
