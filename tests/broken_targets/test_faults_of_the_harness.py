"""Where the harness itself errs: the run ends, says so, and keeps what it has found out; nothing is passed by it."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from rich.console import Console

from simulator.attacks.revocation import Twice
from simulator.attacks.signature import ForgedSignature
from simulator.client.target import TargetError, parse_target
from simulator.deployment.server_watch import ServerWatch
from simulator.history.rows import History
from simulator.running import run
from simulator.running.run_state import RunState
from simulator.scenario.loading import parse_scenario
from simulator.worlds.harness_failure import FAILURE_FILE, leaf_errors, write_failure
from simulator.worlds.live import world as live
from simulator.worlds.live.world import LIVE
from simulator.worlds.players.fleet_player import FleetPlayer
from simulator.worlds.players.fleet_run import FleetRun
from simulator.worlds.progress import Progress
from tests.broken_targets.proxy import Moment, misbehaving
from tests.broken_targets.runs import (
    DURATION_SECONDS,
    IMPATIENT,
    INCONCLUSIVE,
    SCENARIO,
    Ended,
    everything,
    run_against,
)
from tests.broken_targets.test_clocks_that_differ import right
from tests.simulator.conftest import API_TOKEN

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = "a table has no such column"
WITH_TWICE = SCENARIO + '[[attacks]]\nname = "revoke.twice"\nstart = "1s"\nduration = "1s"\nrate = 2\n'


def broken(*_: Any) -> Any:
    """Err, as code does that nobody has tested."""
    raise LookupError(BROKEN)


def nothing_yet() -> RunState:
    """A run that has not begun."""
    return RunState(History(), Progress(), {}, "", datetime(2024, 1, 1, tzinfo=UTC), [])


async def played(folder: Path, scenario: str = SCENARIO) -> Ended:
    """Run once against a server that is right."""
    async with misbehaving(right, Moment.CHECK, everything) as proxy:
        return await run_against(proxy.url, folder, scenario)


async def test_an_error_of_the_live_world_ends_the_run_and_keeps_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForgedSignature, "shot", broken)
    result = await played(tmp_path / "run")
    assert result.code == INCONCLUSIVE
    assert "the harness itself failed after " in result.output
    assert f"(LookupError: {BROKEN}, in test_faults_of_the_harness.py:" in result.output
    assert "please report it, with the run's harness-failure.txt" in result.output
    assert BROKEN in str(list(leaf_errors(result.failure or ValueError())))
    assert result.verdict is not None
    assert result.verdict["requests"]["heartbeats_accepted"] > 0
    checkers = {one["name"]: one["status"] for one in result.verdict["checkers"]}
    assert checkers["replay"] == checkers["alerts"] == "pass"
    assert checkers["whole run"] == "inconclusive"


async def test_an_error_in_what_comes_after_the_run_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.worlds.players.auditing.Auditor._order", broken)
    result = await played(tmp_path / "run")
    assert result.code == INCONCLUSIVE
    assert "the harness itself failed" in result.output
    assert result.verdict is not None
    assert "No attack was part of this run" not in result.output


async def test_an_error_of_one_attempt_ends_that_attempt_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Twice, "script", broken)
    result = await played(tmp_path / "run", WITH_TWICE)
    assert result.code == INCONCLUSIVE
    assert result.failure is None
    # A busy machine may leave the other attacks without an attempt, and say so first.
    assert f"revoke.twice failed by a fault of its own, please report it: LookupError: {BROKEN}" in str(result.verdict)


async def test_programming_errors_are_not_hidden_from_who_runs_the_live_world_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FleetPlayer, "_follow", broken)
    async with misbehaving(right, Moment.CHECK, everything) as proxy:
        outcome = nothing_yet()
        target = parse_target(proxy.url, API_TOKEN, patience=IMPATIENT)
        whole = FleetRun(LIVE, parse_scenario(SCENARIO), 5, target, outcome.history, outcome.progress)
        with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match=BROKEN), flatten_subgroups=True):
            await whole.run()


async def test_what_people_must_read_is_no_fault_of_the_harness() -> None:
    outcome = nothing_yet()
    with pytest.RaisesGroup(TargetError):
        async with run.ends_noted(outcome, ServerWatch(outcome.progress)):
            raise ExceptionGroup("", [TargetError("use another")])
    assert (outcome.interrupted, outcome.failure) == (None, None)


async def test_being_stopped_is_no_fault_of_the_harness() -> None:
    outcome = nothing_yet()
    with trio.move_on_after(0):
        async with run.ends_noted(outcome, ServerWatch(outcome.progress)):
            await trio.sleep_forever()
    assert (outcome.interrupted, outcome.failure) == (None, None)


def test_where_it_failed_is_left_in_the_runs_folder_without_secrets(tmp_path: Path) -> None:
    write_failure(tmp_path / "run", ValueError("X-Machine-Token is\nX-Machine-Token: 5a5a5a"))
    written = (tmp_path / "run" / FAILURE_FILE).read_text()
    assert written == "ValueError: X-Machine-Token is\nX-Machine-Token: [redacted]\n"
    write_failure(tmp_path / "run" / FAILURE_FILE / "no folder", ValueError("nothing can be written there"))


def test_the_console_gets_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`hatchfarm run` as a whole: exit code 3, the verdict and the file beside it."""
    monkeypatch.setattr(live, "LIVE", msgspec.structs.replace(LIVE, watch=broken))
    path = tmp_path / "broken.toml"
    path.write_text(
        SCENARIO.replace(f'duration = "{DURATION_SECONDS}s"', 'duration = "1500ms"').split("[[attacks]]", maxsplit=1)[0]
    )
    console = Console(file=io.StringIO(), force_terminal=False, width=1000)
    request = run.RunRequest(parse_scenario(path.read_text()), path, 5, tmp_path, None, API_TOKEN)
    code = run.execute(request, console)
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert code == INCONCLUSIVE, output
    assert "Traceback" not in output
    assert "the harness itself failed" in output
    (folder,) = [one for one in (tmp_path / "broken").iterdir() if one.is_dir() and not one.is_symlink()]
    assert "LookupError" in (folder / FAILURE_FILE).read_text()
    assert (folder / "verdict.json").exists()
