"""Ending a run early: thresholds that are looked at while it goes on (k6's `abortOnFail` and `delayAbortEval`)."""

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
"""Of one core, what looking may take: the history grows, and whoever looks keeps no schedule meanwhile."""


async def end_early(
    scenario: Scenario,
    known: Callable[[], tuple[History, int]],
    progress: Progress,
    note: Callable[[EndedEarly], None],
    work: trio.CancelScope,
) -> None:
    """Cancel the work, and note why, as soon as a threshold of the scenario's does not hold that would end the run.

    `known` returns what is known so far, and the moment of the run until which all is, in nanoseconds.
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
    """Return the first threshold that does not hold now, of those that are looked at already; None for none.

    All that came of the run until `until_ns` is in the history; of what is counted by the second, no later one is.
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
