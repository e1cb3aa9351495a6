"""When a run is looked at, and what is said at once: by real time, wherever the run's own time comes from."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import trio

from reference_server.wire.units import SECOND_NS
from simulator.platform.ending import Ending
from simulator.view.showing import JUDGING_IS_LONG, LOOK_SECONDS, View
from simulator.view.state import ViewState
from simulator.worlds.progress import Kind, Phase, Progress
from tests.view.states import Clock, console_for

if TYPE_CHECKING:
    from rich.console import Console
    from trio.testing import MockClock


class Looks:
    """Counts the looks; each finds the same."""

    def __init__(self, requests: int = 0) -> None:
        self.count = 0
        self._state = ViewState(name="farm", seed=1, phase=Phase.RUNNING, duration_ns=SECOND_NS, requests=requests)

    def look(self) -> ViewState:
        self.count += 1
        return self._state


def view_of(console: Console, looks: Looks, clock: Any, progress: Progress | None = None) -> View:
    return View(console, cast("Any", looks), progress or Progress(), 30 * SECOND_NS, clock)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


async def test_off_a_terminal_a_line_comes_every_five_seconds_and_changes_come_at_once(
    autojump_clock: MockClock,
) -> None:
    del autojump_clock
    console, looks, progress = console_for("log", 80), Looks(), Progress()
    with view_of(console, looks, trio.current_time, progress) as view, trio.move_on_after(16.2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.keep)
            await trio.sleep(7.1)
            progress.begin(Kind.FAULT, "server.pause", 0, 7 * SECOND_NS)
            await trio.sleep(LOOK_SECONDS)
            assert printed(console)[-1] == "0:07  fault server.pause began"
    lines = printed(console)
    assert [line.split()[0] for line in lines] == ["0:00", "0:07", "0:00", "0:00"]
    assert looks.count == 1 + 16 / LOOK_SECONDS


def test_what_asks_a_thousand_times_a_second_looks_twice_a_second() -> None:
    console, looks, clock = console_for("log", 80), Looks(), Clock()
    view = view_of(console, looks, clock)
    for _ in range(10_000):
        clock.seconds += 0.001
        view.look_when_due()
    assert 18 <= looks.count <= 10 / LOOK_SECONDS


def test_on_a_quiet_console_nobody_looks() -> None:
    console, looks = console_for("log", 80), Looks()
    console.quiet = True
    with view_of(console, looks, Clock()) as view:
        view.look()
        view.acknowledge("SIGINT", again=False)
    assert (looks.count, printed(console)) == (0, [])


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    console = console_for("terminal", 80)
    console._environ = {"TERM": "dumb"}
    with view_of(console, Looks(), Clock()) as view:
        view.look()
    assert "".join(printed(console)) == ""


def test_long_judging_is_said_in_a_log_before_it_begins_and_short_judging_is_not() -> None:
    for requests, lines in ((JUDGING_IS_LONG - 1, 0), (JUDGING_IS_LONG, 1)):
        console, progress = console_for("log", 80), Progress()
        view_of(console, Looks(requests), Clock(), progress).enter(Phase.JUDGING)
        assert len(printed(console)) == lines
        assert progress.phase is Phase.JUDGING


async def test_what_is_awaited_at_the_end_is_given_up_at_once_and_what_follows_goes_on(
    autojump_clock: MockClock,
) -> None:
    """Also where the run was cancelled before: a second signal must not have to wait for what the first left."""
    del autojump_clock
    ending, went_on = Ending(), []

    async def finish() -> None:
        with trio.CancelScope(shield=True):
            for what in ("answers", "audit"):
                with ending.wait(trio.CancelScope()):
                    await trio.sleep(3600)
                went_on.append((what, trio.current_time()))

    async with trio.open_nursery() as nursery:
        started = trio.current_time()
        nursery.start_soon(finish)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        assert went_on == []
        ending.give_up()
    assert [(what, round(at - started)) for what, at in went_on] == [("answers", 2), ("audit", 2)]
