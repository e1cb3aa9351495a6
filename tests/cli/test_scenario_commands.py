"""Scenarios by name, a new one, several in one call, standard input, and what thresholds are of."""

from __future__ import annotations

import io
import json
import pydoc
import re
import signal
import subprocess
import sys
import tomllib
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest
from rich.console import Console

from simulator.bundle.rebuilding import rebuild
from simulator.bundle.verify import verify_bundle
from simulator.checkers.verdict import Status
from simulator.commands.cli import app
from simulator.commands.options import complete_scenario
from simulator.judging.record import read_record
from simulator.running.run import RunError
from simulator.running.several import run_all, worst_code
from simulator.scenario.metrics import METRIC_ROWS, PART_EXAMPLES, PART_ROWS
from simulator.scenario.shipped import read_shipped, shipped_names
from simulator.scenario.thresholds import METRICS, PARTS, parse_threshold
from simulator.worlds.players.fleet_run import FleetRun
from tests.support.forked import Finished
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios"
CODES = {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3}
QUICKLY = ("--virtual", "--no-reports")
TARGET = ("--target", "http://127.0.0.1:9")
BOUND = '"heartbeat.accepted" = ["rate>0.99"]'


# --- names


def test_every_scenario_of_the_folder_is_shipped_by_its_name(hatchfarm: Hatchfarm) -> None:
    assert shipped_names() == sorted(path.stem for path in SCENARIOS.glob("*.toml"))
    listed = hatchfarm.invoke("scenarios")
    assert [line.split()[0] for line in listed.lines[1:]] == shipped_names()
    rows = {one["name"]: one for one in json.loads(hatchfarm.invoke("scenarios", "--json").out)}
    for name in shipped_names():
        table = tomllib.loads(read_shipped(name).decode())
        assert rows[name]["machines"] == table["fleet"]["machines"]
        assert rows[name]["description"] == table["description"]
    assert rows["quickstart"]["duration_seconds"] == 45


def test_a_name_is_a_shipped_scenario_unless_a_file_is_called_so(hatchfarm: Hatchfarm) -> None:
    shown = hatchfarm.invoke("validate", "quickstart", "silent-tenth")
    assert (shown.code, shown.lines) == (0, ["quickstart: right", "silent-tenth: right"])
    (hatchfarm.folder / "silent-tenth").mkdir()  # a folder is no file
    assert hatchfarm.invoke("validate", "silent-tenth").code == 0
    (hatchfarm.folder / "quickstart").write_text("version = 1\n", encoding="utf-8")
    assert hatchfarm.invoke("validate", "quickstart").err.startswith("quickstart: name: missing")


@pytest.mark.parametrize("command", ["run", "validate", "doctor", "capacity"])
def test_a_name_that_is_none_is_answered_with_the_nearest(hatchfarm: Hatchfarm, command: str) -> None:
    prefix = "" if command == "validate" else f"hatchfarm {command}: "
    why = "neither a file nor a scenario that is shipped:"
    refused = hatchfarm.invoke(command, "quikstart")
    assert (refused.code, refused.err) == (2, f"{prefix}quikstart: {why} did you mean 'quickstart'?\n")
    assert (
        hatchfarm.invoke(command, "zzz").err
        == f"{prefix}zzz: {why} `hatchfarm scenarios` lists those that come with it\n"
    )


@pytest.mark.parametrize("command", ["run", "validate", "doctor", "capacity"])
@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "../" + "x" * 300])
def test_a_name_that_no_file_can_have_is_one_message(hatchfarm: Hatchfarm, command: str, name: str) -> None:
    refused = hatchfarm.invoke(command, name)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert f"{name}: cannot be read (File name too long)" in refused.err


def test_a_shell_completes_names_and_paths(hatchfarm: Hatchfarm) -> None:
    (hatchfarm.folder / "quiet").mkdir()
    for name in ("quick.toml", "quick.txt", "quiet/one.toml"):
        (hatchfarm.folder / name).touch()
    with chdir(hatchfarm.folder):
        assert [*complete_scenario("qui")] == ["quickstart", "quick.toml", "quiet/"]
        assert [*complete_scenario("quiet/")] == ["quiet/one.toml"]
        assert [*complete_scenario("nothing/here")] == []


def test_the_command_is_a_module_too_and_says_its_version(hatchfarm: Hatchfarm) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "simulator", "--version"], check=True, capture_output=True, text=True, timeout=120
    )
    assert shown.stdout == hatchfarm.invoke("--version").out
    assert shown.stdout.startswith("hatchfarm 0.")


def test_every_command_has_the_short_flag_for_help(hatchfarm: Hatchfarm) -> None:
    for path in ((), ("run",), ("attack",), ("attack", "list"), ("trace", "show")):
        assert hatchfarm.invoke(*path, "-h").out == hatchfarm.invoke(*path, "--help").out


# --- a new one


def test_a_new_scenario_is_right_with_its_schema_beside_it(hatchfarm: Hatchfarm) -> None:
    made = hatchfarm.invoke("init", "first-one")
    assert (made.code, made.err) == (0, "")
    text = (hatchfarm.folder / "first-one.toml").read_text(encoding="utf-8")
    shown = hatchfarm.invoke("validate", "first-one.toml")
    assert (shown.code, shown.out) == (0, "first-one.toml: right\n")
    assert text.startswith("#:schema ./scenario.schema.json\n")
    schema = json.loads((hatchfarm.folder / "scenario.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(tomllib.loads(text), schema)
    assert len([line for line in text.splitlines() if "#" in line]) > 10


def test_a_new_scenario_is_written_over_nothing(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.folder / "my-scenario.toml"
    path.write_text("mine", encoding="utf-8")
    refused = hatchfarm.invoke("init")
    assert (refused.code, path.read_text(encoding="utf-8")) == (2, "mine")
    assert refused.err == (
        "hatchfarm init: my-scenario.toml is there already: give another name, or --force to write over it\n"
    )
    assert hatchfarm.invoke("init", "--force").code == 0
    assert hatchfarm.invoke("validate", "my-scenario.toml").code == 0
    assert hatchfarm.invoke("init", "../elsewhere").code == 2


# --- what thresholds are of


def test_every_metric_is_explained_and_its_example_can_be_judged(hatchfarm: Hatchfarm) -> None:
    shown = json.loads(hatchfarm.invoke("metrics", "--json").out)
    assert len(shown) == len(METRICS) + sum(map(len, PARTS.values()))
    for one in shown:
        ((metric, (expression,)),) = one["example"].items()
        assert not parse_threshold(metric, expression).checks_nothing()
        assert one["meaning"]
    text = hatchfarm.invoke("metrics").out
    for row in METRIC_ROWS:
        assert f"{row.name}\n    {row.meaning}\n    {', '.join(row.aggregates)}; like " in text


def test_one_metric_is_explained_by_its_name_or_how_it_begins(hatchfarm: Hatchfarm) -> None:
    assert hatchfarm.invoke("metrics", "server.memory").lines[0] == "server.memory"
    assert len(json.loads(hatchfarm.invoke("metrics", "heartbeat.", "--json").out)) == 6
    refused = hatchfarm.invoke("metrics", "heartbeet.rate")
    assert (refused.code, refused.err) == (
        2, "hatchfarm metrics: no metric is or begins like 'heartbeet.rate'; did you mean 'heartbeat.rate'?\n",
    )  # fmt: skip


def test_the_schema_takes_each_metrics_example_and_no_other_metric_or_setting() -> None:
    schema: dict[str, Any] = json.loads((SCENARIOS / "scenario.schema.json").read_text(encoding="utf-8"))
    least: dict[str, Any] = {"version": 1, "name": "least", "duration": "1m30s", "fleet": {"machines": 1}}
    checked = jsonschema.Draft202012Validator(schema)
    rows = {one.name: one for one in METRIC_ROWS}
    for kind, found in PART_ROWS.items():
        rows |= {f"{kind}.{PART_EXAMPLES[kind]}.{one.name}": one for one in found}
    checked.validate({**least, "thresholds": {name: [one.example] for name, one in rows.items()}})
    settings = {"WORKER_STATUS_STALE_SECONDS": 5, "METRICS_PUBLIC": True, "RATE_LIMIT_BURST": "${BURST}"}
    checked.validate({**least, "fleet": {"machines": "${M}"}, "server": {"settings": settings}})
    wrong: tuple[dict[str, Any], ...] = (
        {"thresholds": {"heartbeat.acepted": ["rate>0"]}},
        {"thresholds": {"heartbeat.accepted": ["p(95)<1s"]}},
        {"thresholds": {"heartbeat.response_time": ["p(95)<1"]}},
        {"thresholds": {"heartbeat.accepted": []}},
        {"server": {"settings": {"WORKER_STATUS_STALE": 5}}},
        {"server": {"settings": {"WORKER_STATUS_STALE_SECONDS": "soon"}}},
        {"server": {"settings": {"WORKER_STATUS_STALE_SECONDS": 0}}},
        {"server": {"settings": {"HATCHFARM_API_TOKEN": "chosen by the run"}}},
        {"fleet": {"machines": "many"}},
        {"duration": "30s1m"},
    )
    assert [one for one in wrong if checked.is_valid({**least, **one})] == []
    assert schema["$id"] == "urn:hatchfarm-harness:scenario:1"


# --- runs


def test_what_flags_change_stands_in_the_bundle_and_reports_made_anew_say_the_same(hatchfarm: Hatchfarm) -> None:
    hatchfarm.write("tiny.toml", duration="2s", thresholds=BOUND)
    flags = ("--duration", "1500ms", "--machines", "5", "--set", "thresholds.requests.lost=count==0")
    assert hatchfarm.invoke("run", "tiny.toml", *QUICKLY, *flags, "--set", "fleet.jitter=${J:-0.2}").code == 0
    folder = (hatchfarm.folder / "results/tiny/latest").resolve()
    record = read_record(folder)
    assert record.options == (*flags, "--set", "fleet.jitter=${J:-0.2}", "--set", "fleet.jitter=0.2", "--virtual")
    assert (record.machines, record.connected_max) == (5, 5)
    assert record.thresholds["requests.lost"] == ("count==0",)
    assert record.elapsed_ns < 1.9e9
    assert (folder / "scenario.toml").read_bytes() == (hatchfarm.folder / "tiny.toml").read_bytes()
    assert verify_bundle(folder).genuine
    command = "hatchfarm run tiny.toml --seed 9 --duration 1500ms --machines 5 --set thresholds.requests.lost=count==0"
    assert hatchfarm.verdict()["reproduce"].startswith(command)
    assert rebuild(folder, None).warnings == []
    assert command.encode() in (folder / "report.html").read_bytes().replace(b"&#39;", b"'")
    assert verify_bundle(folder).genuine


def test_a_report_describes_the_scenario_that_ran_and_one_made_anew_says_the_same(hatchfarm: Hatchfarm) -> None:
    hatchfarm.write("tiny.toml", duration="2s", thresholds=BOUND)
    burst = "server.settings.RATE_LIMIT_BURST=${BURST}"
    silence = 'fleet.silence=[{ share = 1.0, at = "1s", duration = "500ms" }]'
    environ = {"BURST": "7654"}
    assert hatchfarm.invoke("run", "tiny.toml", "--virtual", "--set", burst, "--set", silence, env=environ).code == 0
    folder = (hatchfarm.folder / "results/tiny/latest").resolve()
    page = (folder / "report.html").read_bytes()
    assert re.search(rb"RATE_LIMIT_BURST</dt>\s*<dd[^>]*>7654<", page)
    assert b"silence: 100% of" in page
    assert rebuild(folder, None).warnings == []
    assert (folder / "report.html").read_bytes() == page


def test_a_variable_has_values_a_line_each_and_spaces_in_them(hatchfarm: Hatchfarm) -> None:
    hatchfarm.write("tiny.toml", duration="1s", thresholds=BOUND)
    lines = ("fleet.jitter=0.2", 'thresholds."requests.lost"=["count == 0", "rate < 0.5"]')
    env = {"HATCHFARM_SET": "\n".join((lines[0], "", lines[1], "")), "HATCHFARM_SCENARIO": "tiny.toml"}
    assert hatchfarm.invoke("run", *QUICKLY, env=env).code == 0
    record = read_record((hatchfarm.folder / "results/tiny/latest").resolve())
    assert record.options == ("--set", lines[0], "--set", lines[1], "--virtual")
    given = hatchfarm.invoke("validate", "--set", "fleet.jitter=2", env=env)  # the command line comes before it
    assert (given.code, len(given.err.splitlines())) == (2, 1)
    several = hatchfarm.invoke("validate", env={"HATCHFARM_SCENARIO": "tiny.toml:quickstart"})
    assert several.lines == ["tiny.toml: right", "quickstart: right"]


def test_a_scenario_comes_from_standard_input(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s", thresholds=BOUND)
    text = path.read_bytes()
    path.unlink()
    with chdir(hatchfarm.folder):
        assert invoke(app, ["validate", "-"], given=text).stdout == "-: right\n"
        assert invoke(app, ["run", "-", *QUICKLY], given=text).exit_code == 0
        broken = invoke(app, ["run", "-"], given=text.replace(b"20", b"many"))
    assert (broken.exit_code, broken.stderr[:18]) == (2, "hatchfarm run: -:1")
    assert hatchfarm.verdict()["reproduce"] == "hatchfarm run - --seed 9 --virtual < scenario.toml"


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("validate", "-", "-"), {}),
        (("run", "-", "quickstart", "-"), {}),
        (("run",), {"HATCHFARM_SCENARIO": "-:-"}),
        (("run", "-", *TARGET, "--token-file", "-"), {}),
        (("run", "-", *TARGET), {"HATCHFARM_TOKEN_FILE": "-"}),
        (("doctor", "-", *TARGET, "--token-file", "-"), {}),
        (("capacity", "-", *TARGET, "--token-file", "-"), {}),
    ],
)
def test_standard_input_is_read_for_one_thing_only(
    hatchfarm: Hatchfarm, words: tuple[str, ...], env: dict[str, str]
) -> None:
    refused = hatchfarm.invoke(*words, env=env)
    why = "standard input (-) can be read only once: give a file for all but one that is to come from it"
    assert (refused.code, refused.out, refused.err) == (2, "", f"hatchfarm {words[0]}: {why}\n")


def test_a_token_that_is_not_read_from_standard_input_leaves_it_to_the_scenario(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.folder / hatchfarm.write("tiny.toml", duration="1s", thresholds=BOUND)
    with chdir(hatchfarm.folder):
        ran = invoke(app, ["run", "-", *QUICKLY], given=path.read_bytes(), env={"HATCHFARM_TOKEN_FILE": "-"})
    assert ran.exit_code == 0, ran.output


def test_several_scenarios_are_runs_of_their_own_with_one_summary(hatchfarm: Hatchfarm) -> None:
    for name, bound in (("good", BOUND), ("bad", '"heartbeat.accepted" = ["count>1000000"]'), ("last", BOUND)):
        path = hatchfarm.folder / hatchfarm.write(f"{name}.toml", duration="1s", thresholds=bound)
        path.write_text(path.read_text(encoding="utf-8").replace('"tiny"', f'"{name}"'), encoding="utf-8")
    shown = hatchfarm.invoke("run", "good.toml", "bad.toml", "last.toml", *QUICKLY, env={"COLUMNS": "200"})
    assert shown.code == 1
    heading = next(number for number, line in enumerate(shown.lines) if line.startswith("scenario "))
    rows = [line.split() for line in shown.lines[heading + 1 : heading + 4]]
    assert [row[:2] for row in rows] == [["good", "pass"], ["bad", "fail"], ["last", "pass"]]
    assert rows[1][2:4] == ["1", "threshold"]
    for name, row in zip(("good", "bad", "last"), rows, strict=True):
        assert verify_bundle(hatchfarm.folder / row[-1]).genuine
        assert hatchfarm.verdict(scenario=name)["status"] == row[1]


def test_nothing_is_run_where_one_of_several_cannot_be_read(hatchfarm: Hatchfarm) -> None:
    good = hatchfarm.write("good.toml", duration="1s")
    refused = hatchfarm.invoke("run", str(good), "none.toml", "quikstart", *QUICKLY)
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 2)
    assert not (hatchfarm.folder / "results").exists()


@pytest.mark.parametrize(
    ("codes", "expected"), [((0, 0), 0), ((0, 3), 3), ((3, 2), 2), ((2, 1, 3), 1), ((0, 2), 2), ((), 0)]
)
def test_the_exit_code_of_several_is_the_worst(codes: tuple[int, ...], expected: int) -> None:
    assert worst_code(codes) == expected


class Request(msgspec.Struct):
    """As much of a request as several runs look at."""

    scenario: Any
    on_verdict: Any = None
    held: Any = None


def played(*outcomes: Any) -> tuple[Finished, list[str]]:
    """Play requests that come to these outcomes: an error, or a status and what interrupted the run.

    A signal among them comes while the request is played, and changes nothing of it.
    """
    begun: list[str] = []

    def play(request: Any, _console: Console) -> int:
        begun.append(request.scenario.name)
        outcome = outcomes[int(request.scenario.name)]
        if isinstance(outcome, Exception):
            raise ExceptionGroup("of a nursery", [outcome])
        if isinstance(outcome, signal.Signals):
            signal.raise_signal(outcome)
            outcome = (Status.PASS, None)
        status, interrupted = outcome
        request.on_verdict(
            SimpleNamespace(
                scenario=request.scenario.name, status=status, interrupted=interrupted, checkers=[], thresholds=[],
                attacks=[], exit_code=CODES[status],
            ),
            Path("results"),
        )  # fmt: skip
        return CODES[status]

    printed = io.StringIO()
    requests: list[Any] = [Request(SimpleNamespace(name=str(number))) for number in range(len(outcomes))]
    code = run_all(requests, play, (RunError,), Console(file=printed, width=120))
    return Finished(code, printed.getvalue(), ""), begun


def test_one_that_cannot_begin_keeps_no_other_from_it() -> None:
    finished, begun = played(RunError("nobody is there"), (Status.PASS, None))
    assert (finished.code, begun) == (2, ["0", "1"])
    assert "not run" in finished.out
    assert finished.out.count("nobody is there") == 2


def test_a_signal_ends_them_all_whatever_it_finds_under_way() -> None:
    finished, begun = played(signal.SIGTERM, (Status.PASS, None))
    assert (finished.code, begun) == (3, ["0"])
    assert "1 was not run: SIGTERM came before" in finished.out
    assert finished.out.count("pass") == 1
    assert played((Status.FAIL, None), signal.SIGINT, (Status.PASS, None))[0].code == 1
    assert played((Status.INCONCLUSIVE, "the server died"), (Status.PASS, None))[1] == ["0", "1"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    "at", ["simulator.running.run.judge_run", "simulator.running.run.write_bundle", "simulator.running.run.record_of"]
)
def test_a_signal_while_one_of_several_is_judged_or_written_keeps_it_and_ends_the_rest(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    real = pydoc.locate(at)

    def signalled(*arguments: Any, **named: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return real(*arguments, **named)  # type: ignore[operator]

    monkeypatch.setattr(at, signalled)
    hatchfarm.write("tiny.toml", duration="1s", thresholds=BOUND)
    shown = hatchfarm.invoke("run", "tiny.toml", "quickstart", *QUICKLY)
    assert (shown.code, shown.lines[-1]) == (3, "quickstart was not run: SIGTERM came before")
    assert hatchfarm.verdict()["status"] == "pass"
    assert not (hatchfarm.folder / "results/quickstart").exists()


def test_a_signal_while_one_of_several_is_played_ends_it_and_the_rest(
    hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FleetRun.run

    async def signalled(run: FleetRun) -> None:
        signal.raise_signal(signal.SIGINT)
        await real(run)

    monkeypatch.setattr(FleetRun, "run", signalled)
    hatchfarm.write("tiny.toml", duration="1s", thresholds=BOUND)
    shown = hatchfarm.invoke("run", "tiny.toml", "quickstart", *QUICKLY)
    assert (shown.code, shown.lines[-1]) == (3, "quickstart was not run: SIGINT came before")
    assert hatchfarm.verdict()["interrupted"].startswith("SIGINT after ")
