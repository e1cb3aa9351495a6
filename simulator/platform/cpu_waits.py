"""How long processes were ready to run and waited for a CPU, as the kernel counts it; nothing where it does not say.

A process that sleeps, stands still or is locked does not wait. Linux tells of each of its tasks in
`/proc/PID/task/TASK/schedstat`: nanoseconds on a CPU, nanoseconds ready and waiting for one, and how often it ran.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_SCHEDSTAT = re.compile(r"[0-9]+ ([0-9]+) [0-9]+\s*", re.ASCII)
_RUNNING = re.compile(r"^procs_running ([0-9]+)$", re.ASCII | re.MULTILINE)
MACHINE = Path("/proc/stat")


class Waited(NamedTuple):
    """How long somebody waited between two moments, all in nanoseconds; never longer than they are apart."""

    from_ns: int
    to_ns: int
    waited_ns: int


def parse_schedstat(text: str) -> int | None:
    """Return how long a task has waited for a CPU in all, in nanoseconds; None for what says nothing of it."""
    found = _SCHEDSTAT.fullmatch(text)
    return None if found is None else int(found[1])


def parse_running(text: str) -> int | None:
    """Return how many tasks of a machine run or wait for a CPU, of its `/proc/stat`; None where it does not say."""
    found = _RUNNING.search(text)
    return None if found is None else int(found[1])


def read_waits(processes: Iterable[int]) -> dict[int, int]:
    """Return how long each task of some processes has waited in all; nothing of those that have ended."""
    waits = {}
    for process in processes:
        with suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                with suppress(OSError):
                    waited_ns = parse_schedstat((task / "schedstat").read_text(encoding="ascii", errors="replace"))
                    if waited_ns is not None:
                        waits[int(task.name)] = waited_ns
    return waits


class WaitMeter:
    """Reads again and again how long tasks waited since they were last read. `read_all` gives each one's wait in all.

    Of several tasks the one that waited the longest counts: nobody here knows which of them the others wait for.
    """

    def __init__(self, read_all: Callable[[], Mapping[int, int]], now_ns: int) -> None:
        self._read_all = read_all
        self._before = read_all()
        self.read_ns = now_ns

    def read(self, now_ns: int) -> Waited | None:
        """Return how long they waited since they were last read; None for not at all, or where nobody says."""
        waits = self._read_all()
        waited_ns = max((waits[task] - self._before.get(task, 0) for task in waits), default=0)
        # What waits without a break is counted as it runs again, for all the time before.
        from_ns, self.read_ns = min(self.read_ns, now_ns - waited_ns), now_ns
        self._before = waits
        return Waited(from_ns, now_ns, waited_ns) if waited_ns > 0 else None


class CrowdMeter:
    """Samples how many tasks of this machine want its CPUs, and makes of it how long one of them waited.

    Each has its turn: where eight want two CPUs, who always wants one waits for three quarters of the time.
    """

    def __init__(self, cpus: int, now_ns: int, path: Path = MACHINE) -> None:
        self._cpus = cpus
        self._path = path
        self._shares: list[float] = []
        self.read_ns = now_ns

    def sample(self) -> None:
        """Look how many there are at this moment."""
        with suppress(OSError):
            running = parse_running(self._path.read_text(encoding="ascii", errors="replace"))
            if running is not None:
                self._shares.append(1 - self._cpus / max(running, self._cpus))

    def read(self, now_ns: int) -> Waited | None:
        """Return how long one waited since this was last read, by the samples since; None for not at all."""
        shares, self._shares = self._shares, []
        from_ns, self.read_ns = self.read_ns, now_ns
        waited_ns = int((now_ns - from_ns) * sum(shares) / max(len(shares), 1))
        return Waited(from_ns, now_ns, waited_ns) if waited_ns > 0 else None
