"""A run that Locust conducts: its processes, what they report, and the history that comes of it. Runs under Trio."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import trio

from reference_server.wire.units import SECOND_NS
from simulator.history.histogram import Histogram
from simulator.history.merging import HistoryPart, merge_histories
from simulator.history.records import LocustCount
from simulator.history.rows import NEVER_NS, History
from simulator.judging.tally import tally
from simulator.load.deltas import apply_delta
from simulator.load.locust_processes import LocustProcesses
from simulator.load.messages import (
    Counted,
    FrameError,
    Frames,
    Halt,
    Joined,
    Left,
    Order,
    PartReport,
    Started,
    frame,
)
from simulator.load.options import ConductorError
from simulator.platform.secret_names import SECRET_NAME
from simulator.worlds.live.watching import watch_generator
from simulator.worlds.live.world import LIVE
from simulator.worlds.plan import machines_wanted
from simulator.worlds.players.market_player import MarketPlayer
from simulator.worlds.players.observing import Observer
from simulator.worlds.players.onboarding import Onboarding, SetUpError
from simulator.worlds.progress import MARKET_COUNTERS, Kind, Phase, Progress
from simulator.worlds.world import owner_prefix

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from simulator.client.target import Target
    from simulator.load.options import ConductorOptions
    from simulator.scenario.overriding import Change
    from simulator.scenario.values import Scenario
    from simulator.worlds.players.fault_player import FaultPlayer

END_SECONDS = 60.0
"""How long after the scenario's end everything must have been told."""
READ_BYTES = 1 << 20
TICK_SECONDS = 0.1
ADDED_UP = ("connected", "machines_running", "in_flight", "sent", "accepted", "refused", "lost", "connect_failures",
    "onboarding_failures", "dropped_starts", "held_up", "attacks_refused", "attacks_accepted", "attacks_other",
    "attempts_skipped")  # fmt: skip


class _PlayedPart(msgspec.Struct):
    """What has come of one part so far."""

    joined: Joined
    history: History
    reported_until_ns: int = 0
    progress: dict[str, int] = {}
    complete: bool = False
    lost: str = ""
    under_way: set[tuple[Kind, int, str]] = msgspec.field(default_factory=set)
    """What it said began and has not said to have ended, as `Progress.under_way` names it."""


class Conductor:
    """Conducts one run: owners' policies before it, observing during it, one history after it.

    `history` is this process's own part; `merged` gives the whole.
    """

    def __init__(
        self,
        scenario: Scenario,
        text: str,
        seed: int,
        target: Target,
        history: History,
        progress: Progress,
        wanted: ConductorOptions,
        sides: Mapping[str, Target],
        clock_offset_ns: int = 0,
        faults: FaultPlayer | None = None,
        *,
        changes: tuple[Change, ...] = (),
    ) -> None:
        self._scenario = scenario
        self._changes = changes
        self._faults = faults
        self._text = text
        self._seed = seed
        self._target = target
        self._history = history
        self._progress = progress
        self._sides = sides
        self._clock_offset_ns = clock_offset_ns
        self._start_ns = progress.started_ns = time.monotonic_ns()
        prefix = self._prefix = owner_prefix(LIVE.clock.wall_ns() + clock_offset_ns)
        self._owner_ids = [f"{prefix}-{index}" for index in range(scenario.fleet.owners)]
        rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3])
        self._onboarding = Onboarding(target, history, progress, self.now, rng, scenario.fleet.certificate_rotation_ns)
        self._observer = Observer(
            scenario, seed, target, history, progress, self.now, self._owner_ids, LIVE.clock.wall_ns
        )
        self._own = Progress()
        self._market = MarketPlayer(scenario, seed, target, history, self._own, self.now, prefix, self._owner_ids)
        self._start_seconds = wanted.start_seconds
        self._processes = LocustProcesses(wanted, target)
        self._parts: dict[int, _PlayedPart] = {}
        self._started = trio.Event()
        self._playing = False
        self._counted: Counted | None = None
        self._over = trio.Event()
        self._services: list[trio.CancelScope] = []
        self._created_ns = self._start_ns
        self.problem = ""
        """What ended the run early, or left it incomplete; empty when nothing did."""
        self.losses: list[str] = []
        """Which workers were lost when and why."""

    def now(self) -> int:
        """Return nanoseconds since the start of the run."""
        return time.monotonic_ns() - self._start_ns

    async def run(self) -> None:
        """Run to the scenario's end; cancel it to end it early. Raises ConductorError and TargetError."""
        progress = self._progress
        progress.phase = Phase.POLICIES
        try:
            await self._onboarding.create_policies(self._owner_ids)
        except* SetUpError:
            await self._observer.ask_for_health()
            raise
        progress.phase = Phase.WORKERS
        ours, theirs = socket.socketpair()
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as control, trio.open_nursery() as nursery:
            try:
                await self._processes.start(theirs)
                nursery.start_soon(self._to_the_end, self._processes.keep_words)
                nursery.start_soon(self._to_the_end, self._listen, control)
                await control.send_all(frame(self._order()))
                await self._play()
            finally:
                with trio.CancelScope(shield=True):
                    await self._end(control)
                    await self._processes.stop()
                for service in self._services:
                    service.cancel()
            nursery.cancel_scope.cancel()

    async def _to_the_end(self, work: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Go on while the run is ended in order, however it was ended: what is told then is wanted most."""
        with trio.CancelScope(shield=True) as service:
            self._services.append(service)
            await work(*arguments)

    def merged(self) -> History:
        """Return one history of everything that is known."""
        own = HistoryPart(self._history)
        return merge_histories([own, *(self._history_part(part) for part in self._parts.values())])

    def known(self) -> tuple[History, int]:
        """Return what has been told so far, and the moment of the run until which all of it has, in nanoseconds."""
        live = [one for one in self._parts.values() if not one.complete and not one.lost]
        moments = (self._history_part(one).earliest_ns(one.reported_until_ns) for one in live)
        return self.merged(), min(moments, default=NEVER_NS)

    # --- the course of a run

    async def _play(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_starting)
            with trio.move_on_after(self._start_seconds) as waiting:
                await self._started.wait()
            nursery.cancel_scope.cancel()
        if waiting.cancelled_caught or self.problem:
            raise ConductorError(self._processes.why_not_started(self.problem, self.now() / SECOND_NS))
        self._playing = True
        self._history.shift_effects(self._created_ns - self._start_ns)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_generator, self._history, self._progress, self.now)
            nursery.start_soon(self._observer.watch)
            nursery.start_soon(self._market.play)
            nursery.start_soon(self._show)
            if self._faults is not None:
                nursery.start_soon(self._faults.play, self.now)
            with trio.move_on_after((self._scenario.duration_ns / SECOND_NS) + END_SECONDS) as playing:
                await self._over.wait()
            nursery.cancel_scope.cancel()
        self._see_why_it_ended(timed_out=playing.cancelled_caught)

    def _see_why_it_ended(self, *, timed_out: bool) -> None:
        """Note what ended the test before the scenario did, or kept it from ending."""
        elapsed_ns = self._progress.elapsed_ns
        if self.problem:
            return
        if timed_out:
            self.problem = f"Locust had not ended {END_SECONDS:g} s after the scenario's end"
        elif elapsed_ns < self._scenario.duration_ns - SECOND_NS:
            stopped = any(part.complete for part in self._parts.values())
            why = "it was stopped there" if stopped else "no worker was left"
            self.problem = f"Locust ended the test after {elapsed_ns / SECOND_NS:.1f}s: {why}"

    async def _watch_starting(self) -> None:
        """End the wait for a worker that has died."""
        while not self._started.is_set():
            await trio.sleep(TICK_SECONDS)
            if self._processes.any_died:
                await trio.sleep(TICK_SECONDS)  # for its last words
                self.problem = "a worker died"
                self._started.set()

    async def _end(self, control: trio.SocketStream) -> None:
        """Have everything told that can be, and look at the target once more."""
        progress = self._progress
        progress.phase = Phase.LAST_ANSWERS
        if self._playing and self._counted is None and not self._over.is_set():
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError), trio.move_on_after(END_SECONDS):
                await control.send_all(frame(Halt()))  # also where nobody waits for what comes of it
                with progress.ending.wait(trio.CancelScope()):
                    await self._over.wait()
        for part in self._parts.values():
            if not part.complete and not part.lost:
                part.lost = "it had not said everything when the run ended"
            self._end_under_way(part)
            self._history.owners += part.history.owners
        if self._playing:
            if self._scenario.market is not None:
                progress.phase = Phase.ACCOUNTS
            with progress.ending.wait(trio.CancelScope()):
                await self._market.finish()
                await self._observer.finish()
        if self._counted is not None:
            counted = [LocustCount(one.method, one.name, one.requests, one.failures) for one in self._counted.counts]
            self._history.locust_counts = counted + _counts_of(self._history)
        progress.phase = Phase.DONE

    async def _show(self) -> None:
        """Keep up what people look at."""
        progress = self._progress
        while True:
            await trio.sleep(TICK_SECONDS)
            progress.elapsed_ns = self.now()
            wanted = machines_wanted(self._scenario.fleet, progress.elapsed_ns)
            progress.machines_wanted = wanted
            for name in MARKET_COUNTERS:
                of_parts = sum(one.progress.get(name, 0) for one in self._parts.values())
                setattr(progress, name, of_parts + getattr(self._own, name))
            progress.phase = Phase.RAMPING if progress.connected < wanted * 0.99 else Phase.RUNNING

    # --- what the master tells

    async def _listen(self, control: trio.SocketStream) -> None:
        frames = Frames()
        try:
            while data := await control.receive_some(READ_BYTES):
                for message in frames.feed(bytes(data)):
                    self._receive(message)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except FrameError as error:
            self.problem = f"Locust's master said what cannot be read: {error}"
        if self._counted is None and not self.problem:
            self.problem = await self._processes.master_end()
        self._over.set()
        self._started.set()

    def _receive(self, message: Any) -> None:
        match message:
            case Started():
                self._created_ns, self._start_ns = self._start_ns, message.start_ns
                self._progress.started_ns = message.start_ns
                self._started.set()
            case Joined():
                self._parts[message.part] = _PlayedPart(message, History())
            case PartReport():
                self._take(message)
            case Left():
                self.losses.append(f"a worker was lost after {self.now() / SECOND_NS:.1f}s: {message.why}")
                for part in self._parts.values():
                    if part.joined.worker == message.worker and not part.complete:
                        part.lost = message.why
                        part.progress = {}
                        self._end_under_way(part)
                        self._progress.last_problem = f"a worker is lost: {message.why}"
            case Counted():
                self._counted = message
                self._over.set()

    def _take(self, message: PartReport) -> None:
        part, report = self._parts[message.part], message.report
        rows = apply_delta(part.history, report.delta)
        part.reported_until_ns = report.at_ns - part.joined.start_ns
        part.complete = report.last
        part.progress = report.progress
        progress = self._progress
        for name in ADDED_UP:
            setattr(progress, name, sum(one.progress.get(name, 0) for one in self._parts.values()))
        progress.connected_max = max(progress.connected_max, progress.connected)
        low_ns, high_ns = part.joined.offset_ns
        shift_ns = part.joined.start_ns - (low_ns + high_ns) // 2 - self._start_ns
        progress.counts.add(rows, shift_ns)
        progress.follow(report.changes, shift_ns)
        for one in report.changes:
            change = part.under_way.add if one.ended_ns is None else part.under_way.discard
            change((one.kind, one.number, one.name))

    def _end_under_way(self, part: _PlayedPart) -> None:
        """Note that what a part began ends, since nobody will say so who plays it."""
        for kind, number, name in part.under_way & self._progress.under_way.keys():
            self._progress.end(kind, name, number, self.now(), "its worker says no more")
        part.under_way.clear()

    def _history_part(self, part: _PlayedPart) -> HistoryPart:
        joined = part.joined
        low_ns, high_ns = joined.offset_ns
        if self._counted is not None and joined.worker in self._counted.offsets_ns and joined.offset_ns != (0, 0):
            later_low_ns, later_high_ns = self._counted.offsets_ns[joined.worker]
            low_ns, high_ns = min(low_ns, later_low_ns), max(high_ns, later_high_ns)
        return HistoryPart(
            history=part.history,
            machines=range(joined.first_machine, joined.first_machine + joined.machines),
            shift_ns=joined.start_ns - self._start_ns,
            clock_ns=(-high_ns, -low_ns),
            host=joined.host,
            known_until_ns=part.reported_until_ns if part.lost else NEVER_NS,
        )

    # --- what the master is told

    def _order(self) -> Order:
        return Order(
            self._text,
            self._seed,
            self._target.url,
            self._prefix,
            self._onboarding.policies,
            self._clock_offset_ns,
            sides={name: side.url for name, side in self._sides.items()},
            others=self._target.others,
            lacks=self._target.lacks,
            settings={
                name: value
                for name, value in self._scenario.server.environ().items()
                if not SECRET_NAME.search(name)  # nobody who plays needs them, and they may play on other hosts
            },
            addresses="" if self._target.own_addresses else "shared",
            addresses_known=self._target.addresses_known,
            settings_known=self._target.settings_known,
            changes=self._changes,
        )


def _counts_of(history: History) -> list[LocustCount]:
    """Count what this process has asked itself, which Locust does not know: owners' accounts, and what is offered."""
    return [
        LocustCount(
            one.method, one.name, Histogram.from_wire(one.answered).count + one.lost, sum(one.failures.values())
        )
        for one in tally(history.rows(), ())
    ]
