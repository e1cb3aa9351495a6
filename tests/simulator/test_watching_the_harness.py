"""How the harness itself did is recorded until it is over, also where it stood still until its end."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from reference_server.wire.units import SECOND_NS
from simulator.checkers.facts import Facts
from simulator.checkers.generator import check_generator
from simulator.checkers.verdict import Status
from simulator.history.records import GeneratorSample
from simulator.history.rows import History
from simulator.worlds.live.watching import watch_generator
from simulator.worlds.progress import Progress


@pytest.mark.parametrize(("ending", "dropped"), [(False, 5), (True, 2)])
def test_whatever_ends_the_watch_leaves_a_last_sample(
    ending: bool,  # noqa: FBT001 - a table's column
    dropped: int,
) -> None:
    history, progress = History(), Progress()
    progress.dropped_starts = 3

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(watch_generator, history, progress, lambda: 7, ending=ending))
            await trio.testing.wait_all_tasks_blocked()
            progress.dropped_starts += 2
            nursery.cancel_scope.cancel()

    trio.run(watched)
    (sample,) = history.generator
    assert (sample.at_ns, sample.ending, sample.dropped_starts) == (7, ending, dropped)


@pytest.mark.parametrize(("ending", "status"), [(False, Status.INCONCLUSIVE), (True, Status.PASS)])
def test_standing_still_while_lists_are_read_costs_no_schedule(
    ending: bool,  # noqa: FBT001 - a table's column
    status: Status,
) -> None:
    history = History()
    history.generator += [GeneratorSample(at * SECOND_NS, SECOND_NS, 0.9, 0, ending=ending) for at in range(5)]
    assert check_generator(history, Facts(10, 20, 3, {})).status is status
