"""Journals and state files are, byte for byte, those of the version before each kind of record was a row of tables.

`state_before_tables.json` was written by that version (`written_before.written`).
"""

from __future__ import annotations

import json
from pathlib import Path

from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from tests.durability.test_recovery_is_exact import SEGMENT, Story, apart, later
from tests.durability.written_before import STEPS, written

BEFORE = json.loads((Path(__file__).parent.parent / "vectors" / "state_before_tables.json").read_text(encoding="utf-8"))


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
