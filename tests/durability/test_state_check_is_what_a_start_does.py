"""One check, and a total one: what it calls right starts, serves, is written and read again; the rest is a sentence."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.entropy import SeededEntropy
from reference_server.app import make_api
from reference_server.core.snapshots import snapshot
from reference_server.core.tables import TABLES
from reference_server.settings import SettingsError
from reference_server.wire.own_sections import check_state_file, load_state_file
from reference_server.wire.state_file import StateFile, StateFileError, WorkerStatusFile
from reference_server.wire.values import Request
from tests.core.server_under_test import STARTED, TOKEN, with_room
from tests.support.tiers import examples

WHOLE = json.loads((Path(__file__).parent.parent / "vectors" / "state_schema1.json").read_bytes())
SECTIONS = ("machines", "machine_certs", "worker_status", "policies", "consents", "audit_events")
BIG = int("1" + "0" * 400)
QUESTIONS = ("/health", "/metrics", "/api/v1/workers/summary", "/api/v1/workers/statuses", "/api/v1/audit/events")
TIMES = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-01:00",
    "1677-09-21T00:00:00Z",
    "2262-04-12T00:00:00Z",
    "2026-02-19T10:58:12Z",
    "1970-01-01T00:00:00Z",
    "",
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ODD: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TIMES),
    st.sampled_from([0, -1, 1, 2**53, 2**62, 2**63, 2**64, -(2**63) - 1, BIG, -BIG, 1e308, -0.0, 0.5, 101]),
    st.sampled_from(["", " ada", "ada ", "a|b", "a\nb", "\x85", "\u2028", "é" * 256, "a" * 257, "x" * 5000, "\ufffd"]),
    st.sampled_from([None, True, [], {}, nested(63), nested(70), nested(200), {"a": {"b": {"c": BIG}}}]),
    st.text(max_size=8),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Name every place in a document."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


PLACES = places(WHOLE)[1:]
CHANGES = st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=3)


def changed(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """Put odd values in places of a whole file; in every place alike where an owner is named."""
    document = copy.deepcopy(WHOLE)
    for path, value in changes:
        at = document
        try:
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
        except (TypeError, LookupError):
            continue  # another change took it away
        if path[-1] == "owner_id" and isinstance(value, str):
            for section in ("machines", "policies", "consents"):
                for record in document[section].values() if isinstance(document[section], dict) else ():
                    if isinstance(record, dict):
                        record["owner_id"] = value
    return document


def checked(content: bytes) -> list[str]:
    """Return what the check says is wrong."""
    try:
        state = check_state_file(content)
    except StateFileError as error:
        return [str(error)]
    if isinstance(state, WorkerStatusFile):
        return ["a legacy file"]
    return state.problems


def starts(content: bytes) -> str:
    """Start on it, ask what shows everything, write it, read that; give what the start says where it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        path.touch(0o600)
        path.write_bytes(content)
        try:
            api = make_api(
                {"HATCHFARM_API_TOKEN": TOKEN, "HATCHFARM_STATE_FILE": str(path)}, SeededEntropy(), SystemClock()
            )
        except SettingsError as error:
            assert path.read_bytes() == content
            return str(error)
        assert api.journal is not None
        api.journal.close()
        bearer = ("authorization", f"Bearer {TOKEN}")
        for owner_id in api.state.owners:
            headers = (bearer, ("x-owner-id", owner_id.encode().decode("latin-1")))
            for question in QUESTIONS:
                reply = api.handle(Request("GET", question, headers=headers, client=owner_id), STARTED)
                assert reply.status in {200, 429}
        written = b"".join(snapshot(api.state, STARTED, "segment"))
        again = load_state_file(written).records
        assert isinstance(again, StateFile)
        assert checked(written) == []
        assert checked(path.read_bytes()) == []
        for section in SECTIONS:
            assert len(again.contents[section]) == len(api_records(content).contents[section])
    return ""


def api_records(content: bytes) -> StateFile:
    return load_state_file(content).records


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(changes=[(("machines", "wrk_45ecad2a5e1039df", "created_at"), TIMES[1])])
@example(changes=[(("audit_events", 0, "created_at"), TIMES[3])])
@example(changes=[(("audit_events", 0, "metadata"), {"n": BIG})])
@example(changes=[(("audit_events", 0, "metadata"), {"n": nested(70)})])
@example(changes=[(("policies", "pol_00112233445566aa", "rules", "max_cpu_percent"), BIG)])
@example(changes=[(("policies", "pol_00112233445566aa", "rules", "timezone"), nested(200))])
@example(changes=[(("policies", "pol_00112233445566aa", "version"), BIG)])
@example(changes=[(("policies", "pol_00112233445566aa", "version"), 2**62)])
@example(changes=[(("machines", "wrk_45ecad2a5e1039df", "owner_id"), "a|b\n")])
@given(changes=CHANGES)
def test_what_is_right_starts_and_is_written_again_and_what_is_wrong_is_refused(
    changes: list[tuple[tuple[Any, ...], Any]],
) -> None:
    content = json.dumps(changed(changes)).encode()
    problems = checked(content)
    refusal = starts(content)
    assert bool(refusal) is bool(problems), (problems, refusal)
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("machines", "created_at"), TIMES[1], "created_at is in no year from 1 to 9999, in UTC"),
        (("machine_certs", "expires_at"), TIMES[3], "expires_at is in no year from 1 to 9999, in UTC"),
        (("policies", "version"), 2**62, "its version is not from 1 to 9007199254740991"),
        (("policies", "version"), BIG, "its version is not from 1 to 9007199254740991"),
        (("policies", "rules"), {"max_cpu_percent": 5000}, "max_cpu_percent must be a number from 1 to 100"),
        (("policies", "rules"), {"max_cpu_percent": BIG}, "max_cpu_percent must be a number from 1 to 100"),
        (("policies", "owner_id"), "a|b", "its owner_id is longer than 256 characters, has | or control"),
        (("machines", "owner_id"), " ada", "its owner_id is longer than 256 characters, has | or control"),
    ],
)
def test_what_is_out_of_range_is_named(path: tuple[str, str], value: Any, says: str) -> None:
    document = copy.deepcopy(WHOLE)
    next(iter(document[path[0]].values()))[path[1]] = value
    assert any(says in problem for problem in checked(json.dumps(document).encode()))


@pytest.mark.parametrize("table", ["machines", "machine_certs", "worker_status", "policies", "consents", "owners"])
def test_more_records_than_there_is_room_for_are_wrong(table: str) -> None:
    sections = with_room(TABLES, **{table: 0}).sections
    state = check_state_file(json.dumps(WHOLE).encode(), sections)
    (problem,) = state.problems
    assert problem.startswith(f"{table}: there are ")
    assert problem.endswith("and this server has room for 0")


def test_a_file_written_here_is_held_against_its_checksum_and_nothing_else() -> None:
    api = make_api({"HATCHFARM_API_TOKEN": TOKEN, "WORKER_STATUS_STATE_FILE": ""}, SeededEntropy(), SystemClock())
    written = b"".join(snapshot(api.state, STARTED, "segment"))
    assert checked(written) == []
    assert starts(written) == ""
    damaged = written.replace(b'"policies":{}', b'"policies": {}')
    assert "since this server wrote it" in checked(damaged)[0]
    assert "since this server wrote it" in starts(damaged)
