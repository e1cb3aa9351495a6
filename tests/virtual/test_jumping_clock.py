"""The clock that jumps: events and deadlines in their order, and waits without Trio's own timeouts."""

from __future__ import annotations

import inspect
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio._core import _run

from reference_server.wire.units import MICROSECOND_NS, MILLISECOND_NS, SECOND_NS
from simulator.worlds.virtual.scheduling import Frozen, JumpingClock, run_seeded, runnable_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def test_events_come_in_their_order_and_between_deadlines() -> None:
    """Of two at one moment the first goes first; a task that may run goes on before the next event."""
    clock, seen = JumpingClock(), list[tuple[str, float]]()

    def see(what: str) -> None:
        seen.append((what, trio.current_time()))

    async def main() -> None:
        woken = trio.Event()
        clock.at(3 * SECOND_NS, see, "c")
        clock.at(SECOND_NS, see, "a")
        clock.at(SECOND_NS, woken.set)
        clock.at(SECOND_NS, see, "b")
        await woken.wait()
        see("task")
        await trio.sleep(1)
        see("slept")
        await trio.sleep(1)
        see("after c")

    run_seeded(main, seed=1, clock=clock)
    assert seen == [("a", 1), ("task", 1), ("b", 1), ("slept", 2), ("c", 3), ("after c", 3)]


def test_an_event_that_fails_ends_the_run() -> None:
    clock = JumpingClock()

    def fail() -> None:
        raise ZeroDivisionError

    clock.at(SECOND_NS, fail)
    with pytest.raises(ZeroDivisionError):
        run_seeded(trio.sleep_forever, seed=1, clock=clock)


def test_the_clock_is_asked_only_while_no_task_can_run_and_sees_when_one_can() -> None:
    """Trio's queue of those that may run is a private part: this fails first where it changes."""
    clock, seen = JumpingClock(), list[int]()

    def look() -> None:
        seen.append(len(runnable_tasks()))
        woken.set()
        seen.append(len(runnable_tasks()))

    async def main() -> None:
        clock.at(SECOND_NS, look)
        await woken.wait()

    woken = trio.Event()
    run_seeded(main, seed=1, clock=clock)
    assert seen == [0, 1]
    source = inspect.getsource(_run.unrolled_run)
    assert "timeout = runner.clock.deadline_to_sleep_time(deadline)" in source


WAITS = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=8, unique_by=(itemgetter(0), itemgetter(1))
)


@given(WAITS)
def test_who_waits_by_the_clock_goes_on_and_is_cut_off_when_who_sleeps_would(waits: list[tuple[int, int]]) -> None:
    """Each waits for so many milliseconds, and gives up after so many and a half."""

    def played(wait_of: Callable[[JumpingClock], Callable[[int], Awaitable[None]]]) -> list[tuple[int, bool, int]]:
        clock, ended = JumpingClock(), []
        wait = wait_of(clock)

        async def one(number: int, wait_ms: int, patience_ms: int) -> None:
            with trio.move_on_after(patience_ms / 1000 + 0.0005) as scope:
                await wait(wait_ms * MILLISECOND_NS)
            ended.append((number, scope.cancelled_caught, round(clock.now_ns / MICROSECOND_NS)))

        async def work() -> None:
            async with trio.open_nursery() as nursery:
                for number, (wait_ms, patience_ms) in enumerate(waits):
                    nursery.start_soon(one, number, wait_ms, patience_ms)

        run_seeded(work, seed=1, clock=clock)
        return ended

    async def sleep(duration_ns: int) -> None:
        await trio.sleep(duration_ns / SECOND_NS)

    assert played(attrgetter("wait")) == played(lambda _: sleep)


def test_who_waits_by_the_clock_stands_still_while_frozen() -> None:
    clock, came = JumpingClock(), []

    async def waits() -> None:
        await clock.wait(SECOND_NS)
        came.append(clock.now_ns)

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await trio.sleep(0.5)
            (task,) = nursery.child_tasks
            frozen = Frozen(task)
            await trio.sleep(3)
            assert not came
            frozen.thaw()

    run_seeded(work, seed=1, clock=clock)
    assert came == [3 * SECOND_NS + SECOND_NS // 2]
