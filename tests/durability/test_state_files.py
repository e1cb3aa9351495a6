"""State files of schema 1 and legacy worker-status files: read with nothing lost, and never half understood."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reference_server.wire.schema1 import CONSENTS, POLICIES
from reference_server.wire.state_file import StateFile, StateFileError, WorkerStatusFile, read_state

if TYPE_CHECKING:
    from collections.abc import Callable

VECTORS = Path(__file__).parent.parent / "vectors"
WHOLE = (VECTORS / "state_schema1.json").read_bytes()
LEGACY = (VECTORS / "legacy_worker_status.json").read_bytes()
SECTIONS = ("machines", "machine_certs", "worker_status", "policies", "consents", "audit_events")
MACHINE = "wrk_45ecad2a5e1039df"
POLICY = "pol_00112233445566aa"
CONSENT = "con_00112233445566aa"
OTHERS = "wrk_490e2760aa449256"
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How fast the machine is just now decides nothing."""


def read(document: Any) -> StateFile:
    found = read_state(json.dumps(document).encode())
    assert isinstance(found, StateFile)
    return found


def whole() -> Any:
    return json.loads(WHOLE)


def test_a_snapshot_of_another_implementation_is_read_with_nothing_lost() -> None:
    """Each record comes out as a plain JSON reader sees it: nanoseconds, HTML escapes, revoked and all."""
    state = read_state(WHOLE)
    assert isinstance(state, StateFile)
    assert (state.problems, state.remarks, state.unknown) == ([], [], {})
    assert {"schema_version": 1, "saved_at": state.saved_at} | {
        section: msgspec.to_builtins(records) for section, records in state.contents.items()
    } == whole()


def test_a_legacy_file_is_read_with_nothing_lost() -> None:
    state = read_state(LEGACY)
    assert isinstance(state, WorkerStatusFile)
    assert state.problems == []
    assert msgspec.to_builtins(state.worker_status) == json.loads(LEGACY)


def test_an_empty_legacy_file_holds_nobody() -> None:
    assert read_state(b"{}") == WorkerStatusFile({}, [])


def test_a_legacy_file_names_the_status_that_is_wrong() -> None:
    document = json.loads(LEGACY)
    document[MACHINE]["last_heartbeat"] = "yesterday"
    state = read_state(json.dumps(document).encode())
    assert state.problems == [f"worker_status.{MACHINE}: last_heartbeat is no timestamp"]


def test_unknown_sections_are_kept_as_they_are() -> None:
    wallet = {"accounts": [{"balance": "1.50"}], "deep": {"null": None}}
    state = read({**whole(), "wallet": wallet, "jobs": []})
    assert state.problems == []
    assert state.unknown == {"wallet": wallet, "jobs": []}


def test_a_section_of_null_is_empty() -> None:
    """Some implementations write an empty map or list as null."""
    state = read({"schema_version": 1, "saved_at": "2026-11-23T00:00:00Z"} | dict.fromkeys(SECTIONS))
    assert state.problems == []
    assert [len(state.contents[section]) for section in SECTIONS] == [0] * len(SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_section_and_one_of_another_kind_are_problems(section: str) -> None:
    missing = whole()
    del missing[section]
    assert f"{section}: the section is missing" in read(missing).problems
    kind = "array" if section == "audit_events" else "object"
    assert f"{section}: it is no {kind}" in read({**whole(), section: "x"}).problems


def test_a_status_of_a_machine_that_is_not_there_is_a_remark() -> None:
    """A server that took over a legacy file keeps such statuses, and they harm nobody."""
    document = whole()
    stranger = "wrk_" + "0" * 16
    document["worker_status"][stranger] = {**document["worker_status"][MACHINE], "worker_id": stranger}
    state = read(document)
    assert (state.problems, state.remarks) == ([], [f"worker_status.{stranger}: no such machine"])


def put(section: str, key: str | int, **fields: Any) -> Callable[[Any], None]:
    """Make a change to one record."""
    return lambda document: document[section][key].update(fields)


def rename(section: str, old: str, new: str) -> Callable[[Any], None]:
    """Make a record stand under another key."""

    def change(document: Any) -> None:
        document[section][new] = document[section].pop(old)

    return change


def without(section: str, key: str) -> Callable[[Any], None]:
    """Take a record out."""
    return lambda document: document[section].pop(key)


DAMAGE: dict[str, tuple[Callable[[Any], None], list[str]]] = {
    "machine of another form of id": (
        put("machines", MACHINE, id="wrk_1"),
        [
            f"machines.{MACHINE}: wrk_ and 16 hex digits expected",
            f"machines.{MACHINE}: it stands under another id than its own",
        ],
    ),
    "short token": (
        put("machines", MACHINE, secret="abc"),
        [f"machines.{MACHINE}: its secret is not 48 hex digits"],
    ),
    "no owner": (
        put("machines", OTHERS, owner_id=""),
        [f"machines.{OTHERS}: it has no owner"],
    ),
    "no such day": (
        put("machines", MACHINE, created_at="2026-02-30T00:00:00Z"),
        [f"machines.{MACHINE}: created_at is no timestamp"],
    ),
    "unknown field": (
        put("machine_certs", MACHINE, serial=7),
        [
            f"machine_certs.{MACHINE}: Object contains unknown field `serial`",
            f"machines.{MACHINE}: it has no certificate",
        ],
    ),
    "no certificate": (without("machine_certs", MACHINE), [f"machines.{MACHINE}: it has no certificate"]),
    "certificate of nobody": (without("machines", OTHERS), [f"machine_certs.{OTHERS}: no such machine"]),
    "certificate id": (
        put("machine_certs", MACHINE, certificate_id="mcert_"),
        [f"machine_certs.{MACHINE}: mcert_ and 20 hex digits expected as certificate_id"],
    ),
    "certificate over before it begins": (
        put("machine_certs", MACHINE, expires_at="2026-11-22T00:00:00Z"),
        [f"machine_certs.{MACHINE}: it is over before it begins"],
    ),
    "status under another id": (
        rename("worker_status", MACHINE, OTHERS),
        [f"worker_status.{OTHERS}: it stands under another id than its own"],
    ),
    "status without a policy": (
        put("worker_status", MACHINE, policy_id=""),
        [f"worker_status.{MACHINE}: its policy_id is no policy's"],
    ),
    "policy state": (
        put("policies", POLICY, state="Active"),
        [f"policies.{POLICY}: its state is neither draft nor active"],
    ),
    "policy version": (
        put("policies", POLICY, version=0),
        [f"policies.{POLICY}: its version is not from 1 to 9007199254740991"],
    ),
    "version that is no number": (
        put("policies", "pol_00112233445566bb", version="2"),
        ["policies.pol_00112233445566bb: Expected `int`, got `str` - at `$.version`"],
    ),
    "one version twice": (
        put("policies", POLICY, version=2),
        ["policies.pol_00112233445566bb: another policy of its owner has the same version"],
    ),
    "consent of nobody's machine": (
        put("consents", CONSENT, worker_id="wrk_" + "f" * 16),
        [f"consents.{CONSENT}: no such machine"],
    ),
    "consent to no policy": (
        put("consents", CONSENT, policy_id="pol_" + "f" * 16),
        [f"consents.{CONSENT}: no such policy"],
    ),
    "consent for another owner's machine": (
        put("consents", CONSENT, worker_id=OTHERS),
        [f"consents.{CONSENT}: its machine is another owner's"],
    ),
    "revoked at no time": (
        put("consents", "con_00112233445566bb", revoked_at="no"),
        ["consents.con_00112233445566bb: revoked_at is no timestamp"],
    ),
    "consent effective at no time": (
        put("consents", CONSENT, effective_at=""),
        [f"consents.{CONSENT}: effective_at is no timestamp"],
    ),
    "event twice": (
        put("audit_events", 1, id="aud_6a20151432e8b757"),
        ["audit_events aud_6a20151432e8b757: it is there twice"],
    ),
    "event id": (put("audit_events", 1, id="x"), ["audit_events x: aud_ and 16 hex digits expected"]),
    "event time": (
        put("audit_events", 3, created_at="now"),
        ["audit_events aud_027d417f345305ce: created_at is no timestamp"],
    ),
    "event without metadata": (
        put("audit_events", 0, metadata=None),
        ["audit_events[0]: Expected `object`, got `null` - at `$.metadata`"],
    ),
    "saved at no time": (lambda document: document.update(saved_at=5), ["saved_at: saved_at is no timestamp"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_each_damage_is_named_at_its_place_and_nothing_else_is(name: str) -> None:
    damage, problems = DAMAGE[name]
    document = whole()
    damage(document)
    assert sorted(read(document).problems) == sorted(problems)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (WHOLE[:-1], "it is not JSON"),
        (WHOLE + b"{}", "it is not JSON"),
        (b"\xff" + WHOLE, "it is not JSON"),
        (WHOLE.decode().encode("utf-16"), "it is not JSON"),
        (b'{"schema_version":1,"wallet":"\\ud800"}', "it is not JSON"),
        (b'{"schema_version":1,"wallet":NaN}', "it is not JSON"),
        (b'{"schema_version":1,"schema_version":1}', "the key 'schema_version' is there twice"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it holds no JSON object"),
        (b'{"schema_version":2}', "it is of schema version 2"),
        (b'{"schema_version":true}', "its schema_version is no whole number"),
        (b'{"schema_version":"1"}', "its schema_version is no whole number"),
        (b'{"machines":{}}', "sections but no schema_version"),
        (b'{"name":"a file of something else"}', "neither a state file"),
    ],
    ids=range(15),
)
def test_what_is_no_state_file_is_refused_with_the_reason_and_the_way_out(content: bytes, message: str) -> None:
    with pytest.raises(StateFileError, match="copy") as refused:
        read_state(content)
    assert message in str(refused.value)


def test_a_record_that_is_there_twice_is_refused_because_one_would_be_lost() -> None:
    twice = WHOLE.replace(b'"wrk_490e2760aa449256": {', b'"wrk_45ecad2a5e1039df": {', 1)
    with pytest.raises(StateFileError, match="'wrk_45ecad2a5e1039df' is there twice"):
        read_state(twice)


@pytest.mark.long
def test_no_flipped_bit_takes_a_record_or_a_revocation_away_in_silence() -> None:
    """Schema 1 has no checksum, so a digit of a time can change unseen; a thing that is there cannot vanish unseen."""
    expected = [len(whole()[section]) for section in SECTIONS]
    content = bytearray(WHOLE)
    refused = 0
    for at in range(len(content)):
        for bit in range(8):
            content[at] ^= 1 << bit
            try:
                state = read_state(bytes(content))
            except StateFileError:
                refused += 1
            else:
                assert isinstance(state, StateFile)
                if not state.problems:
                    assert [len(state.contents[section]) for section in SECTIONS] == expected
                    assert not state.unknown
                    assert [consent.revoked_at is None for consent in CONSENTS.of(state.sections).values()] == [
                        True,
                        False,
                    ]
                    assert [policy.state for policy in POLICIES.of(state.sections).values()] == ["active", "draft"]
            content[at] ^= 1 << bit
    assert refused > len(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SECTIONS, "id", MACHINE]), inner, max_size=3)
    ),
    max_leaves=8,
)


@patient
@given(st.fixed_dictionaries({"schema_version": st.just(1)}, optional=dict.fromkeys(["saved_at", *SECTIONS], JSON)))
def test_whatever_stands_in_a_section_is_read_or_named(document: Any) -> None:
    """No JSON makes the reader fail, and a section that has entries has a record or a problem for each.

    Events stand in an array: an object in its place is one problem, whatever is in it.
    """
    state = read(document)
    objects = [document[section] for section in SECTIONS if section in document and section != "audit_events"]
    entries = sum(len(one) for one in objects if isinstance(one, dict))
    assert sum(map(len, state.contents.values())) + len(state.problems) >= entries


@patient
@given(st.binary(max_size=60))
def test_no_bytes_make_the_reader_fail(content: bytes) -> None:
    """At most it is refused."""
    with suppress(StateFileError):
        read_state(content)


def test_a_machine_never_shows_its_token() -> None:
    state = read_state(WHOLE)
    assert "e444869c4c3668f22a8b68730501dbfdeb8d92b33841a3bc" not in repr(state)
