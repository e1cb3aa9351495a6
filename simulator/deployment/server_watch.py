"""Watching the servers that a run has started: how much memory they take, and whether one ends by itself."""

from __future__ import annotations

import time
from typing import Protocol

import msgspec
import trio

from reference_server.wire.units import SECOND_NS
from simulator.deployment.server_process import LAST_WORDS_SECONDS, ServerProcess
from simulator.history.records import Death
from simulator.limits import LAST_WORDS_MAX_CHARACTERS, LAST_WORDS_SHOWN_MAX_CHARACTERS
from simulator.platform.wording import how_it_ended

POLL_SECONDS = 0.2
ENDING_SECONDS = 1.0
"""How long a process may take to end, as it writes a core, once it answers nothing any more."""


class Gauges(Protocol):
    """Where a run began, in monotonic nanoseconds, and the most memory that its servers took, where that is known."""

    started_ns: int
    memory_max_bytes: int | None


class _Watched(msgspec.Struct):
    """A server, and when it was last seen to run. Without a `needed` one the run cannot go on."""

    name: str
    process: ServerProcess
    needed: bool
    seen_ns: int
    memory_bytes: int | None = None
    noted: bool = False


class ServerWatch:
    """Watches what is given to `add`. `deaths` are of those that ended by themselves."""

    def __init__(self, progress: Gauges) -> None:
        self._progress = progress
        self._watched: list[_Watched] = []
        self._looking = trio.Lock()
        self.deaths: list[Death] = []

    def add(self, name: str, process: ServerProcess, *, needed: bool = True) -> None:
        """Watch a server from now on; the memory that it takes is the run's where it is needed."""
        self._watched.append(_Watched(name, process, needed, self._now()))

    def _now(self) -> int:
        return time.monotonic_ns() - self._progress.started_ns

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
            await trio.sleep(POLL_SECONDS)

    async def look(self) -> bool:
        """Note who has ended by itself since; returns whether one is down that the run needs."""
        async with self._looking:
            down = False
            for one in self._watched:
                if one.process.exit_code is None:
                    one.seen_ns = self._now()
                    self._see_memory(one)
                    continue
                down |= one.needed
                if not one.noted and one.process.ended_by_itself:
                    one.noted = True
                    await self._note(one)
            return down

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
