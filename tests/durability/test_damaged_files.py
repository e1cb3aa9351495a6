"""Files that end early, or are not what was written: never a state that is wrong without a word (contract §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from tests.durability.moments import STATE_FILE, record, start_from
from tests.durability.recovering import Refusal, place, recovered
from tests.durability.writing import World
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from pathlib import Path

STEPS = 16
STARTS = 30 if SOAK else 2
"""Servers that are really started from torn files; to recover in this process is the same, a hundred times faster."""
BITS_APART = 1 if SOAK else 59
"""No multiple of two, so that each bit of a byte has its turn."""
CUTS_APART = 1 if SOAK else 37
TORN_MAX_BYTES = 1 << 20 if SOAK else 600
"""How far behind the last answer a journal is torn: within the next two groups."""
GARBAGE_BYTES = 40


class Recorded:
    """A server's files after each of its answers, and the whole state that they hold."""

    def __init__(self, folder: Path) -> None:
        (folder / "live").mkdir()
        self.folder = folder
        self.moments = trio.run(record, folder / "live", World(seed=12), STEPS)
        self.now = SystemClock().now()
        self.files = self.moments[-1].files
        (self.journal,) = (name for name in self.files if ".journal-" in name)
        self.states = [self.recover(moment.files) for moment in self.moments]
        self.random = np.random.default_rng(12)

    def recover(self, files: dict[str, bytes]) -> bytes | Refusal:
        """Recover from files."""
        return recovered(self.folder / "damaged", files, self.now)

    def with_journal(self, content: bytes) -> dict[str, bytes]:
        """Return the last files with another journal."""
        return {**self.files, self.journal: content}

    def flipped(self, name: str, bit: int) -> dict[str, bytes]:
        """Return the last files with one bit flipped."""
        content = bytearray(self.files[name])
        content[bit // 8] ^= 1 << bit % 8
        return {**self.files, name: bytes(content)}

    def torn(self, number: int, length: int) -> dict[str, bytes]:
        """Return the files of a moment with so much more of the journal as it became, and then what nobody wrote."""
        files = self.moments[number].files
        known = len(files[self.journal])
        more = self.files[self.journal][known : known + length] + self.random.bytes(GARBAGE_BYTES * (length % 2))
        return {**files, self.journal: files[self.journal] + more}

    def reached(self, number: int, length: int) -> int:
        """Return the last moment whose groups are whole in what `torn` gives."""
        ends = [len(moment.files[self.journal]) for moment in self.moments]
        return max(at for at, end in enumerate(ends) if end <= ends[number] + length)


def names_the_way_out(outcome: bytes | Refusal) -> bool:
    """Return whether it is a refusal, with what to do behind a colon."""
    return isinstance(outcome, Refusal) and ": " in outcome


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Record once for all tests."""
    return Recorded(tmp_path_factory.mktemp("recorded"))


def test_each_answer_is_in_the_files_when_it_is_given(recorded: Recorded) -> None:
    """And a later state is another one, so that losing an answer is seen."""
    assert not any(isinstance(state, Refusal) for state in recorded.states)
    changed = [
        before.files != after.files for before, after in zip(recorded.moments, recorded.moments[1:], strict=False)
    ]
    shown = [before != after for before, after in zip(recorded.states, recorded.states[1:], strict=False)]
    assert changed == shown
    assert sum(changed) > STEPS / 2


def test_a_tail_torn_behind_what_was_confirmed_is_dropped_and_no_more(recorded: Recorded) -> None:
    """At every byte, with garbage behind it and without: groups that are whole count, the one that is not never was."""
    journal = recorded.files[recorded.journal]
    for number, moment in enumerate(recorded.moments):
        known = len(moment.files[recorded.journal])
        for length in range(0, min(len(journal) - known, TORN_MAX_BYTES), CUTS_APART):
            outcome = recorded.recover(recorded.torn(number, length))
            assert outcome == recorded.states[recorded.reached(number, length)], (number, length, str(outcome)[:200])


def test_a_journal_cut_off_in_what_was_confirmed_is_refused(recorded: Recorded) -> None:
    journal = recorded.files[recorded.journal]
    for length in range(0, len(journal), CUTS_APART):
        outcome = recorded.recover(recorded.with_journal(journal[:length]))
        assert names_the_way_out(outcome), (length, str(outcome)[:200])


@pytest.mark.parametrize("which", ["snapshot", "journal"])
def test_no_flipped_bit_makes_another_state(recorded: Recorded, which: str) -> None:
    name = STATE_FILE if which == "snapshot" else recorded.journal
    refused = 0
    for bit in range(0, 8 * len(recorded.files[name]), BITS_APART):
        outcome = recorded.recover(recorded.flipped(name, bit))
        assert outcome == recorded.states[-1] or names_the_way_out(outcome), (bit, str(outcome)[:200])
        refused += isinstance(outcome, Refusal)
    assert refused


def test_servers_start_from_torn_files_as_recovery_does(recorded: Recorded, tmp_path: Path) -> None:
    """And show all that was confirmed, through the API."""
    for start in range(STARTS):
        number = int(recorded.random.integers(len(recorded.moments) - 1))
        known = len(recorded.moments[number].files[recorded.journal])
        length = int(recorded.random.integers(len(recorded.files[recorded.journal]) - known))
        folder = tmp_path / str(start)
        place(folder, recorded.torn(number, length))
        found = trio.run(start_from, folder, recorded.moments)
        assert not isinstance(found, str), found
        assert found.heads == recorded.moments[recorded.reached(number, length)].heads


def test_servers_refuse_damaged_files_and_leave_them_as_they_are(recorded: Recorded, tmp_path: Path) -> None:
    """A bit of a confirmed change, of the snapshot, or all of the end of the journal."""
    journal = recorded.files[recorded.journal]
    damaged = [
        recorded.flipped(recorded.journal, 8 * (len(journal) - 1)),
        recorded.flipped(STATE_FILE, 8 * 60),
        recorded.with_journal(journal[:-1]),
    ]
    for number, files in enumerate(damaged):
        folder = tmp_path / str(number)
        place(folder, files)
        stated = trio.run(start_from, folder, recorded.moments)
        assert isinstance(stated, str)
        assert str(folder / STATE_FILE) in stated
        assert {name: (folder / name).read_bytes() for name in files} == files
