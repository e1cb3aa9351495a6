"""A throw-away entity, all of it: notes on shelves, that owners create, list and delete, and who has the key may read.

One module, one row of tables (`TABLE`), and its rows of operations (`OPERATIONS`): nothing else knows of notes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.calls import PAGING, Caller, page_of, paged
from reference_server.core.changes import change
from reference_server.core.table import Table
from reference_server.operations.callers import OWNER, Credential, Principal
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.exposition import Figure
from reference_server.wire.ids import IdForm
from reference_server.wire.replies import FORBIDDEN, FULL, UNAUTHORIZED, failure, success
from reference_server.wire.sections import Section
from reference_server.wire.signing import matches
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

NOTES_MAX = 5
NOTE_ID = IdForm("note", 16)
TEXT_REQUIRED = failure(400, "text is required")
NOTE_NOT_FOUND = failure(404, "note not found")


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A note, in memory as in a file; whoever has its key may read it."""

    id: str
    owner_id: str
    shelf: str
    text: str
    key: str
    created_at: str


class Notes:
    """All notes by id, with an index by owner."""

    def __init__(self) -> None:
        self.by_id: dict[str, Note] = {}
        self.by_owner: dict[str, dict[str, Note]] = {}

    def __len__(self) -> int:
        return len(self.by_id)

    def add(self, note: Note) -> None:
        self.by_id[note.id] = self.by_owner.setdefault(note.owner_id, {})[note.id] = note

    def remove(self, note_id: str) -> None:
        note = self.by_id.pop(note_id)
        of_owner = self.by_owner[note.owner_id]
        del of_owner[note_id]
        if not of_owner:
            del self.by_owner[note.owner_id]


@change("note_added")
def add_note(state: State, at: Instant, note_id: str, owner_id: str, shelf: str, text: str, key: str) -> None:
    state.owner(owner_id)  # here, so that recovery makes the owner too
    TABLE.of(state).add(Note(note_id, owner_id, shelf, text, key, format_timestamp(at.wall_ns)))


@change("note_removed")
def remove_note(state: State, _at: Instant, note_id: str) -> None:
    TABLE.of(state).remove(note_id)


class NoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str = ""


class Shown(msgspec.Struct, frozen=True):
    id: str
    shelf: str
    text: str


class Created(msgspec.Struct, frozen=True):
    note: Shown
    key: str


class Listed(msgspec.Struct, frozen=True):
    notes: list[Shown]
    total: int
    limit: int
    offset: int


def create(state: State, call: Call[NoteRequest]) -> Reply:
    (shelf,) = call.ids
    if not call.owner_id:
        return FORBIDDEN
    if not call.body.text:
        return TEXT_REQUIRED
    if not TABLE.has_room(state) or not state.has_room_for(call.owner_id):
        return FULL
    note_id, key = state.new_id(NOTE_ID), state.entropy.hex(48)
    add_note(state, call.now, note_id, call.owner_id, shelf, call.body.text, key)
    state.audit(call.now, "note_added", f"owner:{call.owner_id}", note_id, {"shelf": shelf}, (call.owner_id,))
    return success({"note": Shown(note_id, shelf, call.body.text), "key": key}, 201)


def show_list(state: State, call: Call[bytes]) -> Reply:
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    notes = list(TABLE.of(state).by_owner.get(call.owner_id, {}).values())
    shown = [Shown(note.id, note.shelf, note.text) for note in notes[page.offset : page.offset + page.limit]]
    return success(paged("notes", shown, len(notes), page))


def delete(state: State, call: Call[bytes]) -> Reply:
    note = _find(state, call)
    if note is None or note.owner_id != call.owner_id:
        return NOTE_NOT_FOUND
    remove_note(state, call.now, note.id)
    state.audit(call.now, "note_removed", f"owner:{call.owner_id}", note.id, {}, (call.owner_id,))
    return success(Shown(note.id, note.shelf, note.text))


def read(state: State, call: Call[bytes]) -> Reply:
    note = _find(state, call)
    if note is None or note.id != call.caller.id:
        return NOTE_NOT_FOUND
    return success(Shown(note.id, note.shelf, note.text))


def _find(state: State, call: Call[Any]) -> Note | None:
    shelf, note_id = call.ids
    note = TABLE.of(state).by_id.get(note_id)
    return note if note is not None and note.shelf == shelf else None


def _admit_reader(_state: State, headers: dict[str, str]) -> Caller | Reply:
    return Caller(READER.name) if "x-note-key" in headers else UNAUTHORIZED


def _prove_reader(state: State, _now: Instant, _caller: Caller, headers: dict[str, str]) -> Caller | Reply:
    note_id, _, key = headers["x-note-key"].partition(":")
    note = TABLE.of(state).by_id.get(note_id)
    right = matches((b"0" * 48) if note is None else note.key.encode(), key)
    return Caller(READER.name, note_id) if note is not None and right else UNAUTHORIZED


NOTE_KEY = Credential("noteKey", "X-Note-Key", {"type": "apiKey", "in": "header", "name": "X-Note-Key"})
READER = Principal("reader", (NOTE_KEY,), _admit_reader, _prove_reader, refusals=(UNAUTHORIZED,))
OPERATIONS = (
    Operation(
        "POST", "/shelves/{shelf}/notes", OWNER, create, body=NoteRequest,
        answers=(Answer(201, Created), FORBIDDEN, TEXT_REQUIRED, FULL), summary="Put a note on a shelf.",
    ),
    Operation("GET", "/notes", OWNER, show_list, query=PAGING, answers=(Answer(200, Listed),), summary="List notes."),
    Operation(
        "DELETE", "/shelves/{shelf}/notes/{id}", OWNER, delete, answers=(Answer(200, Shown), NOTE_NOT_FOUND),
        summary="Take a note off its shelf.",
    ),
    Operation(
        "GET", "/shelves/{shelf}/notes/{id}", READER, read, answers=(Answer(200, Shown), NOTE_NOT_FOUND),
        summary="Read a note.",
    ),
)  # fmt: skip


def _keep(state: State) -> Iterable[tuple[str, Note]]:
    return TABLE.of(state).by_id.items()


def _restore(state: State, file: StateFile, _now: Instant) -> None:
    for note in SECTION.of(file.sections).values():
        TABLE.of(state).add(note)


def _check(reading: Reading, place: str, _key: str, note: Note) -> None:
    reading.owner(place, note.owner_id)
    reading.require(place, "it says nothing", right=note.text != "")
    reading.times(place, created_at=note.created_at)


def _figures(state: State) -> Sequence[Figure]:
    return (Figure("hatchfarm_notes", "Notes on all shelves.", len(TABLE.of(state))),)


SECTION = Section(
    name="notes", record=Note, most=NOTES_MAX, form=NOTE_ID, check=_check, hidden=frozenset({"key"})
)  # fmt: skip
TABLE: Table[Notes, Note] = Table(section=SECTION, make=Notes, keep=_keep, restore=_restore, figures=_figures)
