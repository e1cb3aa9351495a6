"""Watching what a run has started: the memory it takes, how long it waits for a CPU, and whether it ends by itself."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.deployment.server_log import search_logs
from simulator.deployment.server_process import LAST_WORDS_SECONDS
from simulator.history.records import CpuWait, Death
from simulator.history.starvation import MACHINE, TARGET
from simulator.limits import LAST_WORDS_MAX_CHARACTERS, LAST_WORDS_SHOWN_MAX_CHARACTERS
from simulator.platform.cpu_waits import CrowdMeter, Waited, WaitMeter, read_waits
from simulator.platform.listeners import find_processes_behind
from simulator.platform.wording import how_it_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.checkers.server_log import LogSearch
    from simulator.client.known_secrets import KnownSecrets
    from simulator.deployment.own import Deployment
    from simulator.deployment.redis_process import RedisProcess
    from simulator.deployment.server_process import ServerProcess

POLL_SECONDS = 0.2
ENDING_SECONDS = 1.0
"""How long a process may take to end, as it writes a core, once it answers nothing any more."""
MEASURED_NS = SECOND_NS
"""How much of a run one record says of how long somebody waited for a CPU."""
NO_PROCESS = 0
SECRETS_OF_OTHERS = "the secrets of machines are known only to the processes that play them"
LOOK_AGAIN_MIN_SECONDS, LOOK_AGAIN_MAX_SECONDS = 1.0, 30.0
"""How long until it is looked for again who answers for a target: soon at first, and ever more seldom."""


class Gauges(Protocol):
    """Where a run began, in monotonic nanoseconds, and the most memory that its servers took, where that is known."""

    started_ns: int
    memory_max_bytes: int | None


class SandboxGauges(msgspec.Struct):
    """Those of servers that an attack has to itself: the memory that they take is not the run's."""

    started_ns: int
    memory_max_bytes: int | None = None


class Watchable(Protocol):
    """What is watched of a server: what `ServerProcess` says of itself."""

    @property
    def exit_code(self) -> int | None:
        """Return how it ended; None while it runs, or is down because it was told to be."""

    @property
    def ended_by_itself(self) -> bool:
        """Return whether it has ended, and nobody told it to."""

    @property
    def words(self) -> str:
        """Return the end of what it wrote."""

    @property
    def memory_peak_bytes(self) -> int | None:
        """Return the most memory that it has taken; None where that is not known."""


class _Watched(msgspec.Struct):
    """A server, and when it was last seen to run. Without a `needed` one the run cannot go on."""

    name: str
    process: Any
    """A `Watchable`."""
    needed: bool
    seen_ns: int
    memory_bytes: int | None = None
    noted: bool = False


class _Metered(msgspec.Struct):
    """Somebody whose waits for a CPU are measured; times are monotonic, as a run may begin later."""

    who: str
    process: int
    meter: WaitMeter | CrowdMeter
    waits: list[Waited]


class ServerWatch:
    """Watches what is given to `add`, which has a name there or the watch's.

    `deaths` are of those that ended by themselves. `clock` shows monotonic nanoseconds.
    """

    def __init__(
        self, progress: Gauges, name: str = "the server", clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._progress = progress
        self._name = name
        self._clock = clock
        self._watched: list[_Watched] = []
        self._metered: list[_Metered] = []
        self._target_port: int | None = None
        self._look_again_at = 0.0
        self._look_again_seconds = LOOK_AGAIN_MIN_SECONDS
        self._looking = trio.Lock()
        self._over = False
        self.deaths: list[Death] = []

    def add(self, process: ServerProcess, name: str = "", *, needed: bool = True) -> None:
        """Watch a server from now on; the memory that it takes is the run's where it is needed."""
        name = name or self._name
        self.add_watchable(process, name, needed=needed)
        self.add_processes(name, process.processes)

    def add_watchable(self, process: Watchable, name: str = "", *, needed: bool = True) -> None:
        """Watch a server from now on whose waits for a CPU are nobody's: one in memory, say."""
        self._watched.append(_Watched(name or self._name, process, needed, self._now()))

    def search_logs(self, known: KnownSecrets, *, others_play: bool) -> LogSearch:
        """Look for secrets in all that the servers have logged which are watched.

        `others_play` says that other processes play machines, whose secrets are not known here.
        """
        servers = [(one.name, one.process.log, one.process.secrets) for one in self._watched]
        return search_logs(servers, known, SECRETS_OF_OTHERS if others_play else "")

    def add_deployment(self, deployment: Deployment) -> None:
        """Watch the servers of a run, and measure the Redis that they wait for."""
        for number, one in enumerate(deployment.servers):
            self.add(one, "" if len(deployment.servers) == 1 else f"instance {number}")
        if deployment.redis is not None:
            self.add_redis(deployment.redis)

    def add_redis(self, redis: RedisProcess) -> None:
        """Measure how long a Redis that servers wait for waits itself."""
        self.add_processes("Redis", lambda: (redis.pid,))

    def add_processes(self, name: str, processes: Callable[[], Sequence[int]]) -> None:
        """Measure from now on how long processes, which are one thing that answers depend on, wait for a CPU."""
        meter = WaitMeter(lambda: read_waits(processes()), self._clock())
        self._metered.append(_Metered(name, next(iter(processes()), NO_PROCESS), meter, []))

    def add_target(self, port: int) -> None:
        """Measure from now on how long who answers at a port of this machine waits for a CPU: others have started it.

        Where it cannot be seen who that is, how long whoever wants to run on this machine waits.
        """
        self._target_port = port

    async def _look_for_the_target(self) -> None:
        """Find out who answers at the target's port: a proxy connects to what is behind it as it is asked."""
        now = trio.current_time()
        if self._target_port is None or now < self._look_again_at:
            return
        self._look_again_at = now + self._look_again_seconds
        self._look_again_seconds = min(2 * self._look_again_seconds, LOOK_AGAIN_MAX_SECONDS)
        behind = await trio.to_thread.run_sync(find_processes_behind, self._target_port)
        known = {(one.who, one.process) for one in self._metered}
        for process in behind.processes:
            if (TARGET, process) not in known:
                self.add_processes(TARGET, partial(_only, process))
        if not behind.whole and (MACHINE, NO_PROCESS) not in known:
            meter = CrowdMeter(os.cpu_count() or 1, self._clock())
            self._metered.append(_Metered(MACHINE, NO_PROCESS, meter, []))

    def cpu_waits(self) -> list[CpuWait]:
        """Measure once more, and return how long who waited for a CPU, in the run's time."""
        self._measure(self._clock())
        began_ns = self._progress.started_ns
        return [
            CpuWait(one.who, one.process, waited.from_ns - began_ns, waited.to_ns - began_ns, waited.waited_ns)
            for one in self._metered
            for waited in one.waits
        ]

    def _measure(self, now_ns: int, least_ns: int = 0) -> None:
        """Read every meter that was not read for so long."""
        for one in self._metered:
            if isinstance(one.meter, CrowdMeter):
                one.meter.sample()
            if now_ns - one.meter.read_ns >= least_ns and (waited := one.meter.read(now_ns)) is not None:
                one.waits.append(waited)

    def _now(self) -> int:
        return self._clock() - self._progress.started_ns

    @property
    def why_down(self) -> str:
        """Return which server that the run needs is down though nobody told it to be, and how; empty for none."""
        for one in self._watched:
            if one.needed and one.process.exit_code is not None:
                what = "died" if one.noted else "did not come up again"
                after = f" after {max(0, one.seen_ns) / SECOND_NS:.1f}s" if one.noted else ""
                last = one.process.words.splitlines()[-1:]
                words = f"; its last words: {last[0][:LAST_WORDS_SHOWN_MAX_CHARACTERS]}" if last else ""
                return f"{one.name} {what}{after}: {how_it_ended(one.process.exit_code)}{words}"
        return ""

    async def until_death(self, scope: trio.CancelScope) -> None:
        """Watch until one that the run needs is down though nobody told it to be, and end what the scope holds."""
        while True:
            if await self.look():
                scope.cancel()
            await self._look_for_the_target()
            await trio.sleep(POLL_SECONDS)

    async def look(self) -> bool:
        """Note who has ended by itself since; returns whether one is down that the run needs."""
        async with self._looking:
            down = False
            self._measure(self._clock(), MEASURED_NS)
            for one in self._watched:
                if self._over:
                    break
                if one.process.exit_code is None:
                    one.seen_ns = self._now()
                    self._see_memory(one)
                    continue
                down |= one.needed
                if not one.noted and one.process.ended_by_itself:
                    one.noted = True
                    await self._note(one)
            return down

    def end(self) -> None:
        """Note nothing more: from now on they end because they are told to.

        Whoever has the lock given while a watch is cancelled looks once more; a server may have ended by then.
        """
        self._over = True

    async def died(self) -> bool:
        """Return whether one that the run needs has ended, or is about to: it may just have stopped answering."""
        if any(one.needed for one in self._watched):
            with trio.move_on_after(ENDING_SECONDS):
                while True:
                    if await self.look():
                        return True
                    await trio.sleep(LAST_WORDS_SECONDS)
        return False

    def _see_memory(self, one: _Watched) -> None:
        peak_bytes = one.process.memory_peak_bytes
        if peak_bytes is None:
            return
        one.memory_bytes = max(one.memory_bytes or 0, peak_bytes)
        if one.needed:
            self._progress.memory_max_bytes = max(self._progress.memory_max_bytes or 0, peak_bytes)

    async def _note(self, one: _Watched) -> None:
        died_to_ns = self._now()
        with trio.CancelScope(shield=True):
            await trio.sleep(LAST_WORDS_SECONDS)
        words = one.process.words[-LAST_WORDS_MAX_CHARACTERS:]
        exit_code = one.process.exit_code or 0
        self.deaths.append(Death(one.name, one.seen_ns, died_to_ns, exit_code, words, one.memory_bytes))


def _only(process: int) -> Sequence[int]:
    return (process,)
