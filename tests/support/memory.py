"""How much memory code of this project took: what other threads of a test's process take meanwhile is left out."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parents[2]
ROOMS = ("reference_server", "simulator", "tests")
FRAMES = 6
"""So many callers of what took memory are looked at: a library does it in the name of what called it."""


@contextmanager
def counted_bytes() -> Iterator[Callable[[], int]]:
    """Return what says the bytes that code below the project's root took since and still holds.

    The thread by which pytest-xdist gives a process its tests takes memory as well, and when it does is chance: a
    thread has no frame of this project's in its stack, so none of it counts.
    """
    ours = [tracemalloc.Filter(inclusive=True, filename_pattern=f"{HERE}/{room}/*", all_frames=True) for room in ROOMS]

    def counted() -> int:
        gc.collect()
        return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(ours).traces)

    tracemalloc.start(FRAMES)
    try:
        yield counted
    finally:
        tracemalloc.stop()
