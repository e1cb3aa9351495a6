"""A server that is right is never accused, however busy the machine: a run may at most not know, and then says why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.false_alarms.runs import (
    INCONCLUSIVE,
    PASS,
    SCENARIOS,
    Ended,
    Run,
    accusations,
    all_runs,
    make_runs,
    wanted_runs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNS = wanted_runs()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Mapping[Run, Ended]:
    """Every run, made once."""
    return trio.run(make_runs, RUNS, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("run", RUNS, ids=[run.name for run in RUNS])
def test_a_run_never_accuses_a_server_that_is_right(run: Run, ended: Mapping[Run, Ended]) -> None:
    assert not accusations(ended[run]), ended[run].printed


def test_on_a_calm_machine_runs_do_know(ended: Mapping[Run, Ended]) -> None:
    """A harness that never knows would never be wrong either. Other tests may be running beside these."""
    calm = [ended[run].exit_code for run in RUNS if not run.busy]
    assert 3 * calm.count(PASS) >= len(calm), [(run.name, ended[run].exit_code) for run in RUNS]


WHY = "The harness could not keep its schedule."


def ended_with(code: int, status: str = "pass", why: str = "", *, told: bool = True, **changed: Any) -> Ended:
    verdict = {
        "checkers": [{"name": "alerts", "status": status, "summary": why}],
        "thresholds": [{"name": "audit.errors: count==0", "status": "pass", "summary": "0"}],
        "interrupted": None,
        "requests": {"heartbeats_accepted": 5},
    }
    return Ended(code, verdict | changed, f"a table: {why}." if told else "")


@pytest.mark.parametrize("right", [ended_with(PASS), ended_with(INCONCLUSIVE, "inconclusive", WHY)])
def test_passing_and_saying_why_not_are_no_accusations(right: Ended) -> None:
    assert not accusations(right)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (ended_with(1, "fail", "3 proven errors"), "exit code 1"),
        (ended_with(2), "exit code 2"),
        (Ended(PASS, {}, ""), "exit code 0"),
        (ended_with(INCONCLUSIVE, "fail", "3 proven errors"), "accused by alerts"),
        (ended_with(INCONCLUSIVE), "nothing says why"),
        (ended_with(INCONCLUSIVE, "inconclusive", ""), "no reason"),
        (ended_with(INCONCLUSIVE, "inconclusive", "The checker crashed: KeyError"), "no reason"),
        (ended_with(INCONCLUSIVE, "inconclusive", WHY, told=False), "not told"),
        (ended_with(INCONCLUSIVE, "inconclusive", WHY, interrupted="SIGINT after 2s"), "interrupted"),
        (ended_with(PASS, requests={"heartbeats_accepted": 0}), "no heartbeat"),
    ],
)
def test_an_accusation_or_a_doubt_without_its_reason_is_noticed(wrong: Ended, said: str) -> None:
    assert said in " ".join(accusations(wrong))


def test_every_scenario_is_run_on_a_calm_and_on_a_busy_machine_in_the_soak() -> None:
    every = all_runs()
    assert len(every) == len({run.name for run in every}) == 30
    assert sum(run.busy for run in every) == 10
    for scenario in SCENARIOS:
        assert {run.busy for run in every if run.scenario == scenario} == {True, False}
