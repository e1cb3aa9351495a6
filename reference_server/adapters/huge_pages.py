"""Memory in huge pages: what a heartbeat looks at lies on more small pages than a core knows the places of.

A fleet's state is thousands of small objects, and each heartbeat meets those of another machine. Where their pages are
is looked up in tables that fit no cache either, in a virtual machine at two levels. Linux puts 512 small pages into a
huge one when it is asked to (madvise(2): MADV_COLLAPSE, since 6.1). Other systems, older kernels, machines whose huge
pages are larger and those that were told never to have any are left as they are.
"""

from __future__ import annotations

import ctypes
import mmap
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
    HUGE_PAGES_GROWTH_SHARE,
    HUGE_PAGES_LOOK_SECONDS,
    HUGE_PAGES_NEW_BYTES,
    HUGE_PAGES_REST_SECONDS,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUGE_BYTES = 2 * 1024**2
AT_ONCE_BYTES = HUGE_PAGES_AT_ONCE * HUGE_BYTES
PAGE_BYTES = resource.getpagesize()
_COLLAPSE = 25
_MAPS, _RESIDENT = Path("/proc/self/maps"), Path("/proc/self/statm")
_WANTED = Path("/sys/kernel/mm/transparent_hugepage")
_WANTED_BY_SIZE = "hugepages-2048kB"
_NAMELESS = 5
"""Fields of a line of `maps` without a name: memory of no file."""


def heap_ranges(maps: bytes) -> Iterator[tuple[int, int]]:
    """Read `/proc/PID/maps` (proc(5)); yield begin and end, in bytes, of what holds whole huge pages and is no file's.

    That is the heap, and stacks of threads, of which hardly anything is there.
    """
    for line in maps.split(b"\n"):
        fields = line.split(maxsplit=_NAMELESS)
        if len(fields) < _NAMELESS or fields[1] != b"rw-p" or fields[_NAMELESS:] not in ([], [b"[heap]"]):
            continue
        begin, end = (int(one, 16) for one in fields[0].split(b"-"))
        begin, end = -(-begin // HUGE_BYTES) * HUGE_BYTES, end // HUGE_BYTES * HUGE_BYTES
        if begin < end:
            yield begin, end


def collapser() -> Callable[[int, int], bool] | None:
    """Return what puts memory into huge pages, by its begin and size in bytes, and says whether it could do it all.

    None where this system does not, which is tried with a page of its own.
    """
    if sys.platform != "linux" or _never(_WANTED) or _never(_WANTED / _WANTED_BY_SIZE):
        return None
    try:
        advise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    advise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

    def collapse(begin: int, size: int) -> bool:
        return bool(advise(begin, size, _COLLAPSE) == 0)

    with mmap.mmap(-1, 2 * HUGE_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as tried:
        view = ctypes.c_char.from_buffer(tried)
        begin = -(-ctypes.addressof(view) // HUGE_BYTES) * HUGE_BYTES
        ctypes.memset(begin, 1, 1)
        able = collapse(begin, HUGE_BYTES)
        del view
    return collapse if able else None


def _never(folder: Path) -> bool:
    """Return whether this machine was told to have no huge pages; of one that says nothing it is not known."""
    with suppress(OSError):
        return "[never]" in (folder / "enabled").read_text()
    return False


known_collapser = cache(collapser)


def gather() -> Iterator[None]:
    """Have this process's memory in huge pages, as far as the system does that, some of them from one step to the next.

    A page takes half a millisecond, in a virtual machine whose memory comes as it is used six. Whoever touches what it
    is made from waits for it; nobody waits for a lock of the interpreter. What has gone meanwhile is left out.
    """
    collapse = known_collapser()
    if collapse is None:
        return
    for begin, end in heap_ranges(_MAPS.read_bytes()):
        for at in range(begin, end, AT_ONCE_BYTES):
            collapse(at, min(AT_ONCE_BYTES, end - at))
            yield


def _new_pages() -> int:
    """Return how many pages this process was given, or had to copy, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def _resident_pages() -> int:
    return int(_RESIDENT.read_text().split()[1])


def _has_children() -> bool:
    """Return whether a child may share this process's memory: what is moved would no longer be shared.

    Children that are other programs share none; they are not told apart.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


class HugePages:
    """Gathers a process's memory into huge pages whenever enough of it is new. A small process is left alone.

    What it goes by are arguments: how many pages the process was given so far, how many are resident, and whether
    somebody shares them. What it was given before this is made counts for `run` alone. Where the system cannot say, or
    has no thread to give, that is for the next look: nobody else is to notice.
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

    def _is_due(self) -> bool:
        """Return whether enough is new to be gathered now. It counts as that then; what comes meanwhile does not."""
        new = self._new_pages()
        new_bytes = (new - self._seen) * PAGE_BYTES
        if new_bytes < HUGE_PAGES_NEW_BYTES:
            return False
        resident_bytes = self._resident_pages() * PAGE_BYTES
        if resident_bytes < HUGE_PAGES_FROM_BYTES or new_bytes < resident_bytes * HUGE_PAGES_GROWTH_SHARE:
            return False
        if self._shared():
            return False
        self._seen = new
        return True

    def _gather_all(self) -> None:
        for _ in self._gather():
            pass

    def look(self) -> None:
        """Gather here and now, if enough is new."""
        with suppress(OSError):
            if self._is_due():
                self._gather_all()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Gather what there is before anybody is served; then what comes, little by little. In a thread, both."""
        self._seen = 0
        with suppress(OSError, RuntimeError):
            if self._is_due():
                await offload(self._gather_all, abandon_on_cancel=True)
        task_status.started()
        while True:
            await trio.sleep(HUGE_PAGES_LOOK_SECONDS)
            with suppress(OSError, RuntimeError):
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
