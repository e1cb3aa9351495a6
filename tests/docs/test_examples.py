"""Whatever is written as TOML in the docs is a scenario that can be run, or the part of one."""

from __future__ import annotations

import tomllib

import pytest

from simulator.scenario.loading import ScenarioError, parse_scenario
from simulator.scenario.remarks import remarks
from tests.support.pages import blocks, page

# Those of the page of all keys are one scenario together, which is a test of its own.
EXAMPLES = [example for example in blocks("toml") if example not in page("reference/scenario")]


def whole(part: str) -> str:
    """Return a scenario of a part of one: what every scenario needs is added where the part does not have it."""
    has = tomllib.loads(part)
    top = {"version": "1", "name": '"docs"', "duration": '"5m"'}
    head = "".join(f"{key} = {value}\n" for key, value in top.items() if key not in has)
    fleet = "" if "machines" in has.get("fleet", {}) else "[fleet]\nmachines = 50\n"
    return f"{head}{part}\n{fleet}"


def test_there_are_examples_of_every_kind() -> None:
    """Lest nothing be found, and all of it hold."""
    named = {key for example in EXAMPLES for key in tomllib.loads(example)}
    assert {"fleet", "server", "attacks", "faults", "load", "thresholds", "abort_on_fail"} <= named


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid_and_nothing_is_remarked(example: str) -> None:
    text = whole(example)
    assert remarks(parse_scenario(text), text.encode()) == []


def test_an_example_that_is_wrong_is_found() -> None:
    with pytest.raises(ScenarioError, match=r"attacks\[0\].rate: missing"):
        parse_scenario(whole('[[attacks]]\nname = "replay.exact"\nstart = "1s"\nduration = "2s"'))
