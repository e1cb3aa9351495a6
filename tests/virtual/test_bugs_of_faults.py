"""Bugs that only interleaving or faults show are found: each by a scenario as small as a search leaves them."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.fuzzing.playing import CRASHED, play_text
from simulator.scenario.loading import load_scenario
from tests.planted_bugs.faulty_server import planted
from tests.virtual.planted import PLANTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.planted_bugs.faults import Fault

FOLDER = Path(__file__).with_name("planted_scenarios")
MACHINES_MAX, ATTACKS_AND_FAULTS_MAX = 5, 3
SEEDS = 8
"""With the seed that it was found by a search goes on, for what is drawn while it plays changes with the server."""


def path_of(fault: Fault) -> Path:
    return FOLDER / f"{re.sub(r'[^a-z]+', '-', fault.name)}.toml"


def texts_of(fault: Fault) -> Iterator[str]:
    text = path_of(fault).read_text(encoding="utf-8")
    first = int(re.findall(r"^seed = (\d+)$", text, re.MULTILINE)[0])
    for seed, _ in zip(count(first), range(SEEDS), strict=False):
        yield re.sub(r"^seed = \d+$", f"seed = {seed}", text, flags=re.MULTILINE)


@pytest.mark.parametrize("fault", PLANTED, ids=[one.name for one in PLANTED])
def test_a_bug_is_found_and_the_right_server_is_not(fault: Fault) -> None:
    with planted(fault.edits):
        found = next((one for text in texts_of(fault) for one in play_text(text).failures), None)
    assert found is not None
    assert found.checker in fault.caught_by or found.rule.startswith(CRASHED)
    assert not play_text(next(texts_of(fault))).failures


def test_each_bug_has_a_scenario_and_each_is_small() -> None:
    assert {path_of(one) for one in PLANTED} == {*FOLDER.glob("*.toml")}
    for scenario in (load_scenario(path_of(one)) for one in PLANTED):
        assert scenario.fleet.machines <= MACHINES_MAX
        assert len(scenario.attacks) + len(scenario.faults) <= ATTACKS_AND_FAULTS_MAX
