"""When a process's memory is gathered into huge pages, and which of it; that it is, where the kernel does that."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from reference_server.adapters import huge_pages
from reference_server.adapters.huge_pages import HUGE_BYTES, PAGE_BYTES, HugePages, collapser, heap_ranges
from reference_server.limits import HUGE_PAGES_FROM_BYTES, HUGE_PAGES_GROWTH_SHARE, HUGE_PAGES_NEW_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL, LARGE = HUGE_PAGES_FROM_BYTES // PAGE_BYTES - 1, HUGE_PAGES_FROM_BYTES // PAGE_BYTES
GROWN = max(HUGE_PAGES_NEW_BYTES // PAGE_BYTES, int(LARGE * HUGE_PAGES_GROWTH_SHARE))
TIMES = 3
A_MINUTE = 60.0
MAPS = b"""\
00400000-00c00000 r-xp 00000000 fe:00 1234 /usr/bin/\xff\x0b\x85python3
00c00000-01400000 rw-p 00800000 fe:00 1234 /usr/bin/python3
01500000-01f00000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000900000 rw-p 00000000 00:00 0
7f0000a00000-7f0000b00000 rw-p 00000000 00:00 0
7f0001000000-7f0002000000 ---p 00000000 00:00 0
7f0003000000-7f0004000000 rw-s 00000000 00:00 9 /dev/zero (deleted)
7ffc00000000-7ffc00800000 rw-p 00000000 00:00 0 [stack]
"""


class Process:
    """A process's figures, and how often it was gathered."""

    def __init__(self) -> None:
        self.new = self.resident = self.gathered = 0
        self.shared = False

    def gather(self) -> Iterator[None]:
        yield
        self.gathered += 1

    def pages(self) -> HugePages:
        return HugePages(self.gather, lambda: self.new, lambda: self.resident, lambda: self.shared)

    def grow(self, pages: int) -> None:
        self.new += pages
        self.resident += pages


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """One that looks without a rest."""
    monkeypatch.setattr(huge_pages, "HUGE_PAGES_LOOK_SECONDS", 0)
    monkeypatch.setattr(huge_pages, "HUGE_PAGES_REST_SECONDS", 0)
    return Process()


def test_whole_huge_pages_of_the_heap_alone_are_asked_for() -> None:
    assert [(hex(begin), hex(end)) for begin, end in heap_ranges(MAPS)] == [
        ("0x1600000", "0x1e00000"),
        ("0x7f0000200000", "0x7f0000800000"),
    ]


@given(st.integers(0, 1 << 40), st.integers(1, 1 << 30))
def test_ranges_are_whole_huge_pages_inside_what_there_is(begin: int, size: int) -> None:
    found = [*heap_ranges(b"%x-%x rw-p 00000000 00:00 0 \n" % (begin, begin + size))]
    for first, last in found:
        assert begin <= first < last <= begin + size
        assert first % HUGE_BYTES == last % HUGE_BYTES == 0
    assert sum(last - first for first, last in found) > size - 2 * HUGE_BYTES


def test_a_process_is_gathered_whenever_enough_of_it_is_new(process: Process) -> None:
    pages = process.pages()
    process.grow(SMALL)
    pages.look()
    assert process.gathered == 0, "a small one is left alone"
    process.grow(1)
    pages.look()
    pages.look()
    assert process.gathered == 1
    process.new += GROWN - 1
    pages.look()
    assert process.gathered == 1
    process.new += 1
    pages.look()
    assert process.gathered == 2


class Step(NamedTuple):
    """What is so at a look."""

    new: int
    shared: bool


@given(st.lists(st.builds(Step, st.integers(0, 4 * GROWN), st.booleans()), max_size=30))
def test_what_is_shared_is_not_moved_and_little_that_is_new_stays_where_it_is(steps: list[Step]) -> None:
    process = Process()
    pages = process.pages()
    since = 0
    for step in steps:
        process.grow(step.new)
        process.shared = step.shared
        since += step.new
        before = process.gathered
        pages.look()
        enough = process.resident >= LARGE and since * PAGE_BYTES >= max(
            HUGE_PAGES_NEW_BYTES, process.resident * PAGE_BYTES * HUGE_PAGES_GROWTH_SHARE
        )
        assert process.gathered - before == (enough and not step.shared)
        if process.gathered > before:
            since = 0


def test_who_serves_gathers_what_is_there_before_anybody_is_served_and_then_what_comes(process: Process) -> None:
    """A server that was made from a state file has all its memory before it begins to look."""
    process.grow(4 * LARGE)
    process.pages().look()
    assert process.gathered == 0
    served = trio.Event()

    def gather() -> Iterator[None]:
        yield
        process.gathered += 1
        process.grow(4 * LARGE)  # meanwhile
        yield
        if process.gathered == TIMES:
            trio.from_thread.run_sync(served.set)

    async def serve() -> None:
        pages = HugePages(gather, lambda: process.new, lambda: process.resident, lambda: False)
        async with trio.open_nursery() as nursery:
            await nursery.start(pages.run)
            assert process.gathered == 1
            with trio.fail_after(A_MINUTE):  # of real time: a thread gathers
                await served.wait()
            nursery.cancel_scope.cancel()

    trio.run(serve)
    assert process.gathered == TIMES


def test_once_a_child_shares_the_memory_no_more_is_moved_and_all_of_it_after_that(process: Process) -> None:
    served = trio.Event()
    steps: list[bool] = []

    def gather() -> Iterator[None]:
        for number in range(TIMES):
            steps.append(process.shared)
            process.shared = len(steps) == 1
            yield
            if number == TIMES - 1:
                trio.from_thread.run_sync(served.set)

    def shared() -> bool:
        was, process.shared = process.shared, False  # the child ends after it was looked for
        return was

    async def serve() -> None:
        pages = HugePages(gather, lambda: process.new, lambda: process.resident, shared)
        async with trio.open_nursery() as nursery:
            await nursery.start(pages.run)
            process.grow(4 * LARGE)
            with trio.fail_after(A_MINUTE):
                await served.wait()
            nursery.cancel_scope.cancel()

    trio.run(serve)
    assert steps == [False] * (1 + TIMES)


def test_where_the_system_cannot_say_nobody_else_notices(process: Process) -> None:
    """No /proc, no file to be opened, no thread to be had: what serves is served all the same, and looks again."""
    served = trio.Event()
    troubles = iter([OSError("no /proc"), RuntimeError("can't start new thread"), OSError("no file is left")])

    def gather() -> Iterator[None]:
        for trouble in troubles:
            process.grow(4 * LARGE)
            raise trouble
        yield
        trio.from_thread.run_sync(served.set)

    def resident_pages() -> int:
        if not process.gathered:
            process.gathered += 1
            raise OSError("no /proc")
        return process.resident

    async def serve() -> None:
        pages = HugePages(gather, lambda: process.new, resident_pages, lambda: False)
        async with trio.open_nursery() as nursery:
            await nursery.start(pages.run)
            with trio.fail_after(A_MINUTE):
                await served.wait()
            nursery.cancel_scope.cancel()

    process.grow(4 * LARGE)
    trio.run(serve)


def test_a_system_without_huge_pages_is_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "known_collapser", lambda: None)
    assert [*huge_pages.gather()] == []


@pytest.mark.parametrize("folder", ["", "hugepages-2048kB"])
def test_a_machine_that_was_told_to_have_none_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    monkeypatch.setattr(huge_pages, "_WANTED", tmp_path)
    there = tmp_path / folder
    there.mkdir(exist_ok=True)
    (there / "enabled").write_text("always madvise [never]\n")
    assert collapser() is None


REAL = """
import re
from pathlib import Path
from reference_server.adapters.huge_pages import HugePages, known_collapser

def gathered():
    return int(re.search(r"AnonHugePages: *([0-9]+)", Path("/proc/self/smaps_rollup").read_text())[1]) * 1024

pages = HugePages()
made = [f"{number:064d}" for number in range(1_500_000)]
before = gathered()
pages.look()
after = gathered()
assert all(int(text) == number for number, text in enumerate(made))
print(int(known_collapser() is not None), after - before)
"""


def test_memory_is_in_huge_pages_where_the_kernel_puts_it_there() -> None:
    """In a process of its own: 190 MB of texts. How much of it depends on what memory the machine has in one piece."""
    done = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=True, timeout=A_MINUTE)
    able, moved = map(int, done.stdout.split())
    assert moved >= 10 * HUGE_BYTES or not able
