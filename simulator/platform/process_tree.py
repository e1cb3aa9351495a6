"""All processes descended from a started one, however they forked: finding, signalling and measuring them.

Three things identify them: the session of the first process, which `setsid` leaves; its process group, to which the
kernel sends a signal at one moment; and an inherited environment variable, which is lost only if a program replaces
its environment.
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
"""The environment variable that marks the processes."""
LOOK_SECONDS = 0.02
_STILL = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})


class ProcessTree:
    """The descendants of the process `leader`, which started a session of its own with `mark` in its environment."""

    def __init__(self, leader: int, mark: str) -> None:
        self._leader = leader
        self._mark = mark

    def session(self) -> list[int]:
        """Return the ids of the processes in the leader's session, zombies included. Cheaper than `members`."""
        return [pid for pid in psutil.pids() if _session_of(pid) == self._leader]

    def members(self) -> list[int]:
        """Return the ids of all living processes of the tree."""
        found = []
        for pid in psutil.pids():
            with suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                ours = _session_of(pid) == self._leader or process.environ().get(MARK) == self._mark
                if ours and process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
                    found.append(pid)
        return found

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all processes: to the group at one moment, then to those that have left it."""
        with suppress(ProcessLookupError):
            os.killpg(self._leader, number)
        for pid in self.members():
            with suppress(ProcessLookupError):
                if os.getpgid(pid) != self._leader:
                    os.kill(pid, number)

    async def kill(self) -> bool:
        """Send SIGKILL to all processes; return whether none is left."""
        return await self._until(signal.SIGKILL, lambda members: not members)

    async def pause(self) -> bool:
        """Send SIGSTOP to all processes; return whether all are stopped."""
        return await self._until(signal.SIGSTOP, lambda members: all(map(_stands, members)))

    def resume(self) -> None:
        """Send SIGCONT to all processes, after a pause."""
        self.send(signal.SIGCONT)

    async def _until(self, number: signal.Signals, right: Callable[[list[int]], bool]) -> bool:
        """Repeat a signal, because processes may fork meanwhile, until `right` holds for all living ones."""
        for _ in range(TREE_ROUNDS_MAX):
            self.send(number)
            if right(self.members()):
                return True
            await trio.sleep(LOOK_SECONDS)
        return False

    async def ended(self) -> None:
        """Wait until no process is left."""
        while self.members():  # noqa: ASYNC110 - the kernel does not tell when a child of another process ends
            await trio.sleep(LOOK_SECONDS)

    def limit_files(self, *, full: bool) -> None:
        """Set RLIMIT_FSIZE of all processes to 0 (`full`), or remove the limit. Raises OSError."""
        for pid in self.members():
            with suppress(ProcessLookupError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0 if full else hard, hard))

    def memory_bytes(self) -> int | None:
        """Return the processes' total memory now, shared pages counted once, or None if the system does not show it."""
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
        return True  # the process has ended meanwhile
