"""Locust starts exactly the users that a scenario wants, by class, evenly; who can stay when workers go stays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.load.mix import users_wanted
from simulator.scenario.loading import parse_scenario
from tests.load.locust_side import LocustSide, locust_side
from tests.load.test_mix import fewest_moves

if TYPE_CHECKING:
    from collections.abc import Iterator

CLASSES = ["Attacker", "OwnerDashboard", "OwnerOnboarding", "ProviderMachine"]
SCENARIO = """\
version = 1
name = "shape"
duration = "20s"
[fleet]
machines = 30
owners = 1
stages = [{ duration = "0s", target = 30 }]
[[load]]
user = "owner-dashboard"
stages = [{ duration = "5s", target = 0 }, { duration = "0s", target = 6 }]
[[load]]
user = "owner-onboarding"
stages = [{ duration = "5s", target = 0 }, { duration = "5s", target = 0 }, { duration = "0s", target = 2 }]
"""
SWAPPED = """\
version = 1
name = "swapped"
duration = "20s"
[fleet]
machines = 30
owners = 1
stages = [{ duration = "0s", target = 30 }]
[[load]]
user = "owner-dashboard"
stages = [{ duration = "0s", target = 2 }, { duration = "5s", target = 2 }, { duration = "0s", target = 0 }]
[[load]]
user = "owner-onboarding"
stages = [{ duration = "5s", target = 0 }, { duration = "0s", target = 2 }]
"""
names = st.sets(st.sampled_from(["host_a", "host_b", "host_c", "other_d", "other_e"]), min_size=1)
steps = st.lists(
    st.fixed_dictionaries({
        "wanted": st.fixed_dictionaries({}, optional={name: st.integers(0, 30) for name in CLASSES}),
        "workers": names.map(sorted),
    }),
    min_size=1,
    max_size=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def locust() -> Iterator[LocustSide]:
    with locust_side() as side:
        yield side


@settings(deadline=None)
@given(steps=steps)
def test_every_class_has_exactly_the_users_that_are_wanted_evenly_over_the_workers_there_are(
    locust: LocustSide, steps: list[dict[str, Any]]
) -> None:
    """Whatever was before, whoever came or went: one dispatch is enough."""
    for step, users in zip(steps, locust.ask("dispatch", classes=CLASSES, steps=steps), strict=True):
        assert sorted(users) == step["workers"]
        for name in CLASSES:
            each = [users[worker][name] for worker in users]
            assert sum(each) == step["wanted"].get(name, 0)
            assert max(each) - min(each) <= 1


@settings(deadline=None)
@given(steps=steps)
def test_nobody_who_can_stay_is_moved(locust: LocustSide, steps: list[dict[str, Any]]) -> None:
    """Of those on workers that are still there; a machine that moves would have to register again."""
    before: dict[str, dict[str, int]] = {}
    for users in locust.ask("dispatch", classes=CLASSES, steps=steps):
        for name in CLASSES:
            had = {worker: before[worker][name] if worker in before else 0 for worker in users}
            target = sum(here[name] for here in users.values())
            assert sum(abs(users[worker][name] - had[worker]) for worker in users) == fewest_moves(target, had)
        before = users


def test_the_users_of_a_worker_that_is_gone_go_to_those_that_stay_and_back_to_one_that_comes(
    locust: LocustSide,
) -> None:
    wanted = {"ProviderMachine": 9, "OwnerDashboard": 3}
    three, two = ["host_a", "host_b", "host_c"], ["host_a", "host_b"]
    steps = [{"wanted": wanted, "workers": workers} for workers in (three, two, [*two, "other_d"])]
    for users, each in zip(
        locust.ask("dispatch", classes=CLASSES, steps=steps), ([3, 3, 3], [4, 5], [3, 3, 3]), strict=True
    ):
        assert sorted(count["ProviderMachine"] for count in users.values()) == each
        assert sum(count["OwnerDashboard"] for count in users.values()) == 3


def ticks(locust: LocustSide, *moments: tuple[float, int]) -> list[Any]:
    """Ask the shape at moments of seconds, with so many workers there."""
    reported: list[Any] = locust.ask(
        "ticks", scenario=SCENARIO, moments=[(int(seconds * SECOND_NS), workers) for seconds, workers in moments]
    )
    return reported


def test_the_shape_tells_locust_something_new_whenever_the_mix_or_the_workers_change_and_only_then(
    locust: LocustSide,
) -> None:
    """Locust dispatches anew only where what it is told differs; and dispatching what is there would only cost."""
    reported = ticks(
        locust, (0, 2), (1, 2), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (10, 2), (11, 2), (12, 3), (13, 3)
    )  # fmt: skip
    totals = [tick[0] for tick, _ in reported]
    rates = [tick[1] for tick, _ in reported]
    assert totals == [30, 30, 30, 30, 30, 36, 36, 38, 38, 38, 38]
    changes = [rate != before for rate, before in zip(rates[1:], rates, strict=False)]
    assert changes == [False, True, False, True, True, False, True, False, True, False]
    assert len({(total, rate) for total, rate in zip(totals, rates, strict=True)}) == 6
    assert all(rate > 0 for rate in rates)


def test_a_mix_of_the_same_total_is_told_too(locust: LocustSide) -> None:
    """Two dashboards less and two who onboard more, in one second, are as many users as before."""
    moments = [(3 * SECOND_NS, 2), (8 * SECOND_NS, 2)]
    (first, wanted), (second, other) = locust.ask("ticks", scenario=SWAPPED, moments=moments)
    assert (wanted["OwnerDashboard"], wanted["OwnerOnboarding"]) == (2, 0)
    assert (other["OwnerDashboard"], other["OwnerOnboarding"]) == (0, 2)
    assert first[0] == second[0]
    assert first != second


def test_users_are_wanted_half_a_second_ahead_as_locust_looks_once_a_second(locust: LocustSide) -> None:
    scenario = parse_scenario(SCENARIO)
    ((_, early), (_, late)) = ticks(locust, (4.4, 2), (4.6, 2))
    assert early == users_wanted(scenario, int(4.9 * SECOND_NS))
    assert (early["OwnerDashboard"], late["OwnerDashboard"]) == (0, 6)


def test_the_test_ends_when_the_scenario_does(locust: LocustSide) -> None:
    reported = [tick for tick, _ in ticks(locust, (19.999, 2), (20, 2), (21, 2))]
    assert reported[0] is not None
    assert reported[1:] == [None, None]
