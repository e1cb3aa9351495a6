"""Trio under a seed: the seed decides which of several runnable tasks goes first, and time jumps when all tasks wait.

The shipped pipeline runs here unchanged, and at each of its awaits another task may go first. The alternative is a
pipeline of generators that yield what they wait for. Measured on a busy machine with two cores, in CPU time: a switch
between tasks costs 6 us here and 0.6 with generators, a timed wait 65 us and 0.7. An answer of three instances with
shared state costs 570 us, of which its four waits are 260. So 30 such answers a second play 58 times as fast as live,
and generators would at best double that. Heartbeats in memory, most of the work in any world, wait for nothing either
way. For that factor of two, every lock, event, timeout and cancellation would need a second implementation, whose bugs
would be found instead of the pipeline's, and which would slow down real answers.
"""

from __future__ import annotations

import gc
import heapq
import math
import random  # noqa: TID251 - a generator with a seed takes the place of Trio's own, which has none
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import trio
from trio._core import _run  # the only use of Trio's private parts: pyproject.toml bounds its version for it

from reference_server.adapters.huge_pages import HugePages
from reference_server.wire.units import SECOND_NS
from simulator.limits import VIRTUAL_PAST_END_SECONDS

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator

Result = TypeVar("Result")
_Event = tuple[int, int, "Callable[..., object]", tuple[object, ...]]
"""An event: due time in ns, sequence number, function, arguments."""
SWITCH, RANDOM = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
"""Trio's names for deterministic scheduling, as pytest-trio uses it for Hypothesis. With the first set, each batch of
runnable tasks is sorted by creation, and then shuffled by the second."""
CONTEXT = "GLOBAL_RUN_CONTEXT"
"""Trio's name for the runner, which has the queue of runnable tasks (`runq`)."""
DAY_SECONDS = 86_400.0
COLLECTED_AFTER = 20_000
"""The threshold of garbage collection: the default of 700 new objects costs a noticeable share of each heartbeat."""
STRETCH_BITS = 28
"""The length of a stretch of time, as a power of two of nanoseconds: 0.27 s, in which few machines have a turn."""
LOOK_EVENTS = 4096
"""Planned events between two checks of the memory, in which a growing fleet adds a few megabytes."""
ROUND_MAX = 64
"""The most turns of a round: as many as the express lane decides together."""
SHOWN_MAX, PLACE_PARTS, LIBRARIES = 5, 3, "site-packages"
"""How many places of waiting tasks are named, with how many parts of the path, skipping frames of libraries."""
PAST_END_NS = int(VIRTUAL_PAST_END_SECONDS * SECOND_NS)
GIVEN_UP_MAX = 100
"""How often a late task is cancelled again, in case each of its clean-ups waits too."""


class HangError(Exception):
    """Raised when a shielded task waits forever at the end of a run: a bug of the code that waits."""


class Rounds(Protocol):
    """The interface for playing several turns together: first all turns, then all their consequences."""

    def send(self, *arguments: Any) -> int:
        """Take the turn of an event with these arguments, and keep its request.

        Return until when its only consequences are that the request arrives and is answered, that the answer arrives,
        and later turns. Return 0 if that is unknown; then nothing was done.
        """

    def end(self, ends_ns: int) -> None:
        """Deliver and answer the kept requests, and deliver the answers, as far as that is before `ends_ns`."""


class JumpingClock(trio.abc.Clock):
    """A clock that starts at 0, and jumps to the next deadline or event as soon as all tasks wait.

    Events are calls planned for a moment (`at`). They run in order, one after another, until one of them makes a task
    runnable: so work without tasks costs no switches between tasks. An event that raises ends the run.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        """The time in nanoseconds."""
        self.failed_by: BaseException | None = None
        self.fail: Callable[[], object] = lambda: None
        """Ends the run; called once if an event raises."""
        self._planned = 0
        self.hung = ""
        """The tasks that waited forever, as text, once a run was given up for that."""
        self.ends_ns: float = math.inf
        """When the run ends; shielded tasks may go on for a while."""
        self._given_up = 0
        self._events: list[_Event] = []
        """A heap of the events up to the end of the current stretch."""
        self._stretch = 0
        self._later: dict[int, list[_Event]] = {}
        """All later events by stretch, unordered."""
        self._stretches: list[int] = []
        """A heap of the stretches that have events."""
        self._pages = HugePages()
        self._look_at = 0
        """The number of planned events at which the memory is checked again."""
        self._turn: object = None
        self._rounds: Rounds | None = None

    def play_together(self, turn: Callable[..., object], rounds: Rounds | None) -> None:
        """Play events that call `turn` in rounds, as long as no other event is due between them."""
        self._turn, self._rounds = turn, rounds

    def at(self, due_ns: int, call: Callable[..., object], *arguments: object) -> None:
        """Plan a call at a time of this clock in ns; a past time means now.

        Calls at equal times run in order of planning.

        A fleet plans a turn for each machine. With a single heap, the cost of each would grow with the fleet.
        """
        self._planned += 1
        event = (due_ns, self._planned, call, arguments)
        stretch = due_ns >> STRETCH_BITS
        if stretch <= self._stretch:
            heapq.heappush(self._events, event)
            return
        later = self._later.get(stretch)
        if later is None:
            self._later[stretch] = [event]
            heapq.heappush(self._stretches, stretch)
        else:
            later.append(event)

    async def wait(self, duration_ns: int) -> None:
        """Wait for `duration_ns`, at a quarter of the cost of `trio.sleep`, which makes and cancels a scope."""
        waiting = [trio.lowlevel.current_task()]

        def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
            waiting.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        self.at(self.now_ns + duration_ns, _wake, waiting)
        await trio.lowlevel.wait_task_rescheduled(give_up)

    def start_clock(self) -> None:
        """Do nothing: this clock never runs by itself."""

    def current_time(self) -> float:
        """Return the time in seconds."""
        return self.now_ns / SECOND_NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Run the events that are due until a deadline, and jump to it. Trio calls this when no task is runnable."""
        events = self._events or self._next_stretch()
        late = self.now_ns >= self.ends_ns + PAST_END_NS
        if deadline == math.inf or late:
            if _has_ended():
                return math.inf  # when Trio ends, it waits for its own wake-up
            # After the end of the run, shielded tasks go on for a while.
            self.ends_ns = min(self.ends_ns, self.now_ns)
            if late or not events or events[0][0] > self.ends_ns + PAST_END_NS:
                self._give_up()
                return 0.0
            deadline = events[0][0] / SECOND_NS
        deadline_ns = math.ceil(deadline * SECOND_NS)
        may_run = runnable_tasks()
        while events and events[0][0] <= deadline_ns:
            try:
                if events[0][2] is not self._turn or not self._play_round(events, deadline_ns):
                    due_ns, _, call, arguments = heapq.heappop(events)
                    if due_ns > self.now_ns:  # noqa: PLR1730 - once an event: calling `max` costs far more
                        self.now_ns = due_ns
                    call(*arguments)
            except BaseException as error:  # noqa: BLE001 - here it would be Trio's own failure; the run's end raises it
                self.failed_by = self.failed_by or error
                self.fail()
            if may_run:
                return 0.0
            if not events:
                events = self._next_stretch()
        self.now_ns = max(self.now_ns, deadline_ns)
        if self.current_time() < deadline:
            self.now_ns += 1
        return 0.0

    def _give_up(self) -> None:
        """Remove the shields of tasks that wait forever, so that the run ends, and record which tasks they are."""
        shielded = _shielded_scopes()
        if not self.hung:
            places = list(dict.fromkeys(map(_place, shielded or _tasks())))
            more = f", and {len(places) - SHOWN_MAX} more" if len(places) > SHOWN_MAX else ""
            self.hung = f"the run's end waits for what does not come, in {', '.join(places[:SHOWN_MAX])}{more}"
        self._given_up += 1
        if self._given_up > GIVEN_UP_MAX:
            raise RuntimeError(self.hung)
        for scopes in shielded.values():
            for scope in scopes:
                scope.shield = False

    def _play_round(self, events: list[_Event], deadline_ns: int) -> bool:
        """Play the next turns in a round; return whether there were any to play so."""
        rounds, turn, begun = self._rounds, self._turn, 0
        ends_ns = min(deadline_ns + 1, (self._stretch + 1) << STRETCH_BITS)
        while rounds is not None and events and begun < ROUND_MAX:
            due_ns, _, call, arguments = events[0]
            if call is not turn or due_ns >= ends_ns:
                break
            self.now_ns = max(self.now_ns, due_ns)
            until_ns = rounds.send(*arguments)
            if not until_ns:
                break
            begun += 1
            ends_ns = min(ends_ns, until_ns)
            heapq.heappop(events)
        if rounds is None or not begun:
            return False
        rounds.end(min(ends_ns, events[0][0]) if events else ends_ns)
        return True

    def _next_stretch(self) -> list[_Event]:
        """Move to the next stretch with events; return its events as a heap."""
        if self._stretches:
            if self._planned >= self._look_at:
                self._look_at = self._planned + LOOK_EVENTS
                self._pages.look()
            self._stretch = heapq.heappop(self._stretches)
            self._events = self._later.pop(self._stretch)
            self._events.sort()
        return self._events


def _wake(waiting: list[trio.lowlevel.Task]) -> None:
    """Wake the tasks that still wait."""
    for task in waiting:
        trio.lowlevel.reschedule(task)


def _tasks() -> list[Any]:
    """Return Trio's records of all tasks except its own, in order of creation."""
    runner = vars(_run)[CONTEXT].runner
    tasks = sorted(runner.tasks, key=lambda task: task._counter)  # noqa: SLF001 - as above
    return [one for one in tasks if one.parent_nursery not in {None, runner.system_nursery}]


def _shielded_scopes() -> dict[Any, list[trio.CancelScope]]:
    """Return the shielded scopes of each task that has any, by Trio's record of the task, in order of creation.

    Only if no task is runnable: otherwise nothing should be given up.
    """
    found = {}
    for task in _tasks():
        scopes, status = [], task._cancel_status  # noqa: SLF001 - as above
        while status is not None:
            scopes += [status._scope] if status._scope.shield else []  # noqa: SLF001 - as above
            status = status._parent  # noqa: SLF001 - as above
        if scopes:
            found[task] = scopes
    return found


def _place(task: Any) -> str:
    """Return the project's function in which a task waits, with file and line."""
    frames = [frame for frame, _ in task.iter_await_frames()]
    frame = next((one for one in reversed(frames) if LIBRARIES not in one.f_code.co_filename), frames[0])
    where = "/".join(Path(frame.f_code.co_filename).parts[-PLACE_PARTS:])
    return f"{frame.f_code.co_qualname} ({where}:{frame.f_lineno})"


def runnable_tasks() -> deque[Any]:
    """Return Trio's queue of runnable tasks; it is empty while all tasks wait."""
    queue: deque[Any] = vars(_run)[CONTEXT].runner.runq
    return queue


def _has_ended() -> bool:
    return vars(_run)[CONTEXT].runner.main_task_outcome is not None


class Frozen(trio.abc.Instrument):
    """A task and all its descendants, stopped as by SIGSTOP until they are thawed.

    Events and timeouts they wait for happen meanwhile; the tasks see them when they resume. Create it while all of
    them wait.
    """

    def __init__(self, root: trio.lowlevel.Task) -> None:
        self._root = root
        self._held: list[trio.lowlevel.Task] = []
        trio.lowlevel.add_instrument(self)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Hold back a task that became runnable."""
        at: trio.lowlevel.Task | None = task
        while at is not None and at is not self._root:
            at = None if at.parent_nursery is None else at.parent_nursery.parent_task
        if at is not None:
            self._held.append(runnable_tasks().pop())  # Trio has just put it there

    def thaw(self) -> None:
        """Resume the tasks."""
        trio.lowlevel.remove_instrument(self)
        runnable_tasks().extend(self._held)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Make garbage collection rare, and exclude existing objects from it: a fleet makes hardly any reference cycles."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def run_seeded(
    main: Callable[..., Awaitable[Result]],
    *arguments: object,
    seed: int,
    seconds_max: float = DAY_SECONDS,
    clock: JumpingClock | None = None,
) -> Result:
    """Run an async function under a jumping clock that starts at 0, and return its result.

    The same seed and arguments give the same order of all steps, in any process, unless the function uses a thread, a
    socket or a signal. Only one can run at a time in a process. Raises TooSlowError after `seconds_max`, which is at
    once if all tasks wait for each other; HangError if a shielded task waits forever after that, which is then
    cancelled; and whatever an event of the `clock` raises.
    """
    chosen = JumpingClock() if clock is None else clock
    chosen.ends_ns = chosen.now_ns + seconds_max * SECOND_NS

    async def bounded() -> Result:
        with trio.fail_after(seconds_max), trio.CancelScope() as scope:
            chosen.fail = scope.cancel
            return await main(*arguments)
        raise chosen.failed_by or AssertionError("only an event that failed cancels this")

    before = vars(_run)[SWITCH], vars(_run)[RANDOM]
    vars(_run).update({SWITCH: True, RANDOM: random.Random(seed)})  # noqa: S311 - repeatable, not secret
    try:
        with seldom_collected():
            result = trio.run(bounded, clock=chosen)
    except Exception as error:
        if chosen.hung:
            raise HangError(chosen.hung) from chosen.failed_by or error
        raise
    finally:
        vars(_run).update(zip((SWITCH, RANDOM), before, strict=True))
    if chosen.hung:  # a cancelled task continued as if nothing had happened
        raise HangError(chosen.hung)
    return result
