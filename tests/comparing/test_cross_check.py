"""A scenario played virtually and live: what agrees, what differs, and what nobody can know."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jsonschema
import msgspec
import pytest
import trio
from rich.console import Console
from typer.testing import CliRunner

from simulator.checkers.verdict import Status
from simulator.commands.cli import app
from simulator.commands.cli import main as hatchfarm
from simulator.comparing.cross_checking import show
from simulator.comparing.runs import Run, read_run
from simulator.comparing.world_lines import Says
from simulator.comparing.worlds import CrossCheck, compare_worlds
from simulator.history.records import CpuWait
from simulator.history.starvation import HARNESS
from simulator.platform.console import PLAIN_COLUMNS, RULE_COLUMNS, print_rule
from simulator.running.virtual import not_yet_virtual
from simulator.scenario.loading import load_scenario
from tests.planted_bugs.faults import FAULTS
from tests.planted_bugs.faulty_server import planted
from tests.support.alone import INCONCLUSIVE, ThisMachine
from tests.support.environment import without_settings
from tests.support.forked import run_forked
from tests.support.tiers import ROOT, SOAK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.scenario.values import Scenario

ALERTS = ROOT / "tests/planted_bugs/scenarios/alerts.toml"
SHORT = (ALERTS, ROOT / "tests/faults/scenarios/network.toml")
SHIPPED = (*SHORT, *(path for path in sorted((ROOT / "scenarios").glob("*.toml"))
                     if SOAK and path.stem != "virtual-week" and not not_yet_virtual(load_scenario(path))))  # fmt: skip
"""All that can be played in both worlds: each takes as long as it is live."""
TRIES = 3
"""Of a live run, where this machine is too busy for a verdict."""
SCHEMA = ROOT / "simulator/comparing/cross-check.schema.json"


def played(path: Path, out: Path, *flags: str) -> Run:
    """Play a scenario in virtual time."""
    CliRunner().invoke(app, ["run", str(path), "--virtual", "--no-reports", "--out", str(out), *flags])
    (folder,) = (one for one in (out / path.stem).iterdir() if not one.is_symlink())
    return read_run(folder)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    """Return a scenario whose alerts fire and clear."""
    return load_scenario(ALERTS)


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of it."""
    return played(ALERTS, tmp_path_factory.mktemp("right"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of it by another seed, as a live run is another."""
    return played(ALERTS, tmp_path_factory.mktemp("other"), "--seed", "99")


def compared(scenario: Scenario, one: Run, other: Run) -> CrossCheck:
    return compare_worlds(scenario, one, other, ("one", "other"), "2026-01-02T03:04:05+00:00")


def lines_that(checked: CrossCheck, says: Says) -> list[str]:
    return [one.name for one in checked.lines if one.says is says]


def test_two_runs_of_one_scenario_agree_within_the_bounds(scenario: Scenario, right: Run, other: Run) -> None:
    checked = compared(scenario, right, other)
    assert checked.exit_code == 0, checked.summary
    assert any(one.kind == "alert" for one in checked.lines)


def test_a_server_that_is_wrong_in_one_world_differs(scenario: Scenario, right: Run, tmp_path: Path) -> None:
    (fault,) = [one for one in FAULTS if one.name == "stale one interval late"]
    with planted(fault.edits):
        wrong = played(ALERTS, tmp_path)
    checked = compared(scenario, right, wrong)
    assert checked.exit_code == 1
    assert {"whole run", "alerts"} <= set(lines_that(checked, Says.DIFFERS))
    assert "the live run is fail" in checked.summary


def test_two_runs_that_fail_alike_agree(scenario: Scenario, right: Run, other: Run) -> None:
    runs = [
        msgspec.structs.replace(one, verdict=msgspec.structs.replace(one.verdict, status=Status.FAIL))
        for one in (right, other)
    ]
    checked = compared(scenario, *runs)
    assert checked.exit_code == 1
    assert not lines_that(checked, Says.DIFFERS)
    assert checked.summary == f"both worlds say the same in {len(checked.lines)} lines; both runs are fail"
    console = Console(file=io.StringIO(), width=200)
    show(checked, console)
    assert f"AGREE {checked.scenario}" in console.file.getvalue()  # type: ignore[attr-defined]


def without_beats(run: Run, share: float) -> Run:
    """Return a run whose history lacks the last part of its rows."""
    rows = run.history.rows()
    return msgspec.structs.replace(run, history=run.history.with_rows(rows[: int(len(rows) * (1 - share))]))


def test_requests_that_are_missing_differ(scenario: Scenario, right: Run, other: Run) -> None:
    checked = compared(scenario, right, without_beats(other, 0.3))
    assert checked.exit_code == 1
    assert "heartbeat asked" in lines_that(checked, Says.DIFFERS)


def test_of_a_machine_that_was_too_busy_nobody_knows(scenario: Scenario, right: Run, other: Run) -> None:
    busy = without_beats(other, 0.3)
    elapsed_ns = busy.record.elapsed_ns
    seconds = range(0, elapsed_ns, 10**9)
    busy.history.cpu_waits = [CpuWait(HARNESS, 1, at, at + 10**9, 9 * 10**8) for at in seconds]
    checked = compared(scenario, right, busy)
    assert checked.exit_code == 3
    (line,) = [one for one in checked.lines if one.name == "heartbeat asked"]
    assert line.says is Says.UNDECIDED
    assert "waited for a CPU" in line.why


def test_what_is_inconclusive_in_one_world_is_undecided(scenario: Scenario, right: Run, other: Run) -> None:
    verdict = msgspec.structs.replace(other.verdict, status=Status.INCONCLUSIVE)
    checked = compared(scenario, right, msgspec.structs.replace(other, verdict=verdict))
    assert checked.exit_code == 3
    assert lines_that(checked, Says.UNDECIDED) == ["whole run"]


def test_alerts_that_come_at_another_time_differ(scenario: Scenario, right: Run, other: Run) -> None:
    late = other.history.with_rows(other.history.rows())
    late.scrapes = [
        msgspec.structs.replace(one, sent_ns=one.sent_ns + 6 * 10**9, answered_ns=one.answered_ns + 6 * 10**9)
        for one in other.history.scrapes
    ]
    checked = compared(scenario, right, msgspec.structs.replace(other, history=late))
    assert any(one.kind == "alert" and one.says is Says.DIFFERS for one in checked.lines)
    assert checked.exit_code == 1


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--virtual"], "leave --virtual away"),
        (["--target", "http://127.0.0.1:9", "--token", "x"], "leave --target away"),
        (["--set", "server.command=['true']"], "leave --cross-check away"),
        (["--workers", "2"], "virtual half in one process: leave out --workers"),
        (["--web"], "virtual half in one process: leave out --workers"),
    ],
)
def test_what_cannot_be_played_in_both_worlds_is_a_usage_error(flags: list[str], named: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["run", str(ALERTS), "--cross-check", "--out", str(tmp_path), *flags])
    assert result.exit_code == 2
    assert named in " ".join(result.output.split())
    assert not result.stdout
    assert not list(tmp_path.rglob("verdict.json"))


def test_a_rule_is_no_wider_than_a_page_in_a_pipe() -> None:
    console = Console(file=io.StringIO(), width=PLAIN_COLUMNS)
    print_rule(console, "live")
    assert isinstance(console.file, io.StringIO)
    (line,) = console.file.getvalue().splitlines()
    assert " live " in line
    assert len(line) == RULE_COLUMNS


class Checked(NamedTuple):
    """A cross-check: its exit code, what it printed, and where its results are."""

    exit_code: int
    printed: str
    folder: Path


async def cross_check(path: Path, out: Path) -> Checked:
    """Play a scenario in both worlds, in a process of its own."""
    await trio.Path(out).mkdir()
    printed = out / "printed.txt"
    words = ["run", str(path), "--cross-check", "--no-reports", "--out", str(out)]
    code = await run_forked(hatchfarm, words, without_settings(), printed)
    return Checked(code, printed.read_text("utf-8", "replace"), out / path.stem)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Path, Checked]:
    """The cross-checks of brief scenarios, made side by side: they mostly wait."""
    checked: dict[Path, Checked] = {}
    folder = tmp_path_factory.mktemp("short")

    async def check(path: Path) -> None:
        checked[path] = await cross_check(path, folder / path.stem)

    async def check_all() -> None:
        async with trio.open_nursery() as nursery:
            for path in SHORT:
                nursery.start_soon(check, path)

    trio.run(check_all)
    return checked


@pytest.mark.parametrize("path", SHIPPED if SOAK else SHORT, ids=lambda path: path.stem)
def test_virtual_and_live_runs_agree(path: Path, short: Mapping[Path, Checked], tmp_path: Path) -> None:
    checked = short[path] if path in short else trio.run(cross_check, path, tmp_path / "0")
    for number in range(1, TRIES):
        if checked.exit_code == INCONCLUSIVE:
            with ThisMachine.alone():
                checked = trio.run(cross_check, path, tmp_path / str(number))
    assert checked.exit_code in {0, INCONCLUSIVE}, checked.printed
    written = json.loads((checked.folder / "cross-check.json").read_text(encoding="utf-8"))
    jsonschema.validate(written, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert written["exit_code"] == checked.exit_code
    assert all(Path(written[world], "verdict.json").exists() for world in ("virtual", "live"))
