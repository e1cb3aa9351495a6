"""A search against a deployment: nothing on the right server, a planted bug found and made small, usage errors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typer.testing import CliRunner

from simulator.attacks import CATALOGUE
from simulator.commands.cli import app
from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.fuzzing.ingredients import attacks_on_targets
from simulator.fuzzing.shrinking import LEAST_SECONDS
from simulator.scenario.loading import load_scenario, parse_scenario
from tests.planted_bugs import faulty_server
from tests.planted_bugs.faults import FAULTS
from tests.planted_bugs.trials import TOKEN
from tests.support.environment import ROOT, without_settings
from tests.support.served import COMMAND, served
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typer.testing import Result

BUG = "consents audited twice"


def fuzz(*flags: str) -> Result:
    return CliRunner().invoke(app, ["fuzz", *flags], env={"HATCHFARM_API_TOKEN": TOKEN})


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a server with a planted bug; none for an empty name."""
    command = (sys.executable, faulty_server.__file__, request.param) if request.param else COMMAND
    environ = {**without_settings(PYTHONPATH=str(ROOT), HATCHFARM_API_TOKEN=TOKEN), "HOST": "127.0.0.1"}
    with served(environ, command=command) as (_, url):
        yield url


@pytest.mark.parametrize("server", [""], indirect=True)
def test_nothing_is_found_on_the_right_server(server: str, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    seeds = "1..20" if SOAK else "3"
    result = fuzz("--target", server, "--seeds", seeds, "--out", str(tmp_path), "--json", str(summary))
    assert result.exit_code in {0, 3}, result.output
    found = msgspec.json.decode(summary.read_bytes())
    assert found["failure"] is None
    assert found["requests"] > 0
    assert result.exit_code == (3 if found["undecided"] == found["scenarios"] else 0)


@pytest.mark.parametrize("server", [BUG], indirect=True)
def test_a_planted_bug_is_found_and_made_small(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a few tries; a soak takes the time that a user's search has."""
    if not SOAK:
        monkeypatch.setattr("simulator.fuzzing.searching.SHRINK_TRIES_MAX", 2)
    summary = tmp_path / "summary.json"
    flags = ("--target", server, "--profile", "hardened", "--seeds", "24")
    result = fuzz(*flags, "--out", str(tmp_path), "--json", str(summary))
    assert result.exit_code == 1, result.output
    failure: dict[str, Any] = msgspec.json.decode(summary.read_bytes())["failure"]
    (fault,) = [one for one in FAULTS if one.name == BUG]
    assert failure["failures"][0]["checker"] in fault.caught_by
    assert failure["smallest"]["attacks"] + failure["smallest"]["seconds"] < sum(
        (failure["drawn"]["attacks"], failure["drawn"]["seconds"])
    )
    (bundle,) = (tmp_path / "fuzz").iterdir()
    assert {path.name for path in bundle.iterdir()} == {"scenario.toml", "trace.ndjson", "sequence.txt"}
    assert load_scenario(bundle / "scenario.toml").seed == failure["seed"]
    assert f"--target {server}" in result.output
    assert TOKEN not in result.output + (bundle / "trace.ndjson").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "printed"),
    [
        (("--target", "http://127.0.0.1:9", "--seeds", "1"), "cannot be reached"),
        (("--target", "http://127.0.0.1:9", "--jobs", "2"), "--jobs is for virtual time"),
        (("--target-setting", "NODE_ENV=production"), "give --target too"),
        (("--token", "abc"), "give --target too"),
    ],
)
def test_what_cannot_be_searched_is_a_usage_error(flags: tuple[str, ...], printed: str, tmp_path: Path) -> None:
    result = fuzz(*flags, "--out", str(tmp_path))
    assert result.exit_code == 2
    assert printed in result.output


def test_a_target_without_a_token_is_asked_for_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["fuzz", "--target", "http://127.0.0.1:9", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "owner token" in result.output


@pytest.mark.parametrize("seed", range(1, 60))
def test_what_is_drawn_for_a_target_is_a_scenario_of_nothing_but_a_fleet_and_attacks(seed: int) -> None:
    drawn = Drawing(seed, lambda _name: 1.0).draw_for_target()
    scenario = parse_scenario(as_toml(drawn.document))
    assert (scenario.faults, scenario.load, scenario.market, scenario.server.settings) == ((), (), None, {})
    assert LEAST_SECONDS * 10**9 < scenario.duration_ns <= 16 * 10**9
    assert {one.name for one in scenario.attacks} <= {*attacks_on_targets()} <= CATALOGUE.keys()
    assert drawn == Drawing(seed, lambda _name: 1.0).draw_for_target()
