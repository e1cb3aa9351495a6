"""An entity is one module, one row of tables and its rows of operations; no other file changes.

`notes.py` is all of it. What follows from it: durability, `hatchfarm state check` and `show`, bounds, metrics, and that
instances share it.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
import trio

from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.core.changes import encode_changes
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.operations.routing import Routes
from reference_server.operations.table import OPERATIONS
from reference_server.settings import SettingsError
from reference_server.wire.own_sections import OWN, check_state_file
from reference_server.wire.state_file import StateFile
from reference_server.wire.values import Reply, Request
from simulator.commands.state import state_app
from tests.core.declared import assert_declared
from tests.core.server_under_test import STARTED, TOKEN, Server, owner_headers
from tests.durability.test_recovery_is_exact import decided
from tests.http.twins import API_TOKEN
from tests.shared_state.conftest import _redis_is_installed
from tests.shared_state.members import Member, members
from tests.support.invoking import invoke
from tests.support.redis_servers import EVERY_WRITE, redis_server
from tests.support.waiting import PATIENCE_SECONDS, POLL_SECONDS
from tests.throw_away import notes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from reference_server.operations.api import Api

__all__ = ["_redis_is_installed"]
TABLES_WITH_NOTES = TABLES.with_row(notes.TABLE)
ROUTES_WITH_NOTES = Routes((*OPERATIONS, *notes.OPERATIONS))
ENTROPY = SeededEntropy("notes")
CLOCK = SetClock(STARTED)


class Made(NamedTuple):
    """A note that was made, and what proves that one may read it."""

    id: str
    shelf: str
    text: str
    key: str

    @property
    def path(self) -> str:
        return f"/shelves/{self.shelf}/notes/{self.id}"

    @property
    def shown(self) -> dict[str, str]:
        return {"id": self.id, "shelf": self.shelf, "text": self.text}

    @property
    def proof(self) -> dict[str, str]:
        return {"x-note-key": f"{self.id}:{self.key}"}


def made(data: Any) -> Made:
    return Made(data["note"]["id"], data["note"]["shelf"], data["note"]["text"], data["key"])


def asking(method: str, path: str, headers: dict[str, str], body: Any = None) -> Request:
    content = b"" if body is None else json.dumps(body).encode()
    return Request(method, f"/api/v1{path}", headers=tuple(headers.items()), body=content)


class Durable:
    """A server with a state file. It commits each change as it is made, and dies without a word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environ = {"HATCHFARM_API_TOKEN": TOKEN, "HATCHFARM_STATE_FILE": str(folder / "state.json")}
        self.api: Api = make_api(environ, ENTROPY, CLOCK, TABLES_WITH_NOTES, ROUTES_WITH_NOTES)

    def ask(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
        request = asking(method, path, headers, body)
        reply = decided(self.api.handle(request, STARTED))
        assert_declared(ROUTES_WITH_NOTES, request, reply)
        state, journal = self.api.state, self.api.journal
        assert journal is not None
        if state.changes:
            journal.append(encode_changes(state.changes))
            state.changes = []
        shown = msgspec.json.decode(reply.body)
        return reply.status, shown.get("data", shown.get("error"))

    def create(self, shelf: str, text: str, owner_id: str = "ada") -> Made:
        status, data = self.ask("POST", f"/shelves/{shelf}/notes", owner_headers(owner_id), {"text": text})
        assert status == 201
        return made(data)

    def listed(self, owner_id: str = "ada") -> list[dict[str, str]]:
        notes_shown: list[dict[str, str]] = self.ask("GET", "/notes", owner_headers(owner_id))[1]["notes"]
        return notes_shown

    def killed(self) -> Durable:
        """Start another from the files as they are now."""
        folder = self.folder.with_name(self.folder.name + "x")
        shutil.copytree(self.folder, folder)
        return Durable(folder)

    def compact(self) -> None:
        journal = self.api.journal
        assert journal is not None
        written = journal.begin_snapshot(snapshot(self.api.state, STARTED, journal.next_segment))
        written()
        journal.rotate()
        journal.publish()


def all_but_clocks(server: Durable) -> tuple[dict[str, Any], Any]:
    """Return what a snapshot holds, but for nonces and how far the clock was off."""
    shown = json.loads(b"".join(snapshot(server.api.state, STARTED, "s")))
    shown.pop("checksum")
    return shown, shown.pop(OWN)["streams"]


@pytest.fixture
def durable(tmp_path: Path) -> Durable:
    folder = tmp_path / "state"
    folder.mkdir()
    return Durable(folder)


def test_what_was_made_and_removed_survives_in_the_journal_and_in_the_snapshot(durable: Durable) -> None:
    first, second = durable.create("top", "milk"), durable.create("low", "eggs")
    others = durable.create("top", "bread", "ben")
    assert durable.ask("DELETE", first.path, owner_headers("ada")) == (200, first.shown)
    by_journal = durable.killed()
    by_journal.compact()
    third = by_journal.create("low", "salt")
    by_both = by_journal.killed()
    for server, mine in ((by_journal, [second, third]), (by_both, [second, third])):
        assert server.listed() == [one.shown for one in mine]
        assert server.listed("ben") == [others.shown]
        assert server.ask("GET", second.path, second.proof) == (200, second.shown)
        assert server.ask("GET", first.path, first.proof) == (401, "unauthorized")
        events = server.ask("GET", "/audit/events", owner_headers("ada"))[1]["events"]
        assert [event["type"] for event in events] == ["note_added", "note_added", "note_removed", "note_added"]
    assert [*notes.TABLE.of(by_both.api.state).by_id] == [second.id, others.id, third.id]
    assert all_but_clocks(by_both) == all_but_clocks(by_journal)


def test_a_frozen_state_changes_nothing(durable: Durable) -> None:
    note = durable.create("top", "milk")
    durable.api.state.frozen = True
    assert durable.ask("DELETE", note.path, owner_headers("ada")) == (500, "state persistence failed")
    assert durable.listed() == [note.shown]


def test_refusals_paths_and_principals_are_those_of_the_rows() -> None:
    server = Server(TABLES_WITH_NOTES, ROUTES_WITH_NOTES)
    ada, ben = owner_headers("ada"), owner_headers("ben")
    note = made(server.send("POST", "/shelves/top/notes", {"text": "milk"}, ada).data)
    assert server.send("POST", "/shelves/top/notes", {"text": ""}, ada).error == (400, "text is required")
    assert server.send("POST", "/shelves/top/notes", {"words": "x"}, ada).error == (400, "invalid request")
    assert server.send("POST", "/shelves/top/notes", {"text": "x"}, {}).error == (401, "unauthorized")
    assert server.send("POST", "/shelves//notes", {"text": "x"}, ada).error == (404, "not found")
    assert server.send("GET", "/notes", None, ada, query="limit=0").error == (400, "invalid limit")
    assert server.send("GET", "/notes", None, ada, query="offset=1").data["notes"] == []
    assert server.send("DELETE", note.path, None, ben).error == (404, "note not found")
    assert server.send("DELETE", f"/shelves/low/notes/{note.id}", None, ada).error == (404, "note not found")
    assert server.send("PUT", note.path, None, ada).headers["allow"] == "DELETE, GET, HEAD, OPTIONS"
    assert server.send("GET", note.path, None, note.proof).data == note.shown
    assert server.send("GET", note.path, None, ada).error == (401, "unauthorized")
    wrong = {"x-note-key": f"{note.id}:{note.key[:-1]}g"}
    assert server.send("GET", note.path, None, wrong).error == (401, "unauthorized")
    twice = (("x-note-key", "a"), ("x-note-key", "a"))
    assert server.request(Request("GET", f"/v1{note.path}", headers=twice)).error == (400, "invalid request")
    preflight = {"origin": "http://localhost:3000", "access-control-request-method": "GET"}
    assert "X-Note-Key" in server.send("OPTIONS", note.path, None, preflight).headers["access-control-allow-headers"]


def test_its_bound_holds_and_it_is_in_the_metrics() -> None:
    server = Server(TABLES_WITH_NOTES, ROUTES_WITH_NOTES)
    ada = owner_headers("ada")
    answers = [server.send("POST", "/shelves/s/notes", {"text": "t"}, ada) for _ in range(notes.NOTES_MAX + 1)]
    assert [one.status for one in answers] == [201] * notes.NOTES_MAX + [503]
    assert server.metrics()["hatchfarm_notes"] == notes.NOTES_MAX
    assert server.send("DELETE", made(answers[0].data).path, None, ada).status == 200
    assert server.send("POST", "/shelves/s/notes", {"text": "t"}, ada).status == 201


# -- what is said of files


def elsewhere(content: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a file as another program writes it, which has no checksum, with a change."""
    document = json.loads(content)
    del document[OWN], document["checksum"]
    change(document["notes"])
    return json.dumps(document).encode()


def put(**fields: str) -> Callable[[Any], None]:
    return lambda kept: next(iter(kept.values())).update(fields)


def add_many(kept: Any) -> None:
    note = next(iter(kept.values()))
    kept.update({one: {**note, "id": one} for one in (notes.NOTE_ID.of(f"{at:016x}") for at in range(5))})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: None, ""),
        (put(text=""), "it says nothing"),
        (put(created_at="today"), "created_at is no timestamp"),
        (put(owner_id="a|b"), "its owner_id is longer than 256 characters"),
        (put(id="note_0"), "note_ and 16 hex digits expected"),
        (put(id="note_" + "0" * 16), "it stands under another id than its own"),
        (put(more="x"), "unknown field `more`"),
        (add_many, "notes: there are 6, and this server has room for 5"),
    ],
    ids=range(8),
)
def test_the_check_of_state_files_knows_it_and_a_start_does_too(
    durable: Durable, tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    note = durable.create("top", "milk")
    content = elsewhere(b"".join(snapshot(durable.api.state, STARTED, "s")), change)
    state = check_state_file(content, TABLES_WITH_NOTES.sections)
    assert isinstance(state, StateFile)
    assert bool(state.problems) is bool(says)
    assert any(says in problem for problem in state.problems) is bool(says)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "state.json").touch(0o600)
    (folder / "state.json").write_bytes(content)
    if says:
        with pytest.raises(SettingsError, match="state check"):
            Durable(folder)
    else:
        assert Durable(folder).listed() == [note.shown]


def test_state_check_counts_it_and_state_show_hides_its_secrets(
    durable: Durable, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = durable.create("top", "milk")
    durable.compact()
    monkeypatch.setattr("reference_server.about.TABLES", TABLES_WITH_NOTES)
    file = str(durable.folder / "state.json")
    checked = invoke(state_app, ["check", file])
    assert checked.exit_code == 0
    assert "notes 1" in checked.stdout
    shown = invoke(state_app, ["show", file]).stdout
    assert json.loads(shown)["notes"][note.id]["text"] == "milk"
    assert note.key not in shown


def test_a_server_without_it_keeps_the_section_and_refuses_the_journal(durable: Durable) -> None:
    """Nothing of it is lost by going back for a while; a change that is not understood is never left out."""
    note = durable.create("top", "milk")
    environ = {"HATCHFARM_API_TOKEN": TOKEN}

    def start(name: str) -> Api:
        folder = durable.folder.with_name(name)
        shutil.copytree(durable.folder, folder)
        return make_api({**environ, "HATCHFARM_STATE_FILE": str(folder / "state.json")}, ENTROPY, CLOCK)

    with pytest.raises(SettingsError, match="does not go with it"):
        start("early")
    durable.compact()
    before = start("before")
    assert note.key.encode() in before.state.unknown_sections["notes"]
    assert before.journal is not None
    before.journal.begin_snapshot(snapshot(before.state, STARTED, before.journal.next_segment))()
    before.journal.rotate()
    before.journal.publish()
    before.journal.close()
    assert Durable(durable.folder.with_name("before")).listed() == [note.shown]


# -- shared between instances


async def asked(member: Member, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
    reply = await member.served(asking(method, path, headers, body))
    shown = msgspec.json.decode(reply.body)
    return reply.status, shown.get("data", shown.get("error"))


async def eventually(ask: Callable[[], Awaitable[Reply]], status: int) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while (await ask()).status != status:  # noqa: ASYNC110 - Redis gives no event
            await trio.sleep(POLL_SECONDS)


async def test_instances_share_it(tmp_path: Path) -> None:
    """What one has acknowledged, all others show at once; one that joins later has it from the snapshot."""
    ada = owner_headers("ada", API_TOKEN)
    async with redis_server(*EVERY_WRITE) as redis, members(redis.port, tmp_path) as group:
        group.tables, group.routes = TABLES_WITH_NOTES, ROUTES_WITH_NOTES
        one, other = await group.join(), await group.join(JOURNAL_COMPACTION_BYTES="1")
        first = made((await asked(one, "POST", "/shelves/top/notes", ada, {"text": "milk"}))[1])
        assert await asked(other, "GET", first.path, first.proof) == (200, first.shown)
        second = made((await asked(other, "POST", "/shelves/low/notes", ada, {"text": "eggs"}))[1])
        assert await asked(one, "DELETE", first.path, ada) == (200, first.shown)
        assert await asked(other, "GET", first.path, first.proof) == (401, "unauthorized")
        assert await asked(other, "DELETE", first.path, ada) == (404, "note not found")
        await one.leave()
        third = await group.join()
        for member in (other, third):
            assert (await asked(member, "GET", "/notes", ada))[1]["notes"] == [second.shown]
        assert await other.audit() == await third.audit()


async def test_instances_without_it_are_refused_the_state_that_has_it(tmp_path: Path) -> None:
    """And what they shared before is taken over by those that have it, with nothing lost."""
    ada = owner_headers("ada", API_TOKEN)
    async with redis_server() as redis, members(redis.port, tmp_path) as group:
        older = await group.join()
        machine = (await asked(older, "POST", "/machines/register", ada, {"owner_id": "ada", "name": "m"}))[1]
        group.tables, group.routes = TABLES_WITH_NOTES, ROUTES_WITH_NOTES
        newer = await group.join()
        listed = (await asked(newer, "GET", "/workers/statuses", ada))[1]["workers"]
        assert [worker["worker_id"] for worker in listed] == [machine["machine"]["id"]]
        assert (await asked(newer, "POST", "/shelves/top/notes", ada, {"text": "milk"}))[0] == 201
        await eventually(lambda: older.ask(asking("GET", "/workers/summary", ada)), 503)
