"""Which users run when, as a scenario says; and how they are spread over workers: exactly, evenly, moving few."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.load.mix import campaigns_due, spread, users_wanted
from simulator.scenario.loading import parse_scenario

SCENARIO = parse_scenario("""\
version = 1
name = "mix"
duration = "60s"
[fleet]
machines = 100
owners = 2
stages = [{ duration = "10s", target = 100 }, { duration = "10s", target = 40 }]
[[load]]
user = "owner-dashboard"
stages = [{ duration = "20s", target = 10 }, { duration = "10s", target = 0 }]
[[load]]
user = "owner-onboarding"
stages = [{ duration = "0s", target = 3 }]
[[attacks]]
name = "signature.forged"
start = "30s"
duration = "10s"
rate = 1
[[attacks]]
name = "replay.exact"
start = "20s"
duration = "15s"
rate = 1
[[attacks]]
name = "certificate.forged"
start = "20s"
duration = "5s"
rate = 1
""")
workers = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(0, 40), min_size=1, max_size=5)


def fewest_moves(target: int, now: dict[str, int]) -> int:
    """Try every even spread: a move is a user who stops on a worker, or one who starts on one."""
    least, more = divmod(target, len(now))
    return min(
        sum(abs(least + extra - had) for extra, had in zip(extras, now.values(), strict=True))
        for extras in product((0, 1), repeat=len(now))
        if sum(extras) == more
    )


def wanted(seconds: float) -> tuple[int, int, int, int]:
    users = users_wanted(SCENARIO, int(seconds * SECOND_NS))
    assert set(users) == {"ProviderMachine", "OwnerDashboard", "OwnerOnboarding", "Attacker"}
    return users["ProviderMachine"], users["OwnerDashboard"], users["OwnerOnboarding"], users["Attacker"]


def test_users_follow_their_stages_and_one_attacker_is_one_campaign_under_way() -> None:
    assert wanted(0) == (0, 0, 3, 0)
    assert wanted(5) == (50, 2, 3, 0)
    assert wanted(10) == (100, 5, 3, 0)
    assert wanted(15) == (70, 8, 3, 0)
    assert wanted(20) == (40, 10, 3, 2)
    assert wanted(25) == (40, 5, 3, 1)
    assert wanted(30) == (40, 0, 3, 2)
    assert wanted(35) == (40, 0, 3, 1)
    assert wanted(40) == (40, 0, 3, 0)


def test_a_campaign_counts_from_its_first_moment_and_not_at_its_last() -> None:
    first, last = 30 * SECOND_NS, 40 * SECOND_NS
    assert users_wanted(SCENARIO, first - 1)["Attacker"] == 1
    assert users_wanted(SCENARIO, first)["Attacker"] == 2
    assert users_wanted(SCENARIO, last - 1)["Attacker"] == 1
    assert users_wanted(SCENARIO, last)["Attacker"] == 0


def test_campaigns_are_due_in_the_order_in_which_they_begin_and_stay_due() -> None:
    assert campaigns_due(SCENARIO, 20 * SECOND_NS - 1) == []
    assert campaigns_due(SCENARIO, 20 * SECOND_NS) == [2, 3]
    assert campaigns_due(SCENARIO, 30 * SECOND_NS) == [2, 3, 1]
    assert campaigns_due(SCENARIO, 59 * SECOND_NS) == [2, 3, 1]


@settings(deadline=None)
@given(moments=st.lists(st.integers(0, 60 * SECOND_NS), min_size=2, max_size=20).map(sorted))
def test_what_was_due_stays_due_first(moments: list[int]) -> None:
    for earlier, later in pairwise(moments):
        before = campaigns_due(SCENARIO, earlier)
        assert campaigns_due(SCENARIO, later)[: len(before)] == before


@given(target=st.integers(0, 200), now=workers)
def test_the_total_is_exact_and_no_worker_has_two_more_than_another(target: int, now: dict[str, int]) -> None:
    users = spread(target, now)
    assert set(users) == set(now)
    assert sum(users.values()) == target
    assert max(users.values()) - min(users.values()) <= 1


@given(target=st.integers(0, 60), now=workers)
def test_no_even_spread_moves_fewer(target: int, now: dict[str, int]) -> None:
    users = spread(target, now)
    assert sum(abs(users[worker] - now[worker]) for worker in now) == fewest_moves(target, now)


@given(target=st.integers(0, 200), now=workers)
def test_a_spread_that_is_even_stays_as_it_is(target: int, now: dict[str, int]) -> None:
    users = spread(target, now)
    assert spread(target, users) == users


def test_without_workers_there_is_nothing_to_spread() -> None:
    assert spread(7, {}) == {}
