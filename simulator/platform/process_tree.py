"""All processes that came of one that was started: found, sent signals, and measured, whatever they forked.

Three things tell them: they are in the session that the first of them began, which `setsid` leaves; they are in its
process group, whom the kernel sends a signal at one moment; and they have inherited a mark in their environment, which
only a program with an environment of its own making loses.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import trio

from simulator.limits import TREE_ROUNDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "HATCHFARM_STARTED_BY"
"""The variable that marks them."""
LOOK_SECONDS = 0.02
_STILL = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


class ProcessTree:
    """What came of the process `leader`, which began a session of its own with `mark` in its environment."""

    def __init__(self, leader: int, mark: str) -> None:
        self._leader = leader
        self._mark = mark

    def session(self) -> list[int]:
        """Return the ids of those in its session, among them what has ended and was not waited for; this is cheap."""
        return [pid for pid in psutil.pids() if _session_of(pid) == self._leader]

    def members(self) -> list[int]:
        """Return the ids of all that live."""
        found = []
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                ours = _session_of(pid) == self._leader or process.environ().get(MARK) == self._mark
                if ours and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
                    found.append(pid)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send all of them a signal: the group at one moment, then whoever has left it."""
        with suppress(ProcessLookupError):
            os.killpg(self._leader, number)
        for pid in self.members():
            with suppress(ProcessLookupError):
                if os.getpgid(pid) != self._leader:
                    os.kill(pid, number)

    async def kill(self) -> bool:
        """End all of them as `kill -9` does; return whether none is left."""
        return await self._until(signal.SIGKILL, lambda members: not members)

    async def pause(self) -> bool:
        """Stop all of them where they stand (SIGSTOP); return whether all stand."""
        return await self._until(signal.SIGSTOP, lambda members: all(map(_stands, members)))

    def resume(self) -> None:
        """Continue all of them after a pause (SIGCONT)."""
        self.send(signal.SIGCONT)

    async def _until(self, number: signal.Signals, right: Callable[[list[int]], bool]) -> bool:
        """Send a signal again and again, since they may fork meanwhile, until all is right with those that live."""
        for _ in range(TREE_ROUNDS_MAX):
            self.send(number)
            if right(self.members()):
                return True
            await trio.sleep(LOOK_SECONDS)
        return False

    async def ended(self) -> None:
        """Wait until none is left."""
        while self.members():  # noqa: ASYNC110 - the system tells nobody that another's child has ended
            await trio.sleep(LOOK_SECONDS)

    def limit_files(self, *, full: bool) -> None:
        """Allow them no byte in any file (RLIMIT_FSIZE), or again as many as they like. Raises OSError."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    def memory_bytes(self) -> int | None:
        """Return the memory they take together now, what they share counted once; None where the system is silent."""
        sizes = []
        for pid in self.session():
            with suppress(psutil.Error):
                sizes.append(getattr(psutil.Process(pid).memory_full_info(), "pss", None))
        known = [size for size in sizes if size is not None]
        return sum(known) if known else None


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _stands(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() in _STILL
    except psutil.Error:
        return True  # it has ended meanwhile
