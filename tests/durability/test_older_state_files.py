"""State files without a stream of refusals: of the version that had two streams an owner, and of others.

`state_two_streams.json` was written by that version: a state file, what its audit lists showed then, the groups of
changes that its journal had after it, and what the lists showed after those. It kept eight events of a stream.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.entropy import SystemEntropy
from reference_server.adapters.files.segment import Header, encode_group, encode_header
from reference_server.adapters.memory.journal import MemoryJournal, Storage
from reference_server.app import make_api as make_served_api
from reference_server.core.recovery import recover
from reference_server.core.snapshots import snapshot
from reference_server.wire.own_sections import load_state_file
from tests.core.test_audit_streams_keep_what_matters import assert_chained
from tests.durability.test_recovery_is_exact import later
from tests.http.twins import API_TOKEN, START, make_api

if TYPE_CHECKING:
    from reference_server.core.state import State
    from reference_server.operations.api import Api

VECTORS = Path(__file__).parent.parent / "vectors"
OLD = json.loads((VECTORS / "state_two_streams.json").read_text(encoding="utf-8"))
FILE = OLD["state_file"].encode()
GROUPS = [bytes.fromhex(group) for group in OLD["groups"]]
SEGMENT = json.loads(FILE)["reference_server"]["segment"]
NOW = later(START, 60)
REFUSED = {"worker_auth_failed", "machine_certificate_issue_denied", "owner_access_denied"}
STREAMS = ("routine", "notable", "refused")
SHARED = ("id", "type", "actor", "object_id", "metadata", "created_at")
MADE_UP = {"ghost", "specter"}
FIRST = {"sequence": 0, "hash": "0" * 64}
Lists = dict[str, dict[str, Any]]


def recovered(groups: list[bytes], **given_settings: Any) -> State:
    state = make_api(**given_settings).state
    result = recover(state, MemoryJournal(Storage(FILE, {SEGMENT: groups})), NOW)
    assert (result.found, result.fresh, result.warning) == (True, True, "")
    return state


def lists_of(state: State) -> Lists:
    """Return each owner's streams by name, each checked to be a chain that ends in its head."""
    shown: Lists = {}
    for owner in state.owners.values():
        shown[owner.id] = {}
        for stream in owner.streams:
            events = [stream.event(position) for _, position in stream.moments()]
            assert_chained(events, {"sequence": stream.sequence, "hash": stream.hash})
            assert {event["stream"] for event in events} <= {stream.name}
            shown[owner.id][stream.name] = events
    return shown


@pytest.fixture(params=["shown", "shown_after_groups"])
def old(request: pytest.FixtureRequest) -> tuple[Lists, State]:
    """Return what the lists showed, at the snapshot or at the journal's end, and the state that comes of it now."""
    groups = GROUPS if request.param == "shown_after_groups" else []
    return OLD[request.param], recovered(groups, audit_events_per_stream=8)


def test_each_event_is_in_the_stream_of_its_kind_and_none_is_lost(old: tuple[Lists, State]) -> None:
    before, state = old
    after = lists_of(state)
    assert set(after) == set(before) - MADE_UP
    for owner_id, streams in after.items():
        for name, events in streams.items():
            wanted = [
                event
                for event in before[owner_id]["events"]
                if name == ("routine" if event["stream"] == "routine" else STREAMS[1 + (event["type"] in REFUSED)])
            ]
            assert [[event[field] for field in SHARED] for event in events] == [
                [event[field] for field in SHARED] for event in wanted
            ]


def test_a_chain_that_lost_events_goes_on_behind_its_last_head(old: tuple[Lists, State]) -> None:
    """Whoever kept that head finds it again, and no number is given twice. Without refusals, it is what it was."""
    before, state = old
    for owner_id, streams in lists_of(state).items():
        shown = {event["sequence"]: event for event in before[owner_id]["events"] if event["stream"] == "notable"}
        head = before[owner_id]["heads"].get("notable", FIRST)
        owner = state.owners[owner_id]
        if streams["refused"]:
            assert owner.notable.base == (head["sequence"], head["hash"])
            oldest = min(shown.values(), key=lambda event: event["sequence"])
            assert owner.refused.base == (oldest["sequence"] - 1, oldest["previous_hash"])
        else:
            assert {event["sequence"]: event for event in streams["notable"]} == shown
            assert (owner.notable.sequence, owner.notable.hash) == (head["sequence"], head["hash"])
        assert streams["routine"] == [event for event in before[owner_id]["events"] if event["stream"] == "routine"]
    assert {bool(owner.refused.sequence) for owner in state.owners.values()} == {True, False}


def test_whoever_was_only_refused_is_no_owner_any_more(old: tuple[Lists, State]) -> None:
    """Its events are nobody's, but for those that another owner has."""
    before, state = old
    others = {event["id"] for owner_id in set(before) - MADE_UP for event in before[owner_id]["events"]}
    unattributed = [state.unattributed.event(position) for _, position in state.unattributed.moments()]
    assert_chained(unattributed, {"sequence": state.unattributed.sequence, "hash": state.unattributed.hash})
    assert [event["object_id"] for event in unattributed] == [
        "wrk_ffffffffffffffff", "wrk_0000000000000000", "wrk_0000000000000001", "wrk_0000000000000002",
    ]  # fmt: skip
    assert not {event["id"] for event in unattributed} & others


def test_it_is_written_in_a_form_that_the_earlier_version_refuses_and_read_again(old: tuple[Lists, State]) -> None:
    _, state = old
    written = b"".join(snapshot(state, NOW, SEGMENT))
    own = json.loads(written)["reference_server"]
    assert "owners" not in own
    assert own["streams"].keys() == state.owners.keys()
    again = make_api(audit_events_per_stream=8).state
    result = recover(again, MemoryJournal(Storage(written, {SEGMENT: []})), NOW)
    assert not result.fresh
    assert lists_of(again) == lists_of(state)
    first, second = load_state_file(written), load_state_file(b"".join(snapshot(again, NOW, SEGMENT)))
    assert second.records == first.records
    assert first.own is not None
    assert second.own is not None
    assert second.own.streams == first.own.streams


def shown_by(api: Api) -> Lists:
    return lists_of(api.state)


def test_a_server_that_starts_from_it_has_split_it_for_good(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also when it is killed at once, and what it changed is only in its journal."""
    path = tmp_path / "state.json"
    path.write_bytes(FILE)
    path.chmod(0o600)
    segment = encode_header(Header(SEGMENT, "", 1))
    segment += b"".join(encode_group(SEGMENT, number, group) for number, group in enumerate(GROUPS, 1))
    journal = tmp_path / f"state.json.journal-{SEGMENT}"
    journal.write_bytes(segment)
    journal.chmod(0o600)
    environ = {"HATCHFARM_STATE_FILE": str(path), "HATCHFARM_API_TOKEN": API_TOKEN, "AUDIT_EVENTS_PER_STREAM": "8"}
    expected = lists_of(recovered(GROUPS, audit_events_per_stream=8))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            api = make_served_api(environ, SystemEntropy(), SystemClock())
            assert shown_by(api) == expected
            assert "owners" not in json.loads(path.read_bytes())["reference_server"]
            assert api.journal is not None
            api.journal.close()
    assert "no journal" not in caplog.text


def test_refusals_of_another_implementation_are_shared_out_and_make_no_owner() -> None:
    """What was done makes one, for that was granted; what was refused is in `refused` of those who are."""
    document = json.loads((VECTORS / "state_schema1.json").read_text(encoding="utf-8"))
    machine_id, machine = next(iter(document["machines"].items()))
    common = {"metadata": {"reason": "not_the_owner"}, "created_at": "2026-11-24T00:00:00Z"}
    added = [
        ("owner_access_denied", "owner:stranger", machine_id),
        ("owner_access_denied", "owner:stranger", "pol_0000000000000000"),
        ("worker_auth_failed", f"worker:{machine_id}", machine_id),
        ("machine_registered", "owner:gone", "wrk_0000000000000000"),
    ]
    document["audit_events"] += [
        {"id": f"aud_{number:016x}", "type": kind, "actor": actor, "object_id": object_id, **common}
        for number, (kind, actor, object_id) in enumerate(added)
    ]
    state = make_api().state
    recover(state, MemoryJournal(Storage(json.dumps(document).encode(), {})), NOW)
    assert "stranger" not in state.owners
    shown = lists_of(state)
    ids = {owner_id: [event["id"] for event in streams["refused"]] for owner_id, streams in shown.items()}
    assert ids[machine["owner_id"]] == [f"aud_{0:016x}", f"aud_{2:016x}"]
    assert [event["id"] for event in shown["gone"]["notable"]] == [f"aud_{3:016x}"]
    assert f"aud_{1:016x}" in [state.unattributed.event(at)["id"] for _, at in state.unattributed.moments()]
