"""Trio by a seed: one number decides which task goes first wherever several may, and time passes when all wait.

The shipped pipeline plays here as it is, and each of its awaits is a place where another task may come first. The other
way would be to have it yield what it waits for, to a player of generators. Measured on a busy machine with two cores,
CPU each: a switch between tasks costs 6 us here and 0.6 there, a wait for a time 65 us and 0.7. An answer of three
instances that share their state costs 570 us, of which its four waits are 260; so 30 such answers a second play 58
times as fast as they would live, and a player of generators would at best double that. Heartbeats in memory, most of
what any world plays, wait for nothing either way. And for that factor of two every lock, event, timeout and
cancellation would have a second form, whose faults would be found in place of the pipeline's, and would be in the way
of real answers.
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
from trio._core import _run  # the one place that touches Trio's private parts: pyproject.toml bounds its version for it

from reference_server.adapters.huge_pages import HugePages
from reference_server.wire.units import SECOND_NS
from simulator.limits import VIRTUAL_PAST_END_SECONDS

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterator

Result = TypeVar("Result")
_Event = tuple[int, int, "Callable[..., object]", tuple[object, ...]]
"""When it is due, the how manieth it was planned, and what is called."""
SWITCH, RANDOM = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
"""What Trio keeps for this: pytest-trio turns the first on for Hypothesis. Each batch of tasks that may run is then put
in the order in which they were made, and shuffled by the second."""
CONTEXT = "GLOBAL_RUN_CONTEXT"
"""What names the runner, which has the queue of tasks that may run (`runq`)."""
DAY_SECONDS = 86_400.0
COLLECTED_AFTER = 20_000
"""New objects after which Python looks for circles among them: 700 by itself, a share of each heartbeat's cost."""
STRETCH_BITS = 28
"""Nanoseconds of a stretch of time, as a power of two: 0.27 s, in which few of a fleet have their turn."""
LOOK_EVENTS = 4096
"""Planned events after which the memory is looked at again: by then a fleet that comes up has a few megabytes more."""
ROUND_MAX = 64
"""Turns of a round: as many as the express lane decides together."""
SHOWN_MAX, PLACE_PARTS, LIBRARIES = 5, 3, "site-packages"
"""How many places are named where something waits, by so much of a file's path, which is none of a library's."""
PAST_END_NS = int(VIRTUAL_PAST_END_SECONDS * SECOND_NS)
GIVEN_UP_MAX = 100
"""How often what ends late is cut off again: whoever waits in each of its clean-ups has an end as well."""


class HangError(Exception):
    """What is shielded from a run's end waits for what does not come: a fault of the code that waits."""


class Rounds(Protocol):
    """What plays turns together: all of them, then all that comes of them until a moment."""

    def send(self, *arguments: Any) -> int:
        """Take the turn of an event with these arguments, and keep what it sends.

        Return until when all that comes of it is that this arrives and is answered, that the answer arrives, and turns
        thereafter. 0 where that is not known; then nothing was done.
        """

    def end(self, ends_ns: int) -> None:
        """Have all that was sent arrive and be answered, and the answers arrive, as far as that is before `ends_ns`."""


class JumpingClock(trio.abc.Clock):
    """A clock that begins at 0, and jumps as soon as every task waits: to the next deadline, or the next event.

    Events are calls that are planned for a moment (`at`). They come in their order, one after the other, for as long as
    none of them lets a task go on: so what needs no task costs no switch between tasks. One that fails ends the run.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        """How many nanoseconds have passed."""
        self.failed_by: BaseException | None = None
        self.fail: Callable[[], object] = lambda: None
        """Ends the run; called once, where an event fails."""
        self._planned = 0
        self.hung = ""
        """Who waits for what does not come, once a run was given up for that."""
        self.ends_ns: float = math.inf
        """When the run ends; what is shielded from that goes on for a while."""
        self._given_up = 0
        self._events: list[_Event] = []
        """A heap of those that come next, up to the end of the stretch."""
        self._stretch = 0
        self._later: dict[int, list[_Event]] = {}
        """All others by their stretch, in no order."""
        self._stretches: list[int] = []
        """A heap of the stretches that have any."""
        self._pages = HugePages()
        self._look_at = 0
        """How many events are planned by when its memory is looked at again."""
        self._turn: object = None
        self._rounds: Rounds | None = None

    def play_together(self, turn: Callable[..., object], rounds: Rounds | None) -> None:
        """Have events that call `turn` played in rounds, as far as nothing else is due between them."""
        self._turn, self._rounds = turn, rounds

    def at(self, due_ns: int, call: Callable[..., object], *arguments: object) -> None:
        """Plan a call, in this clock's nanoseconds; one that has passed is now. Of one moment the first goes first.

        A fleet plans a turn for each machine. In one heap, each would cost more the more machines there are.
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
        """Wait for so long, at a quarter of what `trio.sleep` costs: that makes a scope, and has it cancelled."""
        waiting = [trio.lowlevel.current_task()]

        def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
            waiting.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        self.at(self.now_ns + duration_ns, _wake, waiting)
        await trio.lowlevel.wait_task_rescheduled(give_up)

    def start_clock(self) -> None:
        """Do nothing: it never runs by itself."""

    def current_time(self) -> float:
        """Return how many seconds have passed."""
        return self.now_ns / SECOND_NS

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Handle the events that are due until a deadline, and jump to it. Trio asks this when no task can run."""
        events = self._events or self._next_stretch()
        late = self.now_ns >= self.ends_ns + PAST_END_NS
        if deadline == math.inf or late:
            if _has_ended():
                return math.inf  # as Trio ends it waits for its own wake-up
            # Past the run's time, what is shielded from its end goes on for a while.
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
        """Take the shields of those that wait for what does not come, so that the run ends, and say who they are."""
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
        """Play the turns that come next in a round, and return whether any could be."""
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
        """Go on to the next stretch in which there is anything; return its events as a heap."""
        if self._stretches:
            if self._planned >= self._look_at:
                self._look_at = self._planned + LOOK_EVENTS
                self._pages.look()
            self._stretch = heapq.heappop(self._stretches)
            self._events = self._later.pop(self._stretch)
            self._events.sort()
        return self._events


def _wake(waiting: list[trio.lowlevel.Task]) -> None:
    """Have who waits still go on."""
    for task in waiting:
        trio.lowlevel.reschedule(task)


def _tasks() -> list[Any]:
    """Return Trio's own records of the tasks that there are, those first that began first, but for its own."""
    runner = vars(_run)[CONTEXT].runner
    tasks = sorted(runner.tasks, key=lambda task: task._counter)  # noqa: SLF001 - as above
    return [one for one in tasks if one.parent_nursery not in {None, runner.system_nursery}]


def _shielded_scopes() -> dict[Any, list[trio.CancelScope]]:
    """Return the shields of each task that has any, by Trio's own record of it, those first that began first.

    None of them may run: else nothing would be given up.
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
    """Return in which function of ours a task waits, and where that is."""
    frames = [frame for frame, _ in task.iter_await_frames()]
    frame = next((one for one in reversed(frames) if LIBRARIES not in one.f_code.co_filename), frames[0])
    where = "/".join(Path(frame.f_code.co_filename).parts[-PLACE_PARTS:])
    return f"{frame.f_code.co_qualname} ({where}:{frame.f_lineno})"


def runnable_tasks() -> deque[Any]:
    """Return Trio's own queue of the tasks that may run: empty while all wait."""
    queue: deque[Any] = vars(_run)[CONTEXT].runner.runq
    return queue


def _has_ended() -> bool:
    return vars(_run)[CONTEXT].runner.main_task_outcome is not None


class Frozen(trio.abc.Instrument):
    """A task and all that it has started, which stand still where they are until they are thawed, as by SIGSTOP.

    What they wait for happens meanwhile, and so do their timeouts: they find that when they go on. To be made while all
    of them wait.
    """

    def __init__(self, root: trio.lowlevel.Task) -> None:
        self._root = root
        self._held: list[trio.lowlevel.Task] = []
        trio.lowlevel.add_instrument(self)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        """Hold a task that could go on."""
        at: trio.lowlevel.Task | None = task
        while at is not None and at is not self._root:
            at = None if at.parent_nursery is None else at.parent_nursery.parent_task
        if at is not None:
            self._held.append(runnable_tasks().pop())  # it was put there just now

    def thaw(self) -> None:
        """Have them go on."""
        trio.lowlevel.remove_instrument(self)
        runnable_tasks().extend(self._held)


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Have Python look for circles seldom, and not among what is there already: a fleet makes hardly any."""
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
    """Run an async function to its end under a clock that begins at 0 and jumps, and return what it returns.

    The same seed and arguments give the same order of all steps, in any process, as long as nothing in it takes a
    thread, a socket or a signal. One at a time in a process. Raises TooSlowError past `seconds_max`, which comes at
    once where every task waits for another, and what an event of the `clock` raises; HangError where what is shielded
    from that waits for what does not come, which is cut off then.
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
    if chosen.hung:  # whoever was cut off has gone on as if nothing had been
        raise HangError(chosen.hung)
    return result
