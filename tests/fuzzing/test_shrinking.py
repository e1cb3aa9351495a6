"""What fails is made as small as it can be while it fails in the same way."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.fuzzing.shrinking import shrink, size_of
from simulator.scenario.kinds import parse_duration
from simulator.scenario.loading import parse_scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.fuzzing.documents import Document


def largest(wanted: Callable[[Document], bool]) -> Document:
    """Return the drawn scenario with the most in it that is wanted."""
    return max(filter(wanted, drawn()), key=lambda one: len(as_toml(one)))


@cache
def drawn() -> list[Document]:
    return [Drawing(seed, lambda _name: 1.0).draw().document for seed in range(150)]


WANTED: dict[str, Callable[[Document], bool]] = {
    "two attacks": lambda one: len(one["attacks"]) >= 2,
    "an attack late in it": lambda one: any(parse_duration(each["start"]) > 3_000_000_000 for each in one["attacks"]),
    "a setting": lambda one: "RATE_LIMIT_BURST" in one["server"]["settings"],
    "machines": lambda one: one["fleet"]["machines"] >= 3,
    "silence": lambda one: "silence" in one["fleet"],
    "agents": lambda one: one.get("market", {}).get("agents", 0) >= 1,
    "time": lambda one: parse_duration(one["duration"]) >= 7_000_000_000,
    "a kill of one of two": lambda one: any(each.get("instance") == 1 for each in one.get("faults", ())),
    "a disk": lambda one: one["server"].get("durable", False),
    "Redis": lambda one: any(each["kind"] == "redis.pause" for each in one.get("faults", ())),
}
LEFT = {
    "two attacks": {"machines": 1, "attacks": 2, "settings": 0},
    "an attack late in it": {"machines": 1, "attacks": 1, "settings": 0},
    "a setting": {"machines": 1, "attacks": 0, "settings": 1},
    "machines": {"machines": 3, "attacks": 0, "settings": 0},
    "silence": {"machines": 1, "attacks": 0, "settings": 0},
    "agents": {"machines": 1, "attacks": 0, "settings": 0},
    "time": {"machines": 1, "attacks": 0, "settings": 0, "seconds": 7},
    "a kill of one of two": {"machines": 1, "attacks": 0, "faults": 1, "instances": 2},
    "a disk": {"machines": 1, "attacks": 0, "faults": 0, "instances": 1},
    "Redis": {"machines": 1, "attacks": 0, "faults": 1, "instances": 1},
}


@pytest.mark.parametrize("name", WANTED)
def test_nothing_is_left_that_is_not_needed(name: str) -> None:
    tried: list[Document] = []

    def fails(document: Document) -> bool:
        parse_scenario(as_toml(document))
        tried.append(document)
        return WANTED[name](document)

    smallest, tries = shrink(largest(WANTED[name]), fails, 1000)
    assert tries == len(tried) < 200
    assert WANTED[name](smallest)
    assert size_of(smallest) | LEFT[name] == size_of(smallest)
    assert shrink(smallest, WANTED[name], 1000)[0] == smallest


def test_it_ends_after_so_many_tries() -> None:
    whole = largest(lambda _one: True)
    smallest, tries = shrink(whole, lambda _one: True, 3)
    assert tries == 3
    assert size_of(smallest) != size_of(whole)


def test_what_only_fails_whole_stays_whole() -> None:
    whole = largest(lambda _one: True)
    assert shrink(whole, lambda one: one == whole, 1000)[0] == whole


def test_what_fails_by_another_seed_with_less_in_it_is_made_that_small() -> None:
    """With all its faults it fails by its own seed, without them by one that another order comes of."""
    whole = largest(lambda one: len(one.get("faults", ())) >= 3)
    kinds = {one["kind"] for one in whole["faults"]}

    def fails(document: Document) -> bool:
        faults = document.get("faults", [])
        if document["seed"] == whole["seed"]:
            return len(faults) == len(whole["faults"])
        return document["seed"] == whole["seed"] + 4 and any(one["kind"] in kinds for one in faults)

    smallest, _ = shrink(whole, fails, 2000)
    assert size_of(smallest) | {"faults": 1, "attacks": 0, "machines": 1} == size_of(smallest)
    assert fails(smallest)


def test_what_comes_after_the_fault_it_fails_by_goes_first_so_that_it_fails_by_no_rarer_coincidence() -> None:
    """With what is shot all the time any of its faults will do, without that only all of them together."""
    whole = largest(lambda one: len(one.get("faults", ())) >= 4 and len(one["attacks"]) >= 2)
    shot = whole["attacks"][-1]

    def fails(document: Document) -> bool:
        faults = document.get("faults", [])
        return (
            bool(faults) if shot["name"] in [one["name"] for one in document["attacks"]] else faults == whole["faults"]
        )

    smallest, _ = shrink(whole, fails, 1000, seeded=False)
    assert size_of(smallest) | {"faults": 1, "attacks": 1, "machines": 1} == size_of(smallest)


def test_what_a_step_left_out_is_not_tried_again_for_each_thing_that_the_next_one_does() -> None:
    whole = largest(lambda one: len(one["attacks"]) >= 3 and len(one["server"]["settings"]) >= 4)
    tried: list[Document] = []

    def fails(document: Document) -> bool:
        tried.append(document)
        return document["attacks"] == whole["attacks"] and len(document["server"]["settings"]) >= 1

    shrink(whole, fails, 1000, seeded=False)
    attacks = len(whole["attacks"])
    assert sum(len(one["attacks"]) < attacks for one in tried) <= 2 * (attacks + 3)  # in two rounds of all steps


def test_users_are_left_out_where_nothing_needs_them_and_stay_where_something_does() -> None:
    whole = largest(lambda one: "load" in one)
    assert "load" not in shrink(whole, lambda _one: True, 1000)[0]
    smallest, _ = shrink(whole, lambda one: "load" in one, 1000)
    assert size_of(smallest) | {"machines": 1, "attacks": 0, "settings": 0} == size_of(smallest)
