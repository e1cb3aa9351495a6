"""Planted bugs are found by a search within a minute of CPU, made small, and leave a test that fails with them.

`make test` plays scenarios of the first rounds that are known to show some of them. `make soak` searches for all.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from simulator.fuzzing.coverage import Coverage
from simulator.fuzzing.documents import as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.fuzzing.leaving import test_of as pytest_file_of
from simulator.fuzzing.playing import play_text
from simulator.fuzzing.searching import Search, make_small, players, search
from simulator.fuzzing.shrinking import size_of
from simulator.limits import SHRINK_TRIES_MAX
from tests.planted_bugs.faults import FAULTS
from tests.planted_bugs.faulty_server import planted
from tests.planted_bugs.money_faults import MONEY_FAULTS
from tests.support.tiers import SOAK
from tests.virtual.planted import PLANTED as OF_FAULTS

if TYPE_CHECKING:
    from simulator.fuzzing.documents import Document
    from simulator.fuzzing.searching import Found
    from tests.planted_bugs.faults import Fault

SHOWN_BY = {
    14: (
        "what ran is rounded up",
        "a job is billed for the work that its machine claims",
        "escrow is released twice",
        "anybody reads anybody's job",
        "who waits is not looked at when room comes free",
    ),
    48: ("refused withdrawals count towards the limit", "one withdrawal more than the limit"),
}
"""Seeds of the first round, which depend on nothing but themselves, and bugs that their scenarios show."""
SMALL = "a cancelled job is not charged for what ran", 14
CPU_SECONDS_MAX = 60.0
MACHINES_MAX, ATTACKS_AND_FAULTS_MAX = 5, 3
FOUND_SHARE = 0.95
NOT_FOUND = frozenset({"an account that was served goes on being served", "idempotency keys are not handed over"})
"""Those that no seed of a minute shows: seed 195 shows the first, and none of the first 736 the second."""
BY_NAME = {one.name: one for one in (*FAULTS, *MONEY_FAULTS, *OF_FAULTS)}


def drawn(seed: int) -> Document:
    return Drawing(seed, Coverage().weigh).draw().document


def run_written(found: Found) -> None:
    """Run the test that is written of what was found."""
    names: dict[str, object] = {}
    exec(compile(pytest_file_of(found), "<written>", "exec"), names)  # noqa: S102 - it is what is tested
    for name, function in names.items():
        if name.startswith("test_") and callable(function):
            function()


def see_small_and_written(found: Found, fault: Fault) -> None:
    size = size_of(found.smallest)
    assert size["machines"] <= MACHINES_MAX
    assert size["attacks"] + size["faults"] <= ATTACKS_AND_FAULTS_MAX
    with planted(fault.edits), pytest.raises(AssertionError):
        run_written(found)
    run_written(found)


def test_hardly_any_is_not_found_and_none_that_only_interleaving_or_faults_show() -> None:
    assert BY_NAME.keys() >= NOT_FOUND
    assert len(NOT_FOUND) <= (1 - FOUND_SHARE) * len(BY_NAME)
    assert not NOT_FOUND & {one.name for one in OF_FAULTS}


@pytest.mark.parametrize(("seed", "name"), [(seed, name) for seed, names in SHOWN_BY.items() for name in names])
def test_what_is_drawn_shows_bugs_that_lose_money(seed: int, name: str) -> None:
    with planted(BY_NAME[name].edits):
        assert play_text(as_toml(drawn(seed))).failures


@pytest.mark.parametrize("seed", SHOWN_BY)
def test_the_right_server_passes_what_shows_them(seed: int) -> None:
    assert not play_text(as_toml(drawn(seed))).failures


def test_a_bug_that_loses_money_is_made_small_and_a_test_is_left() -> None:
    name, seed = SMALL
    fault = BY_NAME[name]
    with planted(fault.edits):
        failures = play_text(as_toml(drawn(seed))).failures
        found = make_small(seed, drawn(seed), failures, tries_max=SHRINK_TRIES_MAX if SOAK else 6)
    see_small_and_written(found, fault)


if SOAK:  # half an hour of CPU and more: -k plays a part of it, -s prints the table

    @pytest.mark.parametrize("name", sorted(BY_NAME.keys() - NOT_FOUND))
    def test_a_bug_is_found_in_a_minute_made_small_and_a_test_is_left(name: str) -> None:
        fault = BY_NAME[name]
        began = time.process_time()
        state, spent = Search(range(1, 5001)), 0.0

        def has_time() -> bool:
            return time.process_time() - began < CPU_SECONDS_MAX

        def look() -> None:
            nonlocal spent
            spent = spent if state.failing else time.process_time() - began

        with planted(fault.edits), players(1) as play:
            search(state, play, has_time, lambda: False, look)
        assert state.found is not None, f"{state.played} seeds in {spent:.1f} s"
        assert spent < CPU_SECONDS_MAX
        size = size_of(state.found.smallest)
        sizes = ", ".join(f"{size[key]:g} {key}" for key in ("machines", "attacks", "faults"))
        print(f"{name}: seed {state.found.seed}, {spent:.1f} s, {sizes}, {state.found.tries} tries")  # noqa: T201 - the table, with -s
        see_small_and_written(state.found, fault)
