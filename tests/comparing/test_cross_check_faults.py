"""What a scenario's faults explain of two worlds that differ: what their windows can have reached, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from reference_server.wire.units import MILLISECOND_NS, SECOND_NS
from simulator.comparing.alert_turns import alert_lines
from simulator.comparing.fault_reach import honest_reach
from simulator.comparing.world_lines import Says
from simulator.comparing.worlds import compare_worlds
from simulator.contract.answers import Answer, Operation
from simulator.contract.metrics import AUTH_ALERT, STALE_ALERT
from simulator.history.losses import Loss, lost_status
from simulator.history.records import Fault, Scrape
from simulator.history.rows import HONEST, NEVER_NS, ROW, History
from simulator.scenario.kinds import Duration
from simulator.scenario.loading import load_scenario
from simulator.scenario.values import AttackOptions, FaultOptions
from tests.comparing.test_cross_check import ALERTS, lines_that, played
from tests.support.tiers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.comparing.runs import Run
    from simulator.comparing.worlds import CrossCheck
    from simulator.scenario.values import Scenario

YOUNG = ROOT / "tests/fuzzing/failed/a-restart-beside-a-young-redis.toml"
SLOW, KILL = "network.latency", "server.kill"
LENGTH = Duration(SECOND_NS)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run in which nothing went wrong."""
    return played(ALERTS, tmp_path_factory.mktemp("peace"))


def faulty(kind: str, at: float = 2, *, durable: bool = True) -> Scenario:
    """Return the scenario with a fault of a second."""
    scenario = load_scenario(ALERTS)
    fault = FaultOptions(
        kind=kind, at_ns=Duration(at * SECOND_NS), duration_ns=LENGTH, latency_ns=Duration(MILLISECOND_NS)
    )
    return msgspec.structs.replace(
        scenario, faults=(fault,), server=msgspec.structs.replace(scenario.server, durable=durable)
    )


def troubled(history: History, scenario: Scenario) -> History:
    """Return a history in which the scenario's faults happened, and nothing came of them."""
    found = history.with_rows(history.rows())
    found.faults = [
        Fault(one.kind, one.at_ns, one.at_ns, one.at_ns + one.duration_ns, one.at_ns + one.duration_ns)
        for one in scenario.faults
    ]
    return found


def beats(count: int, at: float, got: Answer = Answer.LOST, machine: int = 0) -> Any:
    """Return heartbeats of one moment that were not answered as expected."""
    rows = np.zeros(count, dtype=ROW)
    rows["planned_ns"] = rows["sent_ns"] = int(at * SECOND_NS)
    lost = got is Answer.LOST
    rows["answered_ns"] = NEVER_NS if lost else rows["sent_ns"] + MILLISECOND_NS
    rows["status"] = lost_status(Loss.CUT, MILLISECOND_NS) if lost else 401
    rows["operation"], rows["campaign"], rows["machine"] = Operation.HEARTBEAT, HONEST, machine
    rows["expected"], rows["got"] = Answer.ACCEPTED, got
    return rows


def checked(scenario: Scenario, run: Run, ours: Any, theirs: Any) -> CrossCheck:
    """Compare two runs that differ in rows that are added."""
    histories = [run.history.with_rows(np.append(run.history.rows(), rows)) for rows in (ours, theirs)]
    both = [msgspec.structs.replace(run, history=troubled(one, scenario)) for one in histories]
    return compare_worlds(scenario, both[0], both[1], ("one", "other"), "2026-01-02T03:04:05+00:00")


def differing(scenario: Scenario, run: Run, ours: Any, theirs: Any) -> set[str]:
    return set(lines_that(checked(scenario, run, ours, theirs), Says.DIFFERS))


def test_a_fault_that_loses_nothing_explains_no_loss(run: Run) -> None:
    found = differing(faulty(SLOW), run, beats(0, 2.5), beats(500, 2.5))
    assert found == {"heartbeat asked", "heartbeat not as expected"}


def test_one_request_of_each_machine_may_be_lost_to_a_fault_in_one_world(run: Run) -> None:
    found = checked(faulty(KILL), run, beats(4, 2.5), beats(11, 2.5))
    assert found.exit_code == 0, found.summary
    assert "heartbeat kept by faults" in lines_that(found, Says.AGREES)


def lost_within(run: Run, share: float) -> Run:
    """Return a run that lost a share of what it sent within the window of a fault from 2 to 10 s."""
    rows = run.history.rows().copy()
    mine = np.flatnonzero(
        (rows["operation"] == Operation.HEARTBEAT) & (rows["campaign"] == HONEST) & (rows["sent_ns"] > 2 * SECOND_NS)
        & (rows["sent_ns"] < 10 * SECOND_NS)
    )[: int(share * 150)]  # fmt: skip
    rows["got"][mine], rows["answered_ns"][mine] = Answer.LOST, NEVER_NS
    rows["status"][mine] = lost_status(Loss.CUT, MILLISECOND_NS)
    return msgspec.structs.replace(run, history=run.history.with_rows(rows))


def test_far_more_lost_within_the_same_windows_differs(run: Run) -> None:
    scenario = faulty("network.loss")
    scenario = msgspec.structs.replace(
        scenario, faults=(msgspec.structs.replace(scenario.faults[0], duration_ns=Duration(8 * SECOND_NS)),)
    )
    both = [
        msgspec.structs.replace(one, history=troubled(one.history, scenario))
        for one in (lost_within(run, 0), lost_within(run, 1))
    ]
    found = compare_worlds(scenario, both[0], both[1], ("one", "other"), "2026-01-02T03:04:05+00:00")
    assert "heartbeat kept by faults" in lines_that(found, Says.DIFFERS)


def test_what_is_lost_outside_of_every_window_differs(run: Run) -> None:
    assert "heartbeat not as expected" in differing(faulty(KILL), run, beats(0, 2), beats(1, 11))


@pytest.mark.parametrize(("durable", "wrong"), [(True, 3), (False, 0)])
def test_a_fault_makes_no_server_say_wrong_things_but_one_that_forgets(
    durable: bool, wrong: int, run: Run  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    scenario = faulty(KILL, durable=durable)
    history = troubled(run.history.with_rows(beats(3, 2.5, Answer.UNEXPECTED)), scenario)
    reach = honest_reach(scenario, history)[Operation.HEARTBEAT]
    assert (reach.wrong, reach.kept) == (wrong, 3 - wrong)


# --- alerts


def shown(scenario: Scenario, gauge: str, *on: tuple[float, float]) -> History:
    """Return a history whose scrapes showed an alert from one moment to another, each fifth of a second."""
    history = troubled(History(), scenario)
    history.scrapes = [
        Scrape(at, at, {gauge: float(any(since * SECOND_NS <= at < until * SECOND_NS for since, until in on))})
        for at in range(0, 12 * SECOND_NS, SECOND_NS // 5)
    ]
    return history


@pytest.mark.parametrize(
    ("kind", "gauge", "ours", "theirs", "says"),
    [
        (SLOW, STALE_ALERT, [(2.2, 3)], [], {Says.DIFFERS}),
        (SLOW, AUTH_ALERT, [(at, at + 1) for at in range(1, 11, 2)], [], {Says.DIFFERS}),
        (KILL, STALE_ALERT, [(4, 7)], [], {Says.EXPLAINED}),
        (KILL, AUTH_ALERT, [(4, 7)], [], {Says.EXPLAINED}),
        ("network.duplication", STALE_ALERT, [(2, 3)], [], {Says.DIFFERS}),
        ("network.duplication", AUTH_ALERT, [(2, 5)], [], {Says.EXPLAINED}),
        ("network.loss", STALE_ALERT, [(8.5, 11.5)], [], {Says.DIFFERS}),
        (SLOW, AUTH_ALERT, [(3, 11)], [(3, 3.6)], {Says.AGREES, Says.DIFFERS}),
        ("network.loss", AUTH_ALERT, [(2, 6)], [(5.4, 6)], {Says.AGREES, Says.EXPLAINED}),
        ("network.loss", STALE_ALERT, [(0.2, 8)], [(3, 8)], {Says.AGREES, Says.EXPLAINED}),
        ("network.loss", STALE_ALERT, [(0.2, 11.6)], [(4, 7)], {Says.AGREES, Says.DIFFERS}),
    ],
)
def test_an_alert_that_differs_is_explained_where_a_fault_can_have_moved_it_so_far(
    kind: str,
    gauge: str,
    ours: list[tuple[float, float]],
    theirs: list[tuple[float, float]],
    says: set[Says],
) -> None:
    scenario = faulty(kind)
    for one, other in ((ours, theirs), (theirs, ours)):
        lines = alert_lines(scenario, shown(scenario, gauge, *one), shown(scenario, gauge, *other))
        mine = [line for line in lines if line.name.startswith(gauge)]
        assert {line.says for line in mine} == says, mine
        assert all(line.why for line in mine if line.says in {Says.EXPLAINED, Says.DIFFERS})


def test_what_a_young_redis_has_refused_after_a_restart_is_kept_by_that(tmp_path: Path) -> None:
    scenario = load_scenario(YOUNG)
    one, other = (played(YOUNG, tmp_path / seed, "--seed", seed) for seed in "12")
    checked = compare_worlds(scenario, one, other, ("", ""), "")
    assert checked.exit_code == 0, checked.summary
    assert any(line.name == "heartbeat kept by faults" for line in checked.lines)


@pytest.mark.parametrize(("name", "says"), [("nonce.flood", Says.EXPLAINED), ("replay.after-restart", Says.DIFFERS)])
def test_scripts_move_the_alert_of_failures_where_they_ask_the_run_s_own_server(name: str, says: Says) -> None:
    attack = AttackOptions(name=name, start_ns=Duration(0), duration_ns=LENGTH, rate=1)
    scenario = msgspec.structs.replace(load_scenario(ALERTS), attacks=(attack,), faults=())
    worlds = []
    for until in (4.0, 11.0):
        rows = beats(1, until)
        rows["campaign"] = 1
        history = History().with_rows(rows)
        history.scrapes = shown(scenario, AUTH_ALERT, (2, until)).scrapes
        worlds.append(history)
    assert says in {line.says for line in alert_lines(scenario, worlds[0], worlds[1])}
