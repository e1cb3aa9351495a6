"""What is drawn is a scenario, the same for the same seeds, and what was covered says what is drawn next."""

from __future__ import annotations

import tomllib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.about import setting_names, settings_problem
from reference_server.wire.units import SECOND_NS
from simulator.attacks import CATALOGUE
from simulator.fuzzing.coverage import Coverage
from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.fuzzing.ingredients import (
    DEPLOYMENTS,
    HABITS,
    MARKET_SETTINGS,
    MEMORY,
    MISHAPS,
    SETTINGS,
    TOO_LONG,
    attacks_drawn,
)
from simulator.fuzzing.mishaps import ASKED_FAULTS, keep_scripts_clear
from simulator.limits import ANSWER_TIMEOUT_SECONDS, SEED_MAX
from simulator.running.virtual import not_yet_virtual
from simulator.scenario.kinds import parse_duration
from simulator.scenario.loading import parse_scenario
from simulator.scenario.server_problems import ServerSettings
from simulator.scenario.values import CLOCK_FAULT, NETWORK_FAULTS, PARTITION
from tests.support.tiers import examples


def evenly(_ingredient: str) -> float:
    return 1.0


@given(seed=st.integers(0, SEED_MAX), brief=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_every_seed_draws_a_scenario_that_virtual_time_can_play(seed: int, brief: bool) -> None:  # noqa: FBT001
    document = Drawing(seed, evenly, brief=brief).draw().document
    text = as_toml(document)
    assert tomllib.loads(text) == document
    scenario = parse_scenario(text, ServerSettings(setting_names(), settings_problem))
    assert not not_yet_virtual(scenario)
    assert scenario.seed == seed
    assert scenario.attacks or len(scenario.fleet.stages) > 1 or scenario.fleet != type(scenario.fleet)(machines=1)


def test_the_same_seed_draws_the_same_and_another_another() -> None:
    drawn = [Drawing(seed, evenly).draw() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_all_that_there_is_is_drawn_and_attacks_that_are_left_out_exist() -> None:
    coverage = Coverage()
    for seed in range(200):
        coverage.add(Drawing(seed, coverage.weigh).draw().ingredients, frozenset())
    mishaps = {kind for kinds in MISHAPS.values() for kind in kinds} | NETWORK_FAULTS
    assert {*coverage.drawn} == {
        *attacks_drawn(), *SETTINGS, *MARKET_SETTINGS, *HABITS, MEMORY, *DEPLOYMENTS, *mishaps, CLOCK_FAULT
    }  # fmt: skip
    assert set(CATALOGUE) >= TOO_LONG


def test_partitions_last_longer_than_clients_wait_sometimes() -> None:
    lengths = Counter(
        parse_duration(fault["duration"]) > ANSWER_TIMEOUT_SECONDS * SECOND_NS
        for seed in range(100)
        for fault in Drawing(seed, evenly).draw().document.get("faults", ())
        if fault["kind"] == PARTITION
    )
    assert lengths[True]
    assert lengths[False]


def test_what_was_drawn_less_often_and_what_showed_something_new_comes_next() -> None:
    coverage = Coverage()
    assert coverage.add(("old", "stale"), frozenset({"a", "b"})) == 2
    assert coverage.add(("old",), frozenset({"a", "c"})) == 1
    assert coverage.add(("stale",), frozenset({"a"})) == 0
    assert coverage.weigh("never drawn") > coverage.weigh("old") > coverage.weigh("stale")
    assert coverage.states == Counter({"a": 3, "b": 1, "c": 1})


def test_coverage_draws_attacks_more_evenly_than_chance() -> None:
    def rarest(weigh: Coverage) -> int:
        count: Counter[str] = Counter()
        for seed in range(120):
            drawn = Drawing(seed, weigh.weigh).draw()
            count.update(drawn.ingredients)
            if weigh is steered:
                weigh.add(drawn.ingredients, frozenset())
        return min(count[name] for name in attacks_drawn())

    steered, blind = Coverage(), Coverage()
    assert rarest(steered) > rarest(blind)


def test_what_must_be_refused_meanwhile_lasts_until_every_machine_has_beaten() -> None:
    """But for one that comes and goes: what is refused in the one or the other of its times is enough."""
    looked = 0
    for seed in range(150):
        document = Drawing(seed, evenly).draw().document
        faults = document.get("faults", [])
        flaps = len(faults) > 1 and {one["kind"] for one in faults if one["kind"] != CLOCK_FAULT} == {"redis.pause"}
        for fault in faults:
            if fault["kind"] in ASKED_FAULTS and not flaps:
                looked += 1
                assert parse_duration(fault["duration"]) > parse_duration(document["fleet"]["heartbeat_interval"])
    assert looked > 10


def test_scripts_begin_clear_of_a_fault_where_there_is_time() -> None:
    document = {
        "attacks": [{"name": name, "start": "2500ms"} for name in ("nonce.burn", "signature.forged")],
        "faults": [{"kind": "redis.down", "at": "3s", "duration": "1s"}, {"kind": "redis.flush", "at": "7s"}],
    }
    keep_scripts_clear(document, 11_000)
    assert [one["start"] for one in document["attacks"]] == ["2500ms", "2500ms"]
    keep_scripts_clear(document, 16_000)
    assert [one["start"] for one in document["attacks"]] == ["9000ms", "2500ms"]


texts = st.text(max_size=8)
values = st.integers(-9, 9) | st.booleans() | texts | st.floats(allow_nan=False, allow_infinity=False)
tables = st.dictionaries(texts, values, max_size=3)


@given(
    st.dictionaries(texts, values | tables | st.lists(values, max_size=3) | st.lists(tables, max_size=2), max_size=4)
)
@settings(max_examples=examples(100), deadline=None)
def test_any_document_is_read_from_its_file_as_it_was(document: dict[str, object]) -> None:
    assert tomllib.loads(as_toml(document)) == document


@pytest.mark.parametrize("name", sorted(TOO_LONG))
def test_what_takes_too_long_is_not_drawn(name: str) -> None:
    assert name not in attacks_drawn()
