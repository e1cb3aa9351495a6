"""What flags and variables put in place of a scenario's values, and what people are told where they cannot."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.about import setting_names
from simulator.bundle.writing import stored_scenario
from simulator.load.messages import Order, pack, unpack
from simulator.load.ordered import scenario_of
from simulator.platform.secret_names import SECRET_NAME
from simulator.scenario.loading import ScenarioError, load_with_source, parse_scenario
from simulator.scenario.overriding import Overrides
from simulator.scenario.places import PlaceError, parts_of, place_of_parts
from tests.support.tiers import examples

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulator.scenario.loading import Loaded
    from simulator.scenario.server_problems import ServerSettings

TEXT = """\
version = 1
name = "little"
duration = "${LONG:-1m30s}"
[server.settings]
RATE_LIMIT_BURST = 1000
[fleet]
machines = 100
stages = [{ duration = "1s", target = 40 }, { duration = "1s", target = 100 }]
[[attacks]]
name = "replay.exact"
start = "1s"
duration = "2s"
rate = 5
[thresholds]
"heartbeat.accepted" = ["rate>0.9"]
"""
SECRET = [name for name in setting_names() if SECRET_NAME.search(name)]
quick = settings(deadline=None, max_examples=examples(100))


class Reader:
    """Reads texts with flags and an environment."""

    def __init__(self, folder: Path, known: ServerSettings) -> None:
        self._path = folder / "little.toml"
        self._known = known

    def read(self, text: str, overrides: Overrides | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
        self._path.write_text(text, encoding="utf-8")
        return load_with_source(self._path, self._known, overrides or Overrides(), environ or {})

    def set(self, *values: str, environ: Mapping[str, str] | None = None) -> Loaded:
        return self.read(TEXT, Overrides(values=values), environ)

    def refused(self, text: str, *values: str, environ: Mapping[str, str] | None = None) -> str:
        with pytest.raises(ScenarioError) as refusal:
            self.read(text, Overrides(values=values), environ)
        return str(refusal.value).replace(str(self._path), "FILE")


@pytest.fixture
def reader(tmp_path: Path, known: ServerSettings) -> Reader:
    return Reader(tmp_path, known)


def again(reader: Reader, loaded: Loaded) -> Loaded:
    """Read the source anew with nothing but the flags that a bundle keeps."""
    given = [*loaded.options]
    kept: dict[str, str] = {}
    values = []
    for flag, value in zip(given[::2], given[1::2], strict=True):
        if flag == "--set":
            values.append(value)
        else:
            kept[flag] = value
    machines = kept.get("--machines")
    overrides = Overrides(kept.get("--duration"), None if machines is None else int(machines), tuple(values))
    return reader.read(loaded.source.decode(), overrides)


# --- places

names = st.from_regex("[A-Za-z0-9_-]{1,8}", fullmatch=True) | st.from_regex("[a-z]{1,5}[.][a-z]{1,5}", fullmatch=True)
places = st.lists(names | st.integers(0, 999), min_size=1, max_size=5).filter(lambda parts: isinstance(parts[0], str))


@given(parts=places)
@quick
def test_a_place_is_read_as_it_is_written(parts: list[str | int]) -> None:
    assert parts_of(place_of_parts(tuple(parts))) == tuple(parts)


@given(text=st.text(st.sampled_from('ab.[]"09 =-'), max_size=12))
@quick
def test_no_text_crashes_the_reader_of_places(text: str) -> None:
    try:
        parts = parts_of(text)
    except PlaceError as error:
        assert "write it like" in str(error)  # noqa: PT017 - a refusal is one of two right outcomes
    else:
        assert parts


# --- flags


@pytest.mark.parametrize(
    ("value", "place", "expected"),
    [
        ("fleet.jitter=0.25", "fleet.jitter", 0.25),
        ("fleet.machines=200", "fleet.machines", 200),
        ("name=5", "name", "5"),
        ('name="six"', "name", "six"),
        ("duration=2m30s", "duration_ns", 150 * 10**9),
        ("attacks[0].rate=7", "attacks.0.rate", 7.0),
        ("fleet.stages[1].target=90", "fleet.stages.1.target", 90),
        ("server.redis=true", "server.redis", True),
        ("attacks=[]", "attacks", ()),
        ("fleet.stages=[{ duration = '2s', target = 3 }]", "fleet.stages.0.target", 3),
        ("market.agents=4", "market.agents", 4),
        ("market.max_price_usdt=0.50", "market.max_price_usdt", "0.50"),
        ("market.minutes=[1, 3]", "market.minutes", (1, 3)),
    ],
)
def test_a_value_has_the_type_that_its_key_wants(reader: Reader, value: str, place: str, expected: object) -> None:
    found: object = reader.set(value).scenario
    for part in place.split("."):
        found = found[int(part)] if isinstance(found, tuple) else getattr(found, part)
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, int)


def test_thresholds_and_settings_are_set_by_their_names(reader: Reader) -> None:
    values = (
        "thresholds.heartbeat.accepted=rate>0.5", 'thresholds."requests.lost"=["count==0"]',
        "thresholds.attacks.accepted=count==0", "server.settings.WORKER_STATUS_STALE_SECONDS=9",
    )  # fmt: skip
    scenario = reader.set(*values).scenario
    assert scenario.thresholds == {
        "heartbeat.accepted": ("rate>0.5",), "requests.lost": ("count==0",), "attacks.accepted": ("count==0",)
    }  # fmt: skip
    assert scenario.server.environ() == {"RATE_LIMIT_BURST": "1000", "WORKER_STATUS_STALE_SECONDS": "9"}


@given(machines=st.integers(1, 20_000))
@quick
def test_a_fleet_of_another_size_ramps_in_proportion(machines: int) -> None:
    table = {"fleet": {"machines": 100, "stages": [{"target": 40}, {"target": 100}, {"target": 0}]}}
    changes = {one.place: int(one.text) for one in Overrides(machines=machines).changes(table)}
    owners = changes.pop("fleet.owners", None)
    assert owners == (machines if machines < 10 else None)
    first, second, third = (changes[f"fleet.stages[{number}].target"] for number in range(3))
    assert (changes["fleet.machines"], second, third) == (machines, machines, 0)
    assert 0 <= first - machines * 0.4 < 1
    assert first > 0


def test_a_fleet_whose_size_a_variable_gives_ramps_in_proportion_too(reader: Reader) -> None:
    text = TEXT.replace("machines = 100\n", 'machines = "${SIZE}"\nowners = "${OWNERS:-30}"\n').replace(
        "= 40", "= '${T}'"
    )
    environ = {"SIZE": "100", "T": "40"}
    for values in ((), ("fleet.jitter=0.5",), ("fleet.stages=[]",)):
        loaded = reader.read(text, Overrides(machines=20, values=values), environ)
        fleet = loaded.scenario.fleet
        assert (fleet.machines, fleet.owners) == (20, 20)
        assert [stage.target for stage in fleet.stages] == ([] if values == ("fleet.stages=[]",) else [8, 20])
        assert again(reader, loaded).scenario == loaded.scenario  # without any of the variables


def test_the_last_of_two_values_counts_and_values_before_flags(reader: Reader) -> None:
    overrides = Overrides("20s", 50, ("fleet.machines=60", "fleet.machines=70", "fleet.stages=[]"))
    scenario = reader.read(TEXT, overrides).scenario
    assert (scenario.fleet.machines, scenario.duration_ns, scenario.fleet.stages) == (70, 20 * 10**9, ())


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("fleet.machines", "FILE: --set fleet.machines: write it as KEY=VALUE, like"),
        ("=5", "FILE: --set : a key is missing: write it like"),
        ("fleet..machines=5", "FILE: --set fleet..machines: 'fleet..machines' is no key: write it like"),
        ("fleet.machines=0", "FILE: --set fleet.machines=0: fleet.machines: expected int >= 1 (it is 0)"),
        ("fleet.machins=5", "FILE: --set fleet.machins=5: fleet.machins: unknown key; did you mean 'machines'?"),
        ("duration=soon", "FILE: --set duration=soon: duration: 'soon' is no duration: write it like"),
        ("attacks[1].rate=5", "FILE: --set attacks[1].rate=5: attacks[1]: the scenario has 1 of them, counted from 0"),
        ("attacks.rate=5", "FILE: --set attacks.rate=5: attacks is no table, write its index"),
        ("name[0]=5", "FILE: --set name[0]=5: name is no list"),
        ("name.x=5", "FILE: --set name.x=5: name is no table"),
        ("fleet.owners=200", "FILE: --set fleet.owners=200: fleet.owners: more owners (200) than machines (100)"),
        ("thresholds.heartbeat.acepted=rate>0", "unknown metric; did you mean 'heartbeat.accepted'?"),
        (f"{'.'.join('a' * 5000)}=1", "FILE: --set a…: nested more than 32 deep, which no scenario is"),
        (f"server.env={{{'.'.join('a' * 5000)}=1}}", "FILE: --set server…: nested more than 32 deep"),
        ("fleet.machines=5\nname = 'x'", "FILE: --set fleet.machines=5\nname = 'x': fleet.machines: expected int"),
    ],
)
def test_what_is_wrong_with_a_flag_is_said_of_the_flag(reader: Reader, value: str, says: str) -> None:
    assert says in reader.refused(TEXT, value)


def test_what_does_not_fit_a_flag_is_said_of_its_line_and_names_the_flag(reader: Reader) -> None:
    assert reader.refused(TEXT, "duration=1s").splitlines() == [
        "FILE:11: attacks[0].start: begins after the run has ended",
        "FILE: that is with --set duration=1s",
    ]


# --- variables


def test_a_variable_fills_a_value_of_any_type(reader: Reader) -> None:
    text = TEXT.replace("= 100\n", '= "${MACHINES}"\n').replace("rate>0.9", "rate>${SHARE:-0.5}")
    text = text.replace("rate = 5", 'rate = "${RATE:-5}"').replace("= 1000", '= "${BURST}"')
    loaded = reader.read(text, environ={"MACHINES": "200", "LONG": "", "BURST": "50", "SHARE": "0.7"})
    scenario = loaded.scenario
    assert (scenario.fleet.machines, scenario.duration_ns, scenario.attacks[0].rate) == (200, 90 * 10**9, 5)
    assert scenario.thresholds == {"heartbeat.accepted": ("rate>0.7",)}
    assert scenario.server.environ() == {"RATE_LIMIT_BURST": "50"}
    assert again(reader, loaded).scenario == scenario  # without any of the variables


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("${MACHINES}", "FILE:7: fleet.machines: the variable MACHINES is not set: set it, or write ${MACHINES:-…}"),
        ("${}", "FILE:7: fleet.machines: write a variable like ${NAME} or ${NAME:-default}"),
        ("${MANY}", "FILE:7: fleet.machines: expected int, got str (it is 'many') (from ${MANY})"),
        ("${API_TOKEN}", "FILE:7: fleet.machines: API_TOKEN may be a secret, by its name, and this is written into"),
    ],
)
def test_what_is_wrong_with_a_variable_is_said_with_its_line(reader: Reader, value: str, says: str) -> None:
    environ = {"MANY": "many", "API_TOKEN": "5"}
    assert says in reader.refused(TEXT.replace("= 100\n", f'= "{value}"\n'), environ=environ)


def test_two_dollars_stand_for_one_and_a_shells_variable_is_the_shells(reader: Reader) -> None:
    text = TEXT.replace('name = "little"', 'name = "little"\ndescription = "costs $5, $${LESS} than ${MORE}"')
    text = text.replace("[server.settings]", "[server]\ncommand = ['sh', '-c', 'farm ${PORT}']\n[server.settings]")
    scenario = reader.read(text, environ={"MORE": "$${6}"}).scenario
    assert scenario.description == "costs $5, ${LESS} than $${6}"
    assert scenario.server.command == ("sh", "-c", "farm ${PORT}")


def test_a_flag_may_name_a_variable_and_comes_before_what_the_file_names(reader: Reader) -> None:
    loaded = reader.set("duration=${HOW}", "fleet.jitter=${SHAKE:-0.5}", environ={"HOW": "40s", "LONG": "50s"})
    assert (loaded.scenario.duration_ns, loaded.scenario.fleet.jitter) == (40 * 10**9, 0.5)
    assert again(reader, loaded).scenario == loaded.scenario


# --- secrets


def test_a_secret_of_a_variable_is_nowhere_that_is_kept_or_sent(reader: Reader) -> None:
    text = TEXT.replace("= 1000\n", '= 1000\nREDIS_PASSWORD = "${FARM}"\n')
    loaded = reader.read(text, environ={"FARM": "hunter2hunter2"})
    assert loaded.scenario.server.environ()["REDIS_PASSWORD"] == "hunter2hunter2"
    kept = stored_scenario(loaded.source) + repr(loaded.changes) + repr(loaded.options)
    assert "hunter2" not in kept
    assert 'REDIS_PASSWORD = "${FARM}"' in kept


def test_a_secret_in_the_file_or_a_default_is_still_taken_out() -> None:
    for written in ('"hunter2"', '"${FARM:-hunter2}"', "'hunter2'"):
        assert "hunter2" not in stored_scenario(f"REDIS_PASSWORD = {written}\n".encode())


def test_a_secret_in_a_command_line_is_refused_and_a_variable_in_its_place_is_not(reader: Reader) -> None:
    message = reader.refused(TEXT, "server.settings.REDIS_PASSWORD=hunter2")
    assert "every user of the machine can read a command line" in message
    assert "write 'server.settings.REDIS_PASSWORD=${REDIS_PASSWORD}'" in message
    assert "hunter2" not in message
    value = "server.settings.REDIS_PASSWORD=${FARM}"
    loaded = reader.set(value, environ={"FARM": "hunter2hunter2"})
    assert loaded.scenario.server.environ()["REDIS_PASSWORD"] == "hunter2hunter2"
    assert loaded.options[:2] == ("--set", value)
    assert "hunter2" not in shlex.join(loaded.options)


@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize(
    "value",
    [
        'server.settings={{A = 1, {} = "hunter2"}}',
        'server.settings={{"{}" = 12345678}}',
        "server={{settings = {{{} = 'hunter2'}}}}",
        "server.settings.{}='hunter2'",
        "server.settings.{}.inner=hunter2",
        'server.settings={{{} = "${{FARM:-hunter2}}"}}',
        'server.settings={{{} = "hunter2"',
        'strange={{{} = "hunter2"}}',
        'server.command=["sh", "-c", "{}=hunter2 farm"]',
    ],
)
def test_no_table_and_no_text_carries_a_secret_past_the_refusal(reader: Reader, name: str, value: str) -> None:
    message = reader.refused(TEXT, value.format(name), environ={"FARM": "hunter2hunter2"})
    assert "every user of the machine can read a command line" in message
    assert "hunter2" not in message
    assert "12345678" not in message


def test_a_table_may_name_a_variable_for_a_secret(reader: Reader) -> None:
    value = 'server.settings={REDIS_PASSWORD = "${FARM}"}'
    loaded = reader.set(value, environ={"FARM": "hunter2hunter2"})
    assert loaded.scenario.server.environ() == {"REDIS_PASSWORD": "hunter2hunter2"}
    assert "hunter2" not in repr(loaded.changes) + repr(loaded.options)
    command = ["sh", "-c", "X_TOKEN=$HATCHFARM_API_TOKEN farm"]
    assert reader.set(f"server.command={command}").scenario.server.command == tuple(command)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[server.settings]\nWORKER_STATUS_STALE_SECONDS = '${MY_TOKEN}'",
            "server.settings.WORKER_STATUS_STALE_SECONDS: '${MY_TOKEN}' is not a whole number from",
        ),
        (
            "[server.settings]\nGOOGLE_TOKEN_URL = '${FARM}'",
            "server.settings.GOOGLE_TOKEN_URL: the value given (hidden) is not an https URL",
        ),
        ("[server.settings]\nPORT = '${MY_TOKEN}'", "server.settings.PORT: the run chooses it: remove it"),
        (
            "[server]\ncommand = ['farm']\n[server.env]\nA = '${MY_TOKEN}'",
            "server.env.A: what MY_TOKEN holds does not fit here",
        ),
        ("[server]\nsettings = '${MY_TOKEN}'", "server.settings: MY_TOKEN may be a secret, by its name"),
    ],
)
def test_what_a_secret_variable_holds_is_in_no_refusal(reader: Reader, text: str, says: str) -> None:
    text = f'version = 1\nname = "x"\nduration = "5s"\n[fleet]\nmachines = 1\n{text}\n'
    held = "hunter2 {no_such_thing_hunter2}"
    message = reader.refused(text, environ={"MY_TOKEN": held, "FARM": held})
    assert says in message
    assert "hunter2" not in message


def test_what_any_other_variable_holds_is_said(reader: Reader) -> None:
    text = TEXT.replace("= 1000\n", '= "${BURST}"\nWORKER_STATUS_STALE_SECONDS = "${MY_TOKEN}"\n')
    message = reader.refused(text, environ={"BURST": "many", "MY_TOKEN": "9"})
    assert "server.settings.RATE_LIMIT_BURST: 'many' is not a whole number" in message


# --- who plays elsewhere


def test_whoever_plays_elsewhere_reads_the_same_without_the_environment(reader: Reader) -> None:
    text = TEXT.replace("= 5\n", '= "${RATE}"\n')
    loaded = reader.read(
        text, Overrides("1m", 40, ("fleet.jitter=0.5", "thresholds.attacks.sent=count>0")), {"RATE": "9"}
    )
    order = unpack(pack(Order(text, 1, "http://127.0.0.1:1", "owner", changes=loaded.changes)))
    assert isinstance(order, Order)
    assert scenario_of(order) == loaded.scenario
    assert loaded.scenario.attacks[0].rate == 9
    with pytest.raises(ScenarioError, match="is no duration"):
        scenario_of(msgspec.structs.replace(order, changes=loaded.changes[-1:]))


PIECES = ("$${", "${IT}", "$", "{", "}", "A", '"', "\\", "\n", " ", "😀", "é")
pieces = st.lists(st.sampled_from(PIECES), min_size=1, max_size=6)


@given(written=pieces.filter(lambda given: not re.search(r"\$\{(?!IT})", "".join(given).replace("$${", ""))))
@quick
def test_a_text_is_the_same_in_every_process_and_when_it_is_run_again(
    tmp_path_factory: pytest.TempPathFactory, known: ServerSettings, written: list[str]
) -> None:
    reader = Reader(tmp_path_factory.getbasetemp(), known)
    description = json.dumps("".join(written), ensure_ascii=False)
    text = TEXT.replace("[server.settings]", f"description = {description}\n[server.settings]")
    loaded = reader.read(text, environ={"IT": "${x} $${y}"})
    assert parse_scenario(text, changes=loaded.changes) == loaded.scenario
    assert again(reader, loaded).scenario == loaded.scenario


def test_two_dollars_are_one_for_whoever_plays_elsewhere_in_settings_too(reader: Reader) -> None:
    server = "[server]\ncommand = ['farm']\nenv = { A = '$${x}', A_TOKEN = '$${hunter2}' }\n[server.settings]"
    text = TEXT.replace("[server.settings]", server)
    loaded = reader.read(text)
    assert loaded.scenario.server.env == {"A": "${x}", "A_TOKEN": "${hunter2}"}
    assert parse_scenario(text, changes=loaded.changes).server.env["A"] == "${x}"
    assert "hunter2" not in repr(loaded.changes) + repr(loaded.options)


def test_without_an_environment_texts_stay_what_they_are() -> None:
    text = TEXT.replace('name = "little"', 'name = "little"\ndescription = "${NOBODY}"').replace("${LONG:-1m30s}", "5s")
    assert parse_scenario(text).description == "${NOBODY}"
