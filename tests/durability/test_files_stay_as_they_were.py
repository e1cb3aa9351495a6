"""Journals and state files are, byte for byte, those of the version before each kind of record was a row of tables.

`state_before_tables.json` was written by that version (`written_before.written`).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from tests.durability.test_recovery_is_exact import SEGMENT, Story, apart, later
from tests.durability.written_before import STEPS, written

BEFORE = json.loads((Path(__file__).parent.parent / "vectors" / "state_before_tables.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _digits_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw the ids and tokens that the tests of that version drew."""

    def draw(self: SeededEntropy, digits: int) -> str:
        self._drawn += 1
        return hashlib.sha256(f"{self._seed}/{self._drawn}".encode()).hexdigest()[:digits]

    monkeypatch.setattr(SeededEntropy, "hex", draw)


def test_what_is_written_is_what_that_version_writes() -> None:
    """So that version reads it, too."""
    assert written() == BEFORE


def test_what_that_version_wrote_is_read_and_is_the_same_state() -> None:
    story = Story()
    groups = [bytes.fromhex(group) for group in BEFORE["groups"]]
    journal = MemoryJournal(Storage(BEFORE["state_file"].encode(), {SEGMENT: groups}))
    end = later(story.now, 7 * len(STEPS))
    state = story.api.empty_state()
    recovered = recover(state, journal, end)
    assert (recovered.found, recovered.fresh, recovered.warning) == (True, False, "")
    (shown, nonces), (right, live) = apart(b"".join(snapshot(state, end, SEGMENT))), apart(BEFORE["end"].encode())
    shown["reference_server"].pop("clock_lag_ns")
    right["reference_server"].pop("clock_lag_ns")
    assert shown == right
    assert nonces >= live
