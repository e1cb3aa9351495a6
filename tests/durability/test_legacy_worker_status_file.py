"""The legacy worker-status file: taken over once, kept for those who still read it, and never in the way."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.worker_status_file import WorkerStatusWriter, read_worker_status
from reference_server.adapters.memory.clocks import SetClock
from reference_server.app import make_api
from reference_server.settings import SettingsError
from reference_server.wire.state_file import StateFileError, WorkerStatusFile, read_state
from reference_server.wire.values import Request
from tests.http.serving import serving
from tests.http.twins import API_TOKEN, OWNER, START, enrol
from tests.http.twins import make_api as make_twin

if TYPE_CHECKING:
    from trio.testing import MockClock

    from reference_server.operations.api import Api

VECTOR = Path(__file__).parent.parent / "vectors" / "legacy_worker_status.json"
WORKER = "wrk_45ecad2a5e1039df"
ANYONE = OWNER[:1]


def start(folder: Path, **environ: str) -> Api:
    """Build an API as a server's start does."""
    given = {"HATCHFARM_API_TOKEN": API_TOKEN, "WORKER_STATUS_STATE_FILE": str(folder / "status.json"), **environ}
    return make_api(given, SystemEntropy(), SystemClock())


def status_of(api: Api, worker_id: str, headers: Any = ANYONE) -> tuple[int, Any]:
    reply = api.handle(Request("GET", f"/api/v1/workers/{worker_id}/status", headers=headers), START)
    return reply.status, msgspec.json.decode(reply.body).get("data")


def test_the_published_example_loads_with_nothing_lost(tmp_path: Path) -> None:
    shutil.copy(VECTOR, tmp_path / "status.json")
    status, data = status_of(start(tmp_path), WORKER)
    assert status == 200
    reported = msgspec.json.decode(VECTOR.read_bytes())[WORKER]
    assert {name: data[name] for name in reported} == reported


def test_what_it_tells_is_no_owners(tmp_path: Path) -> None:
    shutil.copy(VECTOR, tmp_path / "status.json")
    assert status_of(start(tmp_path), WORKER, OWNER) == (404, None)


def test_a_first_start_with_a_state_file_takes_it_over(tmp_path: Path) -> None:
    shutil.copy(VECTOR, tmp_path / "status.json")
    state_file = tmp_path / "state.json"
    first = start(tmp_path, HATCHFARM_STATE_FILE=str(state_file))
    assert first.journal is not None
    first.journal.close()
    (tmp_path / "status.json").unlink()
    kept = msgspec.json.decode(state_file.read_bytes())
    assert kept["worker_status"] == msgspec.json.decode(VECTOR.read_bytes())
    second = start(tmp_path, HATCHFARM_STATE_FILE=str(state_file))
    assert status_of(second, WORKER)[0] == 200
    assert second.journal is not None
    second.journal.close()


def test_a_state_file_that_is_there_is_the_truth(tmp_path: Path) -> None:
    state_file = str(tmp_path / "state.json")
    first = start(tmp_path, HATCHFARM_STATE_FILE=state_file)
    assert first.journal is not None
    first.journal.close()
    shutil.copy(VECTOR, tmp_path / "status.json")
    second = start(tmp_path, HATCHFARM_STATE_FILE=state_file)
    assert status_of(second, WORKER) == (404, None)
    assert second.journal is not None
    second.journal.close()


@pytest.mark.parametrize(
    ("content", "stated"),
    [
        (b"{", "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"schema_version":2}', "schema version 2"),
        (VECTOR.read_bytes().replace(b"2026-11-22T", b"2026-13-22T"), "hatchfarm state check"),
    ],
    ids=["torn", "a list", "of another version", "no time"],
)
def test_one_that_cannot_be_read_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes, stated: str) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=stated) as caught:
        start(tmp_path)
    assert str(caught.value).startswith(f"WORKER_STATUS_STATE_FILE: {path}: ")
    assert path.read_bytes() == content


def test_a_state_file_in_its_place_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    shutil.copy(VECTOR.with_name("state_schema1.json"), path)
    with pytest.raises(StateFileError, match="HATCHFARM_STATE_FILE"):
        read_worker_status(str(path))


def test_none_at_all_is_nothing(tmp_path: Path) -> None:
    assert read_worker_status(str(tmp_path / "none.json")) == {}


async def test_it_is_written_within_a_second_and_when_the_server_stops(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    del autojump_clock
    path = tmp_path / "status.json"
    api = make_twin()
    machine = enrol(api)
    api.state.orphan_statuses = read_worker_status(str(VECTOR))
    async with trio.open_nursery() as nursery:
        await nursery.start(WorkerStatusWriter(str(path), api).run)
        await trio.sleep(3)
        assert not path.exists(), "nothing was accepted, so there is nothing to say"
        assert api.handle(machine.heartbeat("a"), START).status == 200
        await trio.sleep(1.5)
        while not path.exists():
            await trio.lowlevel.checkpoint()
        assert reported(path) == {WORKER, machine.worker_id}
        written = path.stat().st_mtime_ns
        await trio.sleep(5)
        assert path.stat().st_mtime_ns == written, "once for what was accepted"
        path.unlink()
        assert api.handle(machine.heartbeat("b"), START).status == 200
        nursery.cancel_scope.cancel()
    assert reported(path) == {WORKER, machine.worker_id}
    assert path.stat().st_mode & 0o777 == 0o600


def reported(path: Path) -> set[str]:
    """Name the workers that a file tells of, read as any other implementation would."""
    file = read_state(path.read_bytes())
    assert isinstance(file, WorkerStatusFile)
    assert file.problems == []
    return set(file.worker_status)


async def test_a_folder_that_cannot_be_written_to_costs_no_answer(tmp_path: Path) -> None:
    api = make_twin()
    machine = enrol(api)
    api.background_tasks = (WorkerStatusWriter(str(tmp_path / "missing" / "status.json"), api).run,)
    async with serving(api, SetClock(), express_lane=True) as server, server.client() as client:
        assert (await client.ask(machine.heartbeat("a"))).status == 200


def test_an_empty_name_turns_it_off(tmp_path: Path) -> None:
    api = start(tmp_path, WORKER_STATUS_STATE_FILE="")
    assert api.background_tasks == ()
