"""`hatchfarm state check` and `state show`: what people learn about a state file, and what they never see of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from simulator.limits import STATE_FILE_MAX_BYTES

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

VECTORS = Path(__file__).parent.parent / "vectors"
WHOLE = (VECTORS / "state_schema1.json").read_bytes()
LEGACY = (VECTORS / "legacy_worker_status.json").read_bytes()
MACHINE = "wrk_45ecad2a5e1039df"
SECTIONS = ["machines", "machine_certs", "worker_status", "policies", "consents", "audit_events"]


def put(hatchfarm: Hatchfarm, content: bytes | Any) -> str:
    """Write a state file as a server would; gives its name."""
    path = hatchfarm.folder / "state.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(0o600)
    return path.name


def secrets_of(document: Any) -> set[str]:
    """Every token and signature in a state file."""
    records = [record for section in SECTIONS[:5] for record in document[section].values()]
    return {record[name] for record in records for name in ("secret", "signature") if name in record}


def test_a_right_state_file_is_said_to_be_right_and_what_is_in_it(hatchfarm: Hatchfarm) -> None:
    checked = hatchfarm.invoke("state", "check", put(hatchfarm, WHOLE))
    assert (checked.code, checked.err) == (0, "")
    assert checked.out == (
        "state.json: right, a state file of schema 1 with machines 3, machine_certs 3, worker_status 1, policies 2, "
        "consents 2, audit_events 4\n"
    )


def test_a_legacy_file_is_known_as_one(hatchfarm: Hatchfarm) -> None:
    checked = hatchfarm.invoke("state", "check", put(hatchfarm, LEGACY))
    assert checked.code == 0
    assert checked.lines == ["state.json: right, a legacy worker-status file with worker_status 1"]
    shown = hatchfarm.invoke("state", "show", "state.json")
    assert (shown.code, json.loads(shown.out)) == (0, {"worker_status": json.loads(LEGACY)})


def test_the_file_of_the_servers_setting_is_the_one_looked_into(hatchfarm: Hatchfarm) -> None:
    name = put(hatchfarm, WHOLE)
    assert hatchfarm.invoke("state", "check", env={"HATCHFARM_STATE_FILE": name}).code == 0


def test_what_is_wrong_is_named_and_exits_with_1(hatchfarm: Hatchfarm) -> None:
    document = json.loads(WHOLE)
    del document["machine_certs"][MACHINE]
    checked = hatchfarm.invoke("state", "check", put(hatchfarm, document))
    assert checked.code == 1
    assert checked.lines[0] == f"  wrong  machines.{MACHINE}: it has no certificate"
    assert checked.lines[1].startswith("state.json: wrong in 1 place, a state file of schema 1 with ")


def test_of_very_many_problems_the_first_are_named_and_the_rest_counted(hatchfarm: Hatchfarm) -> None:
    document = {**json.loads(WHOLE), "audit_events": [{}] * 100}
    lines = hatchfarm.invoke("state", "check", put(hatchfarm, document)).lines
    assert [line[:9] for line in lines[:-1]] == ["  wrong  "] * 21
    assert lines[-2] == "  wrong  and 80 more"
    assert "wrong in 100 places" in lines[-1]


def test_of_very_many_notes_the_first_are_given_and_the_rest_counted(hatchfarm: Hatchfarm) -> None:
    document = {**json.loads(WHOLE), **{f"section{number}": 1 for number in range(30)}}
    lines = hatchfarm.invoke("state", "check", put(hatchfarm, document)).lines
    assert lines[0] == "  note   section0: not a section of schema 1"
    assert lines[-2] == "  note   and 10 more"
    assert len(lines) == 22


def test_a_file_that_others_may_read_is_wrong_as_a_start_finds_it_with_the_way_out(hatchfarm: Hatchfarm) -> None:
    put(hatchfarm, WHOLE)
    (hatchfarm.folder / "state.json").chmod(0o640)
    checked = hatchfarm.invoke("state", "check", "state.json")
    assert checked.code == 1
    assert checked.lines[0].startswith("  wrong  others may read it")
    assert checked.lines[0].endswith("it holds the machines' tokens: chmod 600 state.json")


@pytest.mark.parametrize("command", ["check", "show"])
def test_what_cannot_be_read_exits_with_2_the_name_of_the_file_and_the_way_out(
    hatchfarm: Hatchfarm, command: str
) -> None:
    name = put(hatchfarm, {"schema_version": 7})
    newer = hatchfarm.invoke("state", command, name)
    assert (newer.code, newer.out) == (2, "")
    assert newer.err == (
        f"hatchfarm state {command}: state.json: it is of schema version 7, and 1 is what can be read: "
        "use the program that wrote it, or a copy from before\n"
    )
    absent = hatchfarm.invoke("state", command, "absent.json")
    assert (absent.code, absent.out) == (2, "")
    assert absent.err == f"hatchfarm state {command}: cannot read absent.json (No such file or directory)\n"
    os.truncate(hatchfarm.folder / name, STATE_FILE_MAX_BYTES + 1)
    large = hatchfarm.invoke("state", command, name)
    assert (large.code, large.out) == (2, "")
    assert large.err.endswith("state.json is larger than 268,435,456 bytes, which no state file is\n")


def test_show_gives_every_record_with_its_tokens_and_signatures_hidden(hatchfarm: Hatchfarm) -> None:
    shown = hatchfarm.invoke("state", "show", put(hatchfarm, WHOLE))
    assert (shown.code, shown.err) == (0, "")
    expected = json.loads(WHOLE)
    del expected["schema_version"]
    for section in SECTIONS[:5]:
        for record in expected[section].values():
            record.update({name: "(hidden)" for name in ("secret", "signature") if name in record})
    assert json.loads(shown.out) == expected


def test_show_hides_sections_it_does_not_know(hatchfarm: Hatchfarm) -> None:
    shown = hatchfarm.invoke("state", "show", put(hatchfarm, {**json.loads(WHOLE), "keys": {"ada": "hfk_secret"}}))
    assert shown.code == 0
    assert json.loads(shown.out)["keys"] == "(hidden)"
    assert "hfk_secret" not in shown.out


def test_show_gives_what_is_right_of_a_damaged_file_and_says_so(hatchfarm: Hatchfarm) -> None:
    document = json.loads(WHOLE)
    document["machines"][MACHINE]["name"] = 5
    shown = hatchfarm.invoke("state", "show", put(hatchfarm, document))
    assert shown.code == 1
    assert set(json.loads(shown.out)["machines"]) == set(document["machines"]) - {MACHINE}
    assert shown.err == "hatchfarm state show: state.json is wrong in places: `hatchfarm state check` names them\n"


@pytest.mark.parametrize("command", ["check", "show"])
def test_no_secret_of_a_damaged_file_is_shown(hatchfarm: Hatchfarm, command: str) -> None:
    """Neither one in its place, nor one of another form, nor one under a name that is not a field's."""
    document = json.loads(WHOLE)
    hidden = secrets_of(document)
    document["machines"][MACHINE]["secret"] += "00"
    document["machine_certs"][MACHINE]["token"] = document["machine_certs"][MACHINE].pop("signature")
    document["policies"]["pol_00112233445566aa"]["signature"] = ["c2ln"]
    finished = hatchfarm.invoke("state", command, put(hatchfarm, document))
    assert finished.code == 1
    assert [secret for secret in hidden if secret in finished.out + finished.err] == []


@pytest.mark.parametrize("command", ["check", "show"])
def test_text_of_the_file_cannot_command_the_terminal(hatchfarm: Hatchfarm, command: str) -> None:
    document = json.loads(WHOLE)
    document["machines"][MACHINE]["name"] = "\x1b]0;owned\x07"
    document["machines"]["wrk_\x1b[2J"] = document["machines"][MACHINE]
    document["\x9b31m"] = 1
    finished = hatchfarm.invoke("state", command, put(hatchfarm, document))
    assert finished.code == 1
    assert (finished.out + finished.err).isascii()
    assert (finished.out + finished.err).replace("\n", "").isprintable()


def test_looking_changes_nothing(hatchfarm: Hatchfarm) -> None:
    """The file and its folder are as they were: a state file is never written by those who only look."""
    name = put(hatchfarm, WHOLE)
    for command in ("check", "show"):
        hatchfarm.invoke("state", command, name)
    assert [path.name for path in hatchfarm.folder.iterdir()] == [name]
    assert (hatchfarm.folder / name).read_bytes() == WHOLE
