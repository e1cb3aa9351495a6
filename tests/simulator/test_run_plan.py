from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.fleet.clocks import PERFECT
from simulator.limits import VICTIMS_MAX
from simulator.scenario.kinds import decode_value
from simulator.scenario.values import Scenario
from simulator.worlds.plan import machines_wanted, make_campaigns, make_fleet, steady_until
from simulator.worlds.progress import Progress


def scenario(fleet: dict[str, Any], attacks: list[dict[str, Any]] | None = None) -> Scenario:
    table = {"version": 1, "name": "t", "duration": "60s", "fleet": fleet, "attacks": attacks or []}
    return msgspec.convert(table, Scenario, dec_hook=decode_value)


MOMENTS = st.integers(0, 1200).map(lambda tenths: tenths * SECOND_NS // 10)
stages = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 50)).map(
        lambda one: {"duration": f"{one[0]}ms", "target": one[1]},
    ),
    min_size=1,
    max_size=5,
)


@given(stages=stages, moments=st.lists(MOMENTS, max_size=10))
def test_stages_are_straight_lines_from_target_to_target(stages: list[dict[str, Any]], moments: list[int]) -> None:
    fleet = scenario({"machines": 50, "stages": stages}).fleet
    corners = [(0, 0)]
    for stage in fleet.stages:
        corners.append((corners[-1][0] + stage.duration_ns, stage.target))
    for moment_ns in [*moments, *(at_ns for at_ns, _ in corners)]:
        wanted = machines_wanted(fleet, moment_ns)
        after = next((at for at, (when_ns, _) in enumerate(corners) if when_ns > moment_ns), None)
        if after is None:
            assert wanted == corners[-1][1]
            continue
        (from_ns, low), (to_ns, high) = corners[after - 1], corners[after]
        assert abs(wanted - (low + (high - low) * (moment_ns - from_ns) / (to_ns - from_ns))) <= 0.5 + 1e-6


@given(stages=st.none() | stages, moment_ns=MOMENTS, share=st.floats(0, 1))
def test_while_it_is_steady_as_many_are_wanted(
    stages: list[dict[str, Any]] | None, moment_ns: int, share: float
) -> None:
    fleet = scenario({"machines": 50, **({} if stages is None else {"stages": stages})}).fleet
    until_ns = min(steady_until(fleet, moment_ns), moment_ns + 1000 * SECOND_NS)
    assert until_ns >= moment_ns
    within_ns = moment_ns + int((until_ns - moment_ns) * share)
    assert machines_wanted(fleet, min(within_ns, max(moment_ns, int(until_ns) - 1))) == machines_wanted(
        fleet, moment_ns
    )


def test_after_the_last_stage_and_in_a_flat_one_it_is_steady() -> None:
    fleet = scenario(
        {"machines": 9, "stages": [{"duration": "1s", "target": 9}, {"duration": "2s", "target": 9}]}
    ).fleet
    assert [steady_until(fleet, moment) for moment in (SECOND_NS, 3 * SECOND_NS)] == [3 * SECOND_NS, math.inf]


def test_a_line_of_hours_is_steady_for_minutes() -> None:
    fleet = scenario(
        {"machines": 9, "stages": [{"duration": "1s", "target": 9}, {"duration": "4h", "target": 5}]}
    ).fleet
    moments = [SECOND_NS + minutes * 60 * SECOND_NS for minutes in (0, 29, 31, 89, 91, 239)]
    minutes = [(steady_until(fleet, moment) - SECOND_NS) / (60 * SECOND_NS) for moment in moments]
    assert minutes == pytest.approx([30, 30, 90, 90, 150, 240], abs=0.001)


@given(machines=st.integers(1, 20_000), moment_ns=MOMENTS)
def test_without_stages_all_start_in_five_seconds_or_at_200_a_second(machines: int, moment_ns: int) -> None:
    fleet = scenario({"machines": machines, "owners": 1}).fleet
    ramp_ns = max(5 * SECOND_NS, machines * SECOND_NS // 200)
    wanted = machines_wanted(fleet, moment_ns)
    assert wanted == machines if moment_ns >= ramp_ns else abs(wanted - machines * moment_ns / ramp_ns) <= 1
    assert machines_wanted(fleet, 0) == 0


@given(machines=st.integers(1, 200), owners=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_a_fleet_is_spread_evenly_over_its_owners(machines: int, owners: int, seed: int) -> None:
    made = make_fleet(scenario({"machines": machines, "owners": owners}), np.random.default_rng(seed), "run")
    assert [machine.index for machine in made] == list(range(machines))
    counts = Counter(machine.owner_id for machine in made)
    assert len(counts) == min(machines, owners)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(owner_id.startswith("run-") for owner_id in counts)


def test_wrong_clocks_and_silences_go_to_their_shares_of_the_fleet() -> None:
    """Each clock to machines of its own; a machine may be silent more than once; all follows from the seed."""
    plan = scenario(
        {
            "machines": 200,
            "clocks": [
                {"share": 0.1, "offset": "+120s"},
                {"share": 0.25, "drift_ppm": 50.0, "step": {"at": "5s", "by": "-2m"}},
            ],
            "silence": [{"share": 0.5, "at": "10s", "duration": "5s"}, {"share": 0.3, "at": "30s", "duration": "1s"}],
        },
    )
    one, other = (make_fleet(plan, np.random.default_rng(9), "run") for _ in range(2))
    assert [(machine.clock, machine.silence) for machine in one] == [
        (machine.clock, machine.silence) for machine in other
    ]
    clocks = Counter((machine.clock.offset_ns, machine.clock.drift_ppm) for machine in one)
    assert clocks == {(0, 0.0): 130, (120 * SECOND_NS, 0.0): 20, (0, 50.0): 50}
    stepping = [machine.clock for machine in one if machine.clock.drift_ppm]
    assert {(clock.step_at_ns, clock.step_by_ns) for clock in stepping} == {(5 * SECOND_NS, -120 * SECOND_NS)}
    silences = Counter(silence for machine in one for silence in machine.silence)
    assert silences == {(10 * SECOND_NS, 15 * SECOND_NS): 100, (30 * SECOND_NS, 31 * SECOND_NS): 60}
    assert any(len(machine.silence) == 2 for machine in one)
    different = make_fleet(plan, np.random.default_rng(10), "run")
    assert [machine.clock for machine in one] != [machine.clock for machine in different]


def attack(name: str, share: float, rate: float = 10) -> dict[str, Any]:
    return {"name": name, "start": "1s", "duration": "2s", "rate": rate, "share": share}


def test_an_attack_that_wants_one_victim_gets_one_however_large_its_share_is() -> None:
    plan = scenario({"machines": 100}, [attack("credential.guess", 0.5), attack("credential.wrong-token", 0.5)])
    rng = np.random.default_rng(3)
    campaigns = make_campaigns(plan, make_fleet(plan, rng, "run"), rng)
    assert [len(campaign.victims) for campaign in campaigns] == [1, 50]


def test_campaigns_are_numbered_and_have_victims_of_their_own_with_right_clocks() -> None:
    plan = scenario(
        {"machines": 100, "clocks": [{"share": 0.4, "offset": "-30s"}]},
        [attack("replay.exact", 0.2), attack("skew.ahead", 0.5, rate=41), attack("signature.forged", 0.01)],
    )
    rng = np.random.default_rng(3)
    campaigns = make_campaigns(plan, make_fleet(plan, rng, "run"), rng)
    assert [campaign.number for campaign in campaigns] == [1, 2, 3]
    assert [campaign.attack.name for campaign in campaigns] == ["replay.exact", "skew.ahead", "signature.forged"]
    assert [len(campaign.victims) for campaign in campaigns] == [12, 30, 1]
    assert [campaign.attackers for campaign in campaigns] == [3, 11, 3]
    victims = [victim.index for campaign in campaigns for victim in campaign.victims]
    assert len(set(victims)) == len(victims)
    assert all(victim.clock is PERFECT for campaign in campaigns for victim in campaign.victims)


@pytest.mark.parametrize(("machines", "share", "victims"), [(1, 0.0, 1), (3, 1.0, 3), (1000, 1.0, VICTIMS_MAX)])
def test_a_campaign_has_at_least_one_victim_and_not_too_many(machines: int, share: float, victims: int) -> None:
    plan = scenario({"machines": machines, "owners": 1}, [attack("skew.behind", share)] * 3)
    rng = np.random.default_rng(3)
    for campaign in make_campaigns(plan, make_fleet(plan, rng, "run"), rng):
        assert len({victim.index for victim in campaign.victims}) == len(campaign.victims) == victims


def test_a_fleet_of_wrong_clocks_only_is_attacked_nevertheless() -> None:
    plan = scenario({"machines": 10, "clocks": [{"share": 1.0, "offset": "1s"}]}, [attack("skew.behind", 0.5)])
    rng = np.random.default_rng(3)
    (campaign,) = make_campaigns(plan, make_fleet(plan, rng, "run"), rng)
    assert len(campaign.victims) == 5


# --- progress


@given(answers=st.lists(st.sampled_from(list(Answer)), max_size=40))
def test_progress_counts_each_answer_once(answers: list[Answer]) -> None:
    progress = Progress()
    for got in answers:
        progress.answered(got)
        progress.attacked(got, Answer.NONCE_REPLAYED)
    accepted = answers.count(Answer.ACCEPTED)
    undecided = sum(map(answers.count, (Answer.RATE_LIMITED, Answer.UNAVAILABLE, Answer.FAILED, Answer.LOST)))
    assert (progress.accepted, progress.refused) == (accepted, len(answers) - accepted)
    assert (progress.attacks_accepted, progress.attacks_other) == (accepted, undecided)
    assert progress.attacks_refused == len(answers) - accepted - undecided
