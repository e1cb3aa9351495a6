"""Each planted bug is caught as a proven failure by a checker that is meant to, and the server without it passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from simulator.checkers import CHECKERS
from tests.planted_bugs.faults import FAULTS, Fault
from tests.planted_bugs.faulty_server import edited
from tests.planted_bugs.trials import SCENARIOS, Trial, make_all
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.trials import Result


def chosen() -> list[Fault]:
    """Return the faults to try: all in a soak, else those that are the first of something.

    That is of a scenario, of the checkers that are meant to catch it, or of a module of the server.
    """
    first: dict[object, Fault] = {}
    for one in FAULTS:
        of = {one.scenario, one.caught_by, one.edits[0].module}
        if any(each not in first for each in of):
            first |= dict.fromkeys(of - first.keys(), one)
    return [one for one in FAULTS if SOAK or one in first.values()]


TRIED = chosen()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Trial, Result]:
    """Every trial, made once, several at a time."""
    trials = [*(Trial(name, "") for name in SCENARIOS), *(Trial(fault.scenario, fault.name) for fault in TRIED)]
    return trio.run(make_all, trials, tmp_path_factory.mktemp("planted"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_server_as_it_is_passes(scenario: str, results: Mapping[Trial, Result]) -> None:
    result = results[Trial(scenario, "")]
    assert result.exit_code == 0, result.printed


@pytest.mark.parametrize("fault", TRIED, ids=[fault.name for fault in TRIED])
def test_a_planted_bug_is_caught_and_the_evidence_shows_it(fault: Fault, results: Mapping[Trial, Result]) -> None:
    """The run fails, by a checker that is meant to find this fault, with a finding that names it."""
    result = results[Trial(fault.scenario, fault.name)]
    result.assert_caught(fault.caught_by, fault.evidence)


def test_there_are_enough_of_them_and_all_are_different() -> None:
    assert len(FAULTS) >= 30
    assert {name for one in TRIED for name in one.caught_by} == {name for one in FAULTS for name in one.caught_by}
    assert len({fault.name for fault in FAULTS}) == len({fault.edits for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_each_fault_still_has_its_place(fault: Fault) -> None:
    """Where code has moved, this says so at once, and not a server that does not start."""
    assert edited(fault.edits)


def test_only_checkers_that_exist_are_meant_to_catch_them() -> None:
    known = {*CHECKERS, "features"}
    assert all(fault.caught_by <= known and fault.scenario in SCENARIOS for fault in FAULTS)
