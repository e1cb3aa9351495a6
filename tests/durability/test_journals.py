"""What every journal does, whether it is in files or in memory."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.segment import SegmentReader
from reference_server.adapters.files.state_files import StateFiles
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.ports import JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reference_server.ports import Journal

    Reopen = Callable[[], Journal]


@pytest.fixture(params=["files", "memory"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopen]:
    """Return what opens the journal anew, as after a crash: what was open before writes nothing more."""
    storage = Storage()
    opened: list[Journal] = []

    def give() -> Journal:
        while opened:
            opened.pop().close()
        journal: Journal = (
            StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
            if request.param == "files"
            else MemoryJournal(storage)
        )
        opened.append(journal)
        return journal

    yield give
    for journal in opened:
        journal.close()


def begin(journal: Journal, content: bytes) -> str:
    """Start an empty journal under a first snapshot; give the segment that this names."""
    assert journal.read() is None
    journal.start()
    named = journal.segment
    journal.begin_snapshot([content])()
    journal.publish()
    return named


def groups(journal: Journal, segment: str) -> list[bytes]:
    """Read every group after a snapshot, and go on after the last."""
    found = journal.groups(segment)
    assert found is not None
    read = list(found)
    journal.start()
    return read


def test_what_was_appended_is_there_again_in_its_order(reopen: Reopen) -> None:
    journal = reopen()
    named = begin(journal, b"first")
    for group in (b"a", b"", b"c" * 100_000):
        journal.append(group)
    journal = reopen()
    assert journal.read() == b"first"
    assert groups(journal, named) == [b"a", b"", b"c" * 100_000]


def test_it_goes_on_after_what_it_had(reopen: Reopen) -> None:
    named = begin(reopen(), b"first")
    for expected in ([], [b"0"], [b"0", b"1"], [b"0", b"1", b"2"]):
        journal = reopen()
        assert groups(journal, named) == expected
        journal.append(str(len(expected)).encode())


@pytest.mark.parametrize("steps", [1, 2, 3], ids=["begun", "turned", "written"])
def test_a_snapshot_that_a_crash_cuts_off_costs_nothing(reopen: Reopen, steps: int) -> None:
    journal = reopen()
    named = begin(journal, b"first")
    journal.append(b"a")
    written = journal.begin_snapshot([b"second"])
    journal.append(b"b")
    if steps > 1:
        journal.rotate()
        journal.append(b"c")
    if steps > 2:
        written()
    else:
        written()  # a child process ends by itself; that nobody renames what it wrote is what matters
    journal = reopen()
    assert journal.read() == b"first"
    assert groups(journal, named) == [b"a", b"b", b"c"][: 2 if steps == 1 else 3]


def test_a_published_snapshot_needs_only_what_came_after_it(reopen: Reopen) -> None:
    journal = reopen()
    begin(journal, b"first")
    journal.append(b"a")
    named = journal.next_segment
    written = journal.begin_snapshot([b"sec", b"ond"])
    journal.append(b"b")
    journal.rotate()
    journal.append(b"c")
    written()
    journal.publish()
    journal.append(b"d")
    journal = reopen()
    assert journal.read() == b"second"
    assert groups(journal, named) == [b"c", b"d"]


def test_several_segments_are_read_through(reopen: Reopen) -> None:
    journal = reopen()
    named = begin(journal, b"first")
    expected = []
    for number in range(4):
        journal.append(str(number).encode())
        expected.append(str(number).encode())
        journal.rotate()
    assert groups(reopen(), named) == expected


def test_the_journal_of_another_snapshot_is_not_taken_for_its_own(reopen: Reopen) -> None:
    journal = reopen()
    begin(journal, b"first")
    journal.append(b"a")
    journal = reopen()
    journal.read()
    with pytest.raises(JournalError, match="another state file"):
        journal.groups("00000009-0123456789abcdef")


def test_a_snapshot_without_a_journal_has_no_groups(reopen: Reopen) -> None:
    begin(reopen(), b"first")
    journal = reopen()
    journal.read()
    assert journal.groups("00000009-0123456789abcdef") is None
    assert journal.groups(None) is None


class Disk:
    """A journal in files whose n-th write or sync fails, once or from then on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = str(folder / "state.json")
        self.calls = 0
        self.fails: Callable[[int], bool] = lambda _call: False
        for name in ("pwrite", "fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._wrapped(getattr(os, name)))

    def _wrapped(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: object) -> int:
            self.calls += 1
            if self.fails(self.calls):
                raise OSError(5, "Input/output error")
            return real(*arguments)

        return call

    def open(self) -> StateFiles:
        return StateFiles(self.path, SystemEntropy(), 0)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path, monkeypatch)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_whatever_call_fails_an_append_that_raises_leaves_nothing(disk: Disk, *, lasting: bool) -> None:
    journal = disk.open()
    named = begin(journal, b"first")
    kept: list[bytes] = []
    for nth in itertools.count(1):
        begun = disk.calls
        disk.fails = lambda call, at=begun + nth: call >= at if lasting else call == at  # type: ignore[misc]
        try:
            journal.append(b"group %d" % nth)
        except JournalError:
            failed = True
        else:
            failed = disk.calls >= begun + nth  # what fails is a call that this append did not need
            kept.append(b"group %d" % nth)
        disk.fails = lambda _call: False
        journal.close()
        journal = disk.open()
        journal.read()
        assert groups(journal, named) == kept
        if not failed:
            break
    assert nth > 3, "a group's write, its sync and its mark were each tried"
    journal.close()


def test_whatever_call_fails_a_turn_that_raises_changes_nothing(disk: Disk) -> None:
    journal = disk.open()
    named = begin(journal, b"first")
    kept = []
    for nth in itertools.count(1):
        at = disk.calls + nth
        disk.fails = lambda call, at=at: call == at  # type: ignore[misc]
        failed = False
        try:
            journal.rotate()
        except JournalError:
            failed = True
        disk.fails = lambda _call: False
        journal.append(b"%d" % nth)
        kept.append(b"%d" % nth)
        journal.close()
        journal = disk.open()
        journal.read()
        assert groups(journal, named) == kept
        if not failed:
            break
    journal.close()


def test_a_snapshot_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    journal = StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    named = begin(journal, b"first")

    def failing() -> Iterator[bytes]:
        yield b"half"
        raise OSError(28, "No space left on device")

    with pytest.raises(JournalError, match="No space left on device"):
        journal.begin_snapshot(failing())()
    journal.close()
    journal = StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    assert (journal.read(), groups(journal, named)) == (b"first", [])
    journal.close()


def test_only_one_may_use_a_state_file_at_a_time(tmp_path: Path) -> None:
    journal = StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    with pytest.raises(JournalError, match="in use by another server"):
        StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    journal.close()
    StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0).close()


def test_nobody_else_may_read_what_is_kept(tmp_path: Path) -> None:
    journal = StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    begin(journal, b"first")
    journal.append(b"a")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    journal.close()


def kept_files(folder: Path) -> tuple[str, Path]:
    """Leave a journal of three groups, as a kill does; give the segment's name and file."""
    journal = StateFiles(str(folder / "state.json"), SystemEntropy(), 0)
    named = begin(journal, b"first")
    for group in (b"one", b"two", b"three"):
        journal.append(group)
    journal.close()
    return named, folder / f"state.json.journal-{named}"


def read_again(folder: Path, named: str) -> list[bytes]:
    """Read what is there as a start does. Raises JournalError where it would refuse."""
    journal = StateFiles(str(folder / "state.json"), SystemEntropy(), 0)
    try:
        journal.read()
        return groups(journal, named)
    finally:
        journal.close()


def flip(content: bytes, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def test_no_bit_of_a_journal_can_flip_unseen(tmp_path: Path) -> None:
    """Between its parts a bit may flip, for it means nothing; nowhere is anything else read than was written."""
    _, path = kept_files(tmp_path)
    right, refused = path.read_bytes(), 0
    for bit in range(len(right) * 8):
        try:
            assert list(SegmentReader("segment", flip(right, bit)).groups(None)) == [b"one", b"two", b"three"]
        except JournalError:
            refused += 1
    assert refused > 8 * 100


def test_a_journal_that_is_damaged_is_refused_with_the_way_out(tmp_path: Path) -> None:
    named, path = kept_files(tmp_path)
    right = path.read_bytes()
    for byte in (0, 20, 515, 1030, len(right) - 1):
        path.write_bytes(flip(right, byte * 8))
        with pytest.raises(JournalError, match=r"is damaged .*: bring back a whole copy .* move the journal away"):
            read_again(tmp_path, named)


def test_a_torn_tail_that_nobody_was_told_of_is_cut_off(tmp_path: Path) -> None:
    named, path = kept_files(tmp_path)
    right = path.read_bytes()
    journal = StateFiles(str(tmp_path / "state.json"), SystemEntropy(), 0)
    journal.read()
    groups(journal, named)
    journal.append(b"four")
    journal.close()
    group = path.read_bytes()[len(right) :]
    for length in range(len(group) + 1):
        path.write_bytes(right + group[:length])
        whole = length == len(group)
        assert read_again(tmp_path, named) == [b"one", b"two", b"three", b"four"][: 4 if whole else 3]


def test_a_tail_that_was_confirmed_and_is_gone_is_missed(tmp_path: Path) -> None:
    named, path = kept_files(tmp_path)
    right = path.read_bytes()
    for length in range(len(right)):
        with pytest.raises(JournalError, match="damaged"):
            list(SegmentReader("segment", right[:length]).groups(None))
    path.write_bytes(right[:-1])
    with pytest.raises(JournalError, match="damaged"):
        read_again(tmp_path, named)
