"""Every kind of broken scenario file: one message, naming the place and the way out, from each way to read it."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from simulator.commands.cli import app
from simulator.limits import SCENARIO_PROBLEMS_MAX
from simulator.scenario.loading import ScenarioError, load_scenario, parse_scenario
from simulator.scenario.schema import json_schema
from simulator.scenario.shipped import LISTED
from tests.scenario.broken_files import ATTACK, BROKEN, SILENCE, Broken
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.scenario.server_problems import ServerSettings

SCHEMA = jsonschema.Draft202012Validator(json_schema())
"""That it is a schema, test_shipped_scenarios proves."""


@pytest.fixture(params=BROKEN, ids=lambda broken: broken.kind)
def broken(request: pytest.FixtureRequest) -> Broken:
    assert isinstance(request.param, Broken)
    return request.param


def test_a_broken_file_gets_one_message_with_place_and_way_out_from_every_command(
    broken: Broken, small: str, known: ServerSettings, tmp_path: Path
) -> None:
    path = tmp_path / "broken.toml"
    broken.write(path, small)
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(path, known)
    message = str(refusal.value)
    start, abridged, _ = broken.says.partition("…")
    start = re.sub("^line ([0-9]+): ", r":\1: ", start) if start.startswith("line ") else f": {start}"
    first = message.partition("\n")[0] if broken.more else message
    assert (first[: len(str(path)) + len(start)] if abridged else first) == f"{path}{start}"
    for command, prefix in (("validate", ""), ("run", "hatchfarm run: ")):
        result = invoke(app, [command, str(path)])
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"{prefix}{message}\n")
        assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("broken", [one for one in BROKEN if one.shape], ids=lambda broken: broken.kind)
def test_the_schema_refuses_a_broken_shape(broken: Broken, small: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    broken.write(path, small)
    document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    with pytest.raises(jsonschema.ValidationError):
        SCHEMA.validate(document)


@pytest.mark.parametrize(
    ("content", "line"),
    [("version = \n", 1), ("version = 1\nname = tiny\n", 2), ("version = 1\nversion = 1\n", 2), ("a\0b", 1)],
)
def test_what_is_not_toml_is_refused_with_its_line(content: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(content, encoding="utf-8")
    result = invoke(app, ["validate", str(path)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{path}:{line}: not TOML: ")


def test_what_is_not_a_file_is_refused_with_the_reason(tmp_path: Path) -> None:
    missing = f"cannot be read (No such file or directory); scenarios are TOML files, {LISTED}"
    folder = f"a folder, and a scenario is a TOML file: give those in it, as {tmp_path}/*.toml"
    for path, reason in ((tmp_path / "none.toml", missing), (tmp_path, folder)):
        expected = f"{path}: {reason}\n"
        for command, prefix in (("validate", ""), ("run", "hatchfarm run: ")):
            result = invoke(app, [command, str(path)])
            assert (result.exit_code, result.stderr) == (2, prefix + expected)


def test_several_faults_are_named_in_one_message(small: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(small.replace("10s", "0s") + 'hardware = "laptops"\n', encoding="utf-8")
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(path)
    assert str(refusal.value) == (
        f"{path}:3: duration: must be longer than nothing\n"
        f"{path}:7: fleet.hardware: unknown hardware 'laptops'; did you mean 'laptop'?"
    )


def test_a_structural_fault_hides_no_other(small: str, known: ServerSettings, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(
        small.replace("duration", "durration").replace("20", '"many"').replace("version = 1", "version = 2")
        + 'owners = 0\nzzz = 1\nhardware = "laptops"\n'
        + ATTACK.replace("rate = 1\n", "").replace("replay.exact", "replay.exakt")
        + '[[attacks]]\nname = "nobody"\nstart = "1s"\nduration = "1s"\nrate = 1\n'
        + '[server.settings]\nQQQ = 1\n[thresholds]\n"heartbeat.accepted" = [5]\n"requests.lost" = ["count"]\n',
        encoding="utf-8",
    )
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(path, known)
    message = str(refusal.value)
    stated = [line.removeprefix(f"{path}:").partition(":")[::2] for line in message.split("\n")]
    places = [(int(line), what.strip().partition(": ")[0]) for line, what in stated]
    assert places == [
        (1, "version"),
        (3, "durration"),
        (6, "fleet.machines"),
        (7, "fleet.owners"),
        (8, "fleet.zzz"),
        (9, "fleet.hardware"),
        (10, "attacks[0].rate"),
        (15, "attacks[1].name"),
        (20, "server.settings.QQQ"),
        (22, 'thresholds."heartbeat.accepted"[0]'),
        (23, 'thresholds."requests.lost"'),
    ]


@pytest.mark.parametrize("value", ["fleet.jiter=0.3", "seeed=5", "descripton=5"])
def test_of_a_flag_whose_key_is_misspelt_nothing_else_is_said_to_be_wrong(
    small: str, tmp_path: Path, value: str
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(small, encoding="utf-8")
    (line,) = invoke(app, ["validate", str(path), "--set", value]).stderr.splitlines()
    assert line.startswith(f"{path}: --set {value}: {value.partition('=')[0]}: unknown key; did you mean")


def test_many_structural_faults_are_told_up_to_a_bound(small: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(small + "".join(f"zzz{number} = 1\n" for number in range(200)), encoding="utf-8")
    with pytest.raises(ScenarioError) as refusal:
        load_scenario(path)
    assert len(refusal.value.problems) == SCENARIO_PROBLEMS_MAX


def test_what_has_less_effect_than_it_says_is_said_and_run_all_the_same(small: str, tmp_path: Path) -> None:
    path = tmp_path / "late.toml"
    late = '"1h"'
    path.write_text(
        small
        + 'stages = [{ duration = "4s", target = 9 }, { duration = "30s", target = 20 }]\n'
        + ATTACK.replace('duration = "1s"', f"duration = {late}")
        + SILENCE.replace('duration = "1s"', f"duration = {late}")
        + SILENCE.replace("0.1", "0.0")
        + "[[fleet.clocks]]\nshare = 0.5\n[[fleet.clocks]]\nshare = 0.001\noffset = '1s'\n"
        + '[[load]]\nuser = "owner-dashboard"\nstages = [{ duration = "11s", target = 1 }]\n',
        encoding="utf-8",
    )
    result = invoke(app, ["validate", str(path)])
    assert (result.exit_code, result.stderr) == (0, "")
    cut = "the run ends before it does, and cuts it"
    nobody = "nobody: of all machines it is not one"
    lines = path.read_text(encoding="utf-8").split("\n")

    def line(start: str) -> int:
        return next(number for number, text in enumerate(lines, 1) if text.startswith(start))

    assert result.stdout.split("\n") == [
        f"{path}:7: beware: fleet.stages[1]: {cut}",
        f"{path}:{line('[[attacks]]')}: beware: attacks[0]: {cut}",
        f"{path}:{line('[[fleet.silence]]')}: beware: fleet.silence[0]: {cut}",
        f"{path}:{line('share = 0.0')}: beware: fleet.silence[1].share: {nobody}",
        f"{path}:{line('[[fleet.clocks]]')}: beware: fleet.clocks[0]: without effect: no offset, no drift and no step",
        f"{path}:{line('share = 0.001')}: beware: fleet.clocks[1].share: {nobody}",
        f"{path}:{len(lines) - 1}: beware: load[0].stages[0]: {cut}",
        f"{path}: right",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "run", "setting", "says"),
    [
        ("replay.ttl-edge", "180s", "", "replay.ttl-edge proves nothing: it takes 180 s, and 179 s"),
        ("replay.ttl-edge", "181s", "", ""),
        ("replay.redis-fallback", "1m", "", "replay.redis-fallback proves nothing: it takes 200 s, and 59 s"),
        ("certificate.expired", "15m", "", "certificate.expired proves nothing: it takes 906 s, and 899 s"),
        ("certificate.expired", "1m", "MACHINE_CERT_TTL_SECONDS = 50", ""),
        ("certificate.foreign", "6s", "", ""),
    ],
)
def test_an_attack_that_takes_longer_than_is_left_of_the_run_is_said(
    small: str, tmp_path: Path, name: str, run: str, setting: str, says: str
) -> None:
    text = small + ATTACK.replace("replay.exact", name)
    path = tmp_path / "short.toml"
    path.write_text(f"{text}[server.settings]\n{setting}\n", encoding="utf-8")
    *remarks, last = invoke(app, ["validate", str(path), "--duration", run]).stdout.splitlines()
    assert last == f"{path}: right"
    stated = [f"{path}:7: beware: attacks[0]: {says} of the run are left when it begins"] if says else []
    assert remarks == stated


def test_a_fleet_that_by_default_starts_for_longer_than_its_run_is_said(small: str, tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    for duration, machines, seconds in ((4, 20, "5"), (5, 20, ""), (9, 2000, "10"), (10, 2000, "")):
        text = small.replace('"10s"', f'"{duration}s"').replace("machines = 20", f"machines = {machines}")
        path.write_text("\ufeff" + text, encoding="utf-8")
        result = invoke(app, ["validate", str(path)])
        late = f"the run ends before all are up: without `stages` they start over {seconds} s"
        stated = [f"{path}:6: beware: fleet.machines: {late}"] if seconds else []
        assert result.stdout.splitlines() == [*stated, f"{path}: right"]


@pytest.mark.parametrize(
    ("machines", "expression", "holds"),
    [
        (60, "max==1000", False),
        (1000, "max==1000", True),
        (60, "max>60", False),
        (60, "max>=60", True),
        (60, "max<9", True),
    ],
)
def test_a_threshold_that_a_fleet_made_smaller_cannot_reach_is_said(
    small: str, tmp_path: Path, machines: int, expression: str, *, holds: bool
) -> None:
    path = tmp_path / "smaller.toml"
    path.write_text(f'{small}[thresholds]\n"machines.connected" = ["{expression}"]\n', encoding="utf-8")
    result = invoke(app, ["validate", str(path), "--machines", str(machines)])
    remark = f'beware: thresholds."machines.connected": {expression} cannot hold: the fleet has {machines:,} machines'
    assert (remark in result.stdout) is not holds
    assert result.stdout.splitlines()[-1] == f"{path}: right"


def test_a_byte_order_mark_is_no_fault(small: str, tmp_path: Path) -> None:
    path = tmp_path / "marked.toml"
    path.write_bytes(b"\xef\xbb\xbf" + small.encode())
    assert load_scenario(path) == parse_scenario(small)


def test_validate_looks_at_every_file_it_is_given(small: str, tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.toml", tmp_path / "wrong.toml"
    right.write_text(small, encoding="utf-8")
    wrong.write_text("", encoding="utf-8")
    result = invoke(app, ["validate", str(wrong), str(right), str(wrong)])
    assert result.exit_code == 2
    assert result.stdout == f"{right}: right\n"
    assert result.stderr.count(f"{wrong}: version: missing") == 2
    assert invoke(app, ["validate", str(right)]).exit_code == 0
