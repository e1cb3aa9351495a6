"""A server starts from what other implementations wrote, with nothing lost, and others can read what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from simulator.client.connection import ControlConnection
from simulator.client.target import parse_target
from simulator.contract.answers import Operation
from simulator.deployment.server_process import own_server
from simulator.fleet.requests import ApiCall, activate_call, consent_call, owner_headers, revoke_call
from tests.durability.ledger_records import CONFLICT, CREATED, FORBIDDEN, HOST, OK
from tests.durability.writing import FREELY, TOKEN, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

VECTORS = Path(__file__).parent.parent / "vectors"
WHOLE: dict[str, Any] = json.loads((VECTORS / "state_schema1.json").read_bytes())
LEGACY: dict[str, Any] = json.loads((VECTORS / "legacy_worker_status.json").read_bytes())
MACHINE, POLICY, DRAFT = "wrk_45ecad2a5e1039df", "pol_00112233445566aa", "pol_00112233445566bb"
CONSENT, REVOKED = "con_00112233445566aa", "con_00112233445566bb"
EVENT_FIELDS = ("id", "type", "actor", "object_id", "metadata", "created_at")
RECORDS = ("machines", "machine_certs", "worker_status", "policies", "consents")


class Asking:
    """Asks a server as an owner, and decodes what it answers."""

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection

    async def ask(self, call: ApiCall, status: int) -> Any:
        """Ask, and give the data of the answer, which must have this status."""
        answer = await self._connection.exchange(call.message(HOST))
        reported = msgspec.json.decode(answer.body)
        assert answer.status == status, reported
        return reported.get("data")

    async def get(self, path: str, owner_id: str, status: int = OK) -> Any:
        """Read a list, or a record."""
        return await self.ask(ApiCall(Operation.OTHER, "GET", path, owner_headers(TOKEN, owner_id)), status)

    async def rotate(self, worker_id: str, owner_id: str, token: str) -> str:
        """Rotate a certificate, and give the new one's id."""
        headers = {**owner_headers(TOKEN, owner_id), "X-Machine-Token": token}
        call = ApiCall(Operation.CERTIFICATE, "POST", f"/machines/{worker_id}/certificate", headers)
        return str((await self.ask(call, OK))["certificate_id"])


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    """Start a server from a copy of the published state file."""
    path = tmp_path / "state.json"
    path.touch(0o600)
    path.write_bytes((VECTORS / "state_schema1.json").read_bytes())
    async with (
        own_server({**FREELY, "HATCHFARM_STATE_FILE": str(path)}, TOKEN) as server,
        ControlConnection(parse_target(server.url, TOKEN), None) as connection,
    ):
        yield Asking(connection)


async def test_every_record_of_another_implementation_is_there(asking: Asking) -> None:
    """Statuses and events are listed; policies and consents are shown by requests that change nothing."""
    for owner_id in ("own0", "own1"):
        statuses = (await asking.get("/workers/statuses", owner_id))["workers"]
        mine = sorted(key for key, machine in WHOLE["machines"].items() if machine["owner_id"] == owner_id)
        assert [status["worker_id"] for status in statuses] == mine
        for status in statuses:
            expected = WHOLE["worker_status"].get(status["worker_id"])
            assert expected is None or expected.items() <= status.items()
        events = (await asking.get("/audit/events", owner_id))["events"]
        assert [{field: event[field] for field in EVENT_FIELDS} for event in events] == [
            event for event in WHOLE["audit_events"] if event["actor"] == f"owner:{owner_id}"
        ]
    assert await asking.ask(activate_call(TOKEN, "own1", POLICY), OK) == WHOLE["policies"][POLICY]
    assert await asking.ask(consent_call(TOKEN, "own1", MACHINE, POLICY), CREATED) == WHOLE["consents"][CONSENT]
    assert await asking.ask(revoke_call(TOKEN, "own1", REVOKED), OK) == WHOLE["consents"][REVOKED]
    await asking.ask(activate_call(TOKEN, "own0", DRAFT), FORBIDDEN)
    draft = WHOLE["policies"][DRAFT]
    activated = await asking.ask(activate_call(TOKEN, "own1", DRAFT), OK)
    assert activated | {"state": "draft", "updated_at": draft["updated_at"]} == draft


async def test_machines_of_another_implementation_prove_themselves_as_before(asking: Asking) -> None:
    """By their tokens. Their certificates ended long ago; the first rotation makes new ones."""
    certificate_id = await asking.rotate(MACHINE, "own1", WHOLE["machines"][MACHINE]["secret"])
    headers = {"X-Machine-Token": WHOLE["machines"][MACHINE]["secret"], "X-Machine-Certificate-Id": certificate_id}
    call = ApiCall(Operation.POLICY_FETCH, "GET", f"/workers/{MACHINE}/policy", headers)
    assert await asking.ask(call, OK) == {
        "worker_id": MACHINE,
        "policy": WHOLE["policies"][POLICY],
        "consent_effective_at": WHOLE["consents"][CONSENT]["effective_at"],
    }
    await asking.ask(revoke_call(TOKEN, "own1", CONSENT), OK)
    await asking.ask(consent_call(TOKEN, "own1", MACHINE, POLICY), CONFLICT)
    await asking.ask(call, FORBIDDEN)


async def test_all_that_another_implementation_wrote_is_written_again(tmp_path: Path) -> None:
    """Its later sections too, word for word; and what concerns no owner, which no list shows."""
    path = tmp_path / "state.json"
    document = WHOLE | {"wallet": {"accounts": [{"balance": "1.50"}], "deep": {"null": None}}, "keys": []}
    path.touch(0o600)
    path.write_text(json.dumps(document), encoding="utf-8")
    async with own_server({**FREELY, "HATCHFARM_STATE_FILE": str(path)}, TOKEN) as server:
        assert server.exit_code is None
    written = json.loads(path.read_bytes())
    assert written["saved_at"] != document["saved_at"]
    assert {key: written[key] for key in document if key != "saved_at"} == {
        key: document[key] for key in document if key != "saved_at"
    }


async def test_a_plain_reader_of_schema_1_reads_what_is_written_here(tmp_path: Path) -> None:
    """It knows the contract's keys and record shapes, and passes over every other section."""
    path = tmp_path / "state.json"
    world = World(seed=3)
    async with own_server({**FREELY, "HATCHFARM_STATE_FILE": str(path)}, TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        await world.write_some(server.url, 30)
    document = json.loads(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    assert document["schema_version"] == 1
    assert WHOLE.keys() <= document.keys()
    for section in RECORDS:
        fields = {frozenset(record) for record in WHOLE[section].values()}
        assert {frozenset(record) for record in document[section].values()} <= fields, section
        assert all(record.get("id", key) == key for key, record in document[section].items()), section
    assert {frozenset(event) for event in document["audit_events"]} == {frozenset(EVENT_FIELDS)}
    machines = {worker_id: machine for ledger in world.everyone for worker_id, machine in ledger.machines.items()}
    assert {key: record["secret"] for key, record in document["machines"].items()} == {
        worker_id: machine.token for worker_id, machine in machines.items()
    }
    assert {key: record["certificate_id"] for key, record in document["machine_certs"].items()} == {
        worker_id: machine.certificate_id for worker_id, machine in machines.items()
    }
    assert document["policies"] == {
        policy_id: policy.shown for ledger in world.everyone for policy_id, policy in ledger.policies.items()
    }
    assert document["consents"] == {
        consent.id: consent.shown for ledger in world.everyone for consent in ledger.consents.values()
    }


async def test_a_legacy_file_is_taken_over_with_nothing_lost(tmp_path: Path) -> None:
    """Read where there is no state file, it goes into the one that is written."""
    legacy, path = tmp_path / "legacy.json", tmp_path / "state.json"
    legacy.write_bytes((VECTORS / "legacy_worker_status.json").read_bytes())
    settings = {**FREELY, "HATCHFARM_STATE_FILE": str(path), "WORKER_STATUS_STATE_FILE": str(legacy)}
    async with own_server(settings, TOKEN) as server:
        assert server.exit_code is None
    assert json.loads(path.read_bytes())["worker_status"] == LEGACY


async def test_a_legacy_file_is_kept_up_without_a_state_file(tmp_path: Path) -> None:
    """What was in it stays, and whoever was heard is in it after an orderly end."""
    legacy = tmp_path / "legacy.json"
    legacy.write_bytes((VECTORS / "legacy_worker_status.json").read_bytes())
    world = World(seed=4)
    async with own_server({**FREELY, "WORKER_STATUS_STATE_FILE": str(legacy)}, TOKEN) as server:
        await world.bring_up_the_fleet(server.url)
        await world.write_some(server.url, 3)
    kept = json.loads(legacy.read_bytes())
    assert LEGACY.items() <= kept.items()
    assert kept.keys() - LEGACY.keys() == {beater.machine.worker_id for beater in world.beaters if beater.accepted}


@pytest.mark.parametrize("version", [0, 2])
async def test_a_file_of_another_schema_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.json"
    content = json.dumps(WHOLE | {"schema_version": version})
    path.touch(0o600)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BaseExceptionGroup) as caught:
        async with own_server({**FREELY, "HATCHFARM_STATE_FILE": str(path)}, TOKEN):
            pass
    (error,) = caught.value.exceptions
    assert str(path) in str(error)
    assert f"schema version {version}" in str(error)
    assert path.read_text(encoding="utf-8") == content
