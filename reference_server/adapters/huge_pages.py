"""Memory in huge pages: what a heartbeat looks at lies on more small pages than a core knows the places of.

A fleet's state is thousands of small objects, and each heartbeat meets those of another machine. Where their pages are
is looked up in tables that fit no cache either, in a virtual machine at two levels. Linux puts 512 small pages into a
huge one when it is asked to (madvise(2): MADV_HUGEPAGE for what comes, MADV_COLLAPSE, since 6.1, for what is there).
Other systems, older kernels and those that were told never to are left as they are.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from reference_server.adapters.threads import offload
from reference_server.limits import (
    HUGE_PAGES_AT_ONCE,
    HUGE_PAGES_FROM_BYTES,
    HUGE_PAGES_LOOK_SECONDS,
    HUGE_PAGES_NEW,
    HUGE_PAGES_REST_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUGE_BYTES = 2 * 1024**2
AT_ONCE_BYTES = HUGE_PAGES_AT_ONCE * HUGE_BYTES
GROWTH_SHARE = 4
"""Memory is gathered again once so manieth of it is new: what is in huge pages already costs a look each time."""
_HUGEPAGE, _COLLAPSE = 14, 25
_MAPS, _RESIDENT, _WANTED = "/proc/self/maps", "/proc/self/statm", "/sys/kernel/mm/transparent_hugepage/enabled"
_NAMELESS = 5
"""Fields of a line of `maps` without a name: memory of no file."""
PAGE_BYTES = resource.getpagesize()


def heap_ranges(maps: str) -> Iterator[tuple[int, int]]:
    """Read `/proc/PID/maps` (proc(5)); yield begin and end of what is heap and holds whole huge pages, in bytes."""
    for line in maps.splitlines():
        fields = line.split(maxsplit=_NAMELESS)
        if not fields[1].startswith("rw-p") or (len(fields) > _NAMELESS and fields[_NAMELESS] != "[heap]"):
            continue
        begin, end = (int(one, 16) for one in fields[0].split("-"))
        begin, end = -(-begin // HUGE_BYTES) * HUGE_BYTES, end // HUGE_BYTES * HUGE_BYTES
        if begin < end:
            yield begin, end


@cache
def _advise() -> Callable[[int, int, int], object] | None:
    """Return madvise(2); None where there is none, or this machine's pages are to be small."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, AttributeError):
        if "[never]" not in Path(_WANTED).read_text():
            call = ctypes.CDLL(None).madvise
            call.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
            return call
    return None


def gather() -> Iterator[None]:
    """Have this process's heap in huge pages, as far as the system does that, some of them from one step to the next.

    What they are made from stays in use until they are, and this holds no lock of the interpreter's meanwhile. A page
    takes half a millisecond, in a virtual machine whose memory comes as it is used six.
    """
    advise = _advise()
    if advise is None:
        return
    with suppress(OSError):
        for begin, end in heap_ranges(Path(_MAPS).read_text()):
            advise(begin, end - begin, _HUGEPAGE)
            for at in range(begin, end, AT_ONCE_BYTES):
                advise(at, min(AT_ONCE_BYTES, end - at), _COLLAPSE)
                yield


def _new_pages() -> int:
    """Return how many pages this process was given, or had to copy, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _resident_pages() -> int:
    return int(Path(_RESIDENT).read_text().split()[1])


def _has_children() -> bool:
    """Return whether a child shares this process's memory: what is moved would no longer be shared."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class HugePages:
    """Gathers a process's memory into huge pages whenever enough of it is new. A small process is left alone.

    What it goes by are arguments: how many pages the process was given so far, how many are resident, and whether
    somebody shares them. What it was given before this is made counts for `run` alone.
    """

    def __init__(
        self,
        gather: Callable[[], Iterator[None]] = gather,
        new_pages: Callable[[], int] = _new_pages,
        resident_pages: Callable[[], int] = _resident_pages,
        shared: Callable[[], bool] = _has_children,
    ) -> None:
        self._gather = gather
        self._new_pages = new_pages
        self._resident_pages = resident_pages
        self._shared = shared
        self._seen = new_pages()
        self._idle = _advise() is None

    def _is_due(self) -> bool:
        """Return whether enough is new to be gathered now. It counts as that then; what comes meanwhile does not."""
        if self._idle:
            return False
        new = self._new_pages()
        if new - self._seen < HUGE_PAGES_NEW:
            return False
        resident = self._resident_pages()
        if resident * PAGE_BYTES < HUGE_PAGES_FROM_BYTES or new - self._seen < resident // GROWTH_SHARE:
            return False
        if self._shared():
            return False
        self._seen = new
        return True

    def look(self) -> None:
        """Gather here and now, if enough is new."""
        if self._is_due():
            for _ in self._gather():
                pass

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Gather what there is before anybody is served; then what comes, little by little in a thread."""
        self._seen = 0
        self.look()
        task_status.started()
        while not self._idle:
            await trio.sleep(HUGE_PAGES_LOOK_SECONDS)
            if self._is_due():
                await self._gather_slowly()

    async def _gather_slowly(self) -> None:
        """Take a fifth of a core at most. Where a child comes to share the memory, all is to be done after its end."""
        steps = self._gather()
        while await offload(partial(next, steps, self), abandon_on_cancel=True) is not self:  # all steps are None
            await trio.sleep(HUGE_PAGES_REST_SECONDS)
            if self._shared():
                self._seen = 0
                return
