"""Ending a run early by thresholds that are evaluated during the run (k6's `abortOnFail` and `delayAbortEval`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from simulator.checkers.verdict import Status
from simulator.judging.record import EndedEarly
from simulator.judging.so_far import judge_so_far

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.history.rows import History
    from simulator.scenario.values import Scenario
    from simulator.worlds.progress import Progress

LOOK_SECONDS = 1.0
LOOKING_SHARE = 0.02
"""The share of one core that evaluating may take: its cost grows with the history, and it makes this process's own
requests late."""


async def end_early(
    scenario: Scenario,
    known: Callable[[], tuple[History, int]],
    progress: Progress,
    note: Callable[[EndedEarly], None],
    work: trio.CancelScope,
) -> None:
    """Cancel the work, and note why, as soon as one of the scenario's `abort_on_fail` thresholds does not hold.

    `known` returns the history so far, and the time of the run up to which it is complete, in nanoseconds.
    """
    waits = LOOK_SECONDS
    while scenario.abort_on_fail:
        await trio.sleep(waits)
        began = time.perf_counter()
        found = failed_threshold(scenario, *known(), progress)
        if found is not None:
            note(found)
            work.cancel()
            return
        waits = max(LOOK_SECONDS, (time.perf_counter() - began) / LOOKING_SHARE)


def failed_threshold(scenario: Scenario, history: History, until_ns: int, progress: Progress) -> EndedEarly | None:
    """Return the first `abort_on_fail` threshold past its delay that does not hold now; None if all hold.

    `history` is complete up to `until_ns`; metrics that count by the second leave out all later seconds.
    """
    due = [one for one in scenario.abort_on_fail if progress.elapsed_ns >= one.delay_ns]
    wanted: dict[str, list[str]] = {}
    for one in due:
        wanted.setdefault(one.metric, []).append(one.threshold)
    attacks = [attack.name for attack in scenario.attacks]
    known = history, until_ns
    verdicts = judge_so_far(wanted, attacks, known, progress.connected_max, progress.memory_max_bytes)
    failed = {one.name: one for one in verdicts if one.status is Status.FAIL}
    for one in due:
        if (verdict := failed.get(f"{one.metric}: {one.threshold}")) is not None:
            return EndedEarly(one.metric, one.threshold, progress.elapsed_ns, verdict.summary)
    return None
