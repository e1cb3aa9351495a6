"""How long processes were ready to run and waited for a CPU, by the kernel's counters; nothing if there are none.

A process that sleeps, is stopped or is blocked by a lock does not wait. For each task of a process, Linux shows in
`/proc/PID/task/TASK/schedstat` its nanoseconds on a CPU, its nanoseconds waiting for one, and how often it ran.
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
    """The time for which a task waited between two moments, in nanoseconds; at most the time between them."""

    from_ns: int
    to_ns: int
    waited_ns: int


def parse_schedstat(text: str) -> int | None:
    """Return a task's total wait for a CPU in nanoseconds, or None if `text` does not contain it."""
    found = _SCHEDSTAT.fullmatch(text)
    return None if found is None else int(found[1])


def parse_running(text: str) -> int | None:
    """Return the number of tasks that run or wait for a CPU, from `/proc/stat`, or None if it is not in `text`."""
    found = _RUNNING.search(text)
    return None if found is None else int(found[1])


def read_waits(processes: Iterable[int]) -> dict[int, int]:
    """Return the total wait in nanoseconds of each task of the processes, by task id, without tasks that have ended."""
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
    """A meter of the longest wait of any task since the last reading. `read_all` returns each task's total wait.

    The longest wait counts, because the meter cannot know which of the tasks the others depend on.
    """

    def __init__(self, read_all: Callable[[], Mapping[int, int]], now_ns: int) -> None:
        self._read_all = read_all
        self._before = read_all()
        self.read_ns = now_ns

    def read(self, now_ns: int) -> Waited | None:
        """Return the longest wait since the last reading, or None if there was none or it is unknown."""
        waits = self._read_all()
        waited_ns = max((waits[task] - self._before.get(task, 0) for task in waits), default=0)
        # The kernel adds a wait to the counter when the task runs again, so it may be longer than this interval.
        from_ns, self.read_ns = min(self.read_ns, now_ns - waited_ns), now_ns
        self._before = waits
        return Waited(from_ns, now_ns, waited_ns) if waited_ns > 0 else None


class CrowdMeter:
    """A meter that estimates one task's wait from samples of how many tasks want this machine's CPUs.

    Tasks take turns: if eight want two CPUs, a task that always wants one waits three quarters of the time.
    """

    def __init__(self, cpus: int, now_ns: int, path: Path = MACHINE) -> None:
        self._cpus = cpus
        self._path = path
        self._shares: list[float] = []
        self.read_ns = now_ns

    def sample(self) -> None:
        """Sample the number of tasks that want a CPU now."""
        with suppress(OSError):
            running = parse_running(self._path.read_text(encoding="ascii", errors="replace"))
            if running is not None:
                self._shares.append(1 - self._cpus / max(running, self._cpus))

    def read(self, now_ns: int) -> Waited | None:
        """Return one task's estimated wait since the last reading, or None if there was none."""
        shares, self._shares = self._shares, []
        from_ns, self.read_ns = self.read_ns, now_ns
        waited_ns = int((now_ns - from_ns) * sum(shares) / max(len(shares), 1))
        return Waited(from_ns, now_ns, waited_ns) if waited_ns > 0 else None
