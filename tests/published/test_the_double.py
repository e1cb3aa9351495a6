"""A server that does what the published API says, and no more, passes by that measure, and fails by the contract's.

Of the scenarios that the project ships it is shown in short for a few, and with `HATCHFARM_TESTS_SOAK` in full for all.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.bundle.verify import compare
from simulator.checkers.verdict import Status
from simulator.contract.features import Feature
from simulator.contract.profiles import Profile
from simulator.scenario.loading import parse_scenario
from tests.planted_bugs.faulty_server import edited
from tests.published.conftest import ROOT, run_on_double
from tests.published.double_server import EDITS, TAKEN_AWAY
from tests.published.shortened import shortened
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.published.conftest import Ran

SHORT = sorted((Path(__file__).parent / "scenarios").glob("*.toml"))
SHIPPED = sorted((ROOT / "scenarios").glob("*.toml"))
LIVE = [path for path in SHIPPED if path.stem != "virtual-week"]
"""What may be played in real time: not a week."""
IN_SHORT = ("kill-loop", "quickstart")
TRIES = 3
"""How often a run without a proven failure, that this machine was too busy for, is made before that is an answer."""


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, Ran]]:
    """Each brief scenario by its name, and the first run of it: made all at once, as they mostly wait."""
    folder = tmp_path_factory.mktemp("short")
    scenarios = [*SHORT, *(folder / f"{name}.toml" for name in IN_SHORT)]
    for name in IN_SHORT:
        shipped = (ROOT / "scenarios" / f"{name}.toml").read_text(encoding="utf-8")
        (folder / f"{name}.toml").write_text(shortened(shipped), encoding="utf-8")
    with ThreadPoolExecutor(len(scenarios)) as pool:
        made = pool.map(lambda path: run_on_double(path, folder / path.stem), scenarios)
        return {path.stem: (path, ran) for path, ran in zip(scenarios, made, strict=True)}


@pytest.mark.parametrize("name", [*(path.stem for path in SHORT), *IN_SHORT])
def test_it_passes_by_the_published_api_and_lacks_what_it_lacks_by_the_contract(
    name: str, short: Mapping[str, tuple[Path, Ran]], tmp_path: Path
) -> None:
    see_that_it_lacks_what_the_contract_adds(*short[name], tmp_path)


@pytest.mark.parametrize("scenario", SHIPPED, ids=lambda path: path.stem)
def test_each_scenario_that_the_project_ships_has_a_short_copy(scenario: Path) -> None:
    parse_scenario(shortened(scenario.read_text(encoding="utf-8")))


if SOAK:  # each as long as it is

    @pytest.mark.timeout(600 * TRIES)
    @pytest.mark.parametrize("scenario", LIVE, ids=lambda path: path.stem)
    def test_so_it_does_by_what_the_project_ships(scenario: Path, tmp_path: Path) -> None:
        see_that_it_lacks_what_the_contract_adds(scenario, run_on_double(scenario, tmp_path / "0"), tmp_path)


def see_that_it_lacks_what_the_contract_adds(scenario: Path, ran: Ran, folder: Path) -> None:
    """See it in a run, or in another one where this machine was too busy."""
    for attempt in range(1, TRIES):
        if ran.exit_code == 0 or any(one.status is Status.FAIL for one in ran.verdict.checkers):
            break
        ran = run_on_double(scenario, folder / str(attempt))
    assert ran.exit_code == 0, ran.printed
    published, hardened = ran.verdict, ran.judged_by(Profile.HARDENED)
    lacking = {f"features.{feature}" for feature in TAKEN_AWAY} - unseen(scenario)
    assert published.profile == Profile.PUBLISHED
    assert {one.finding for one in published.advisories} - unseen(scenario) == lacking
    assert all(one.evidence for one in published.advisories)
    assert hardened.status is Status.FAIL
    assert [one.name for one in hardened.checkers if one.status is Status.FAIL] == ["features"]
    (features,) = (one for one in hardened.checkers if one.name == "features")
    assert [one.rule for one in features.findings] == [one.finding for one in published.advisories]
    assert compare(published, ran.judged_by(Profile.PUBLISHED)) == []


def unseen(scenario: Path) -> set[str]:
    """Return what does not show where a scenario raises the rate limit: no 429 comes."""
    return {f"features.{Feature.RETRY_AFTER}"} if "RATE_LIMIT" in scenario.read_text(encoding="utf-8") else set()


@pytest.mark.parametrize("feature", EDITS)
def test_each_feature_still_has_its_place(feature: Feature) -> None:
    """Where code has moved, this says so at once, and not a server that does not start."""
    assert edited(EDITS[feature])
