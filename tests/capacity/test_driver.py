"""The driver: what it makes of a search's rates and of steps that go wrong, and what it says and writes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from rich.console import Console

from simulator.capacity import driver
from simulator.capacity.driver import PACE_MACHINES_PER_SECOND, TRIES_MAX, Finder
from simulator.capacity.result import Capacity, Conclusion, capacity_schema, write_capacity
from simulator.capacity.search import Bounds, TrialOutcome
from simulator.capacity.step import Measured, Plan, Step
from simulator.client.target import TargetError
from simulator.limits import CAPACITY_TOTAL_MAX_SECONDS
from simulator.running.run import RunRequest
from simulator.scenario.kinds import Duration
from simulator.scenario.values import FleetOptions, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

SCENARIO = Scenario(
    version=1, name="steady", seed=5, duration_ns=Duration(1), fleet=FleetOptions(machines=7), thresholds={}
)
BOUNDS = Bounds(100, 10_000, 0.1)


def step(plan: Plan, outcome: TrialOutcome, limit: str = "") -> Step:
    return Step(
        rate=plan.rate, machines=plan.machines, interval_ms=1, window_s=1, planned=1, accepted=1, p50_ms=1.5,
        p99_ms=None, outcome=outcome, limit=limit, why="it broke" if limit else "",
    )  # fmt: skip


def limited(edge: int, outcome: TrialOutcome = TrialOutcome.BROKE, limit: str = "heartbeat.accepted: rate==1") -> Any:
    """Return steps that hold up to an edge."""
    return lambda plan: Measured(step(plan, TrialOutcome.HELD) if plan.rate <= edge else step(plan, outcome, limit))


class World:
    """Stands for all that makes and measures steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, measure: Callable[[Plan], Measured]) -> None:
        self.made: list[tuple[int, int]] = []
        self.seconds = 0.0
        self.out = io.StringIO()
        monkeypatch.setattr(driver, "measure_step", lambda plan, *_: measure(plan))

    def make(self, plan: Plan, seed: int) -> Any:
        self.made.append((plan.rate, seed))
        self.seconds += 10
        return None, None

    def find(self, bounds: Bounds = BOUNDS, seed: int = 5) -> Capacity:
        request = RunRequest(SCENARIO, Path("s.toml"), seed, Path("out"), None, "token")
        console = Console(file=self.out, width=1000)
        return Finder(request, bounds, 5, self.make, lambda: self.seconds, console).find("2026-01-02T03:04:05")


def test_a_server_that_breaks_is_found_and_the_first_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limited(3000))
    found = world.find()
    assert (found.conclusion, found.exit_code, found.wide) == (Conclusion.FOUND, 0, False)
    assert found.interval.held is not None
    assert 2700 <= found.interval.held <= 3000
    assert found.summary == (
        f"Capacity: {found.interval.held}/s (between {found.interval.low}/s and {found.interval.high}/s); "
        f"at {found.interval.failed}/s the first limit to break was heartbeat.accepted: rate==1"
    )
    assert [rate for rate, _ in world.made] == [one.rate for one in found.steps]
    assert len({seed for _, seed in world.made}) == len(world.made)
    shown = world.out.getvalue()
    assert "note: the scenario limits no latency" in shown
    assert "never  broke heartbeat.accepted: rate==1: it broke" in shown


def test_a_harness_that_is_the_limit_is_said_to_be_and_blames_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    found = World(monkeypatch, limited(900, TrialOutcome.HARNESS, "harness")).find()
    assert (found.conclusion, found.exit_code) == (Conclusion.HARNESS, 3)
    assert found.summary.startswith(f"The harness itself was the limit at {found.interval.failed}/s")
    assert found.summary.endswith(f"the server's capacity is at least {found.interval.held}/s")


def test_a_server_that_bears_all_that_is_allowed_bears_at_least_that(monkeypatch: pytest.MonkeyPatch) -> None:
    found = World(monkeypatch, limited(99_999)).find()
    assert (found.conclusion, found.exit_code, found.wide) == (Conclusion.AT_LEAST, 0, False)
    assert found.summary.startswith("Capacity: at least 10000/s")


def test_a_server_that_bears_nothing_is_not_given_a_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    found = World(monkeypatch, limited(99)).find()
    assert (found.conclusion, found.exit_code) == (Conclusion.NOTHING_HELD, 3)
    assert found.summary.startswith("Not even 100/s held: heartbeat.accepted: rate==1 broke")


REQUIRED = Bounds(500, 500, 0.1, is_required=True)
UNKNOWN = "The harness itself was the limit at 500/s: whether the server bears the 500/s that are required is not known"


@pytest.mark.parametrize(
    ("steps", "conclusion", "code", "summary"),
    [
        (limited(500), Conclusion.AT_LEAST, 0, "Fast enough: 500/s is required, and held"),
        (
            limited(499),
            Conclusion.TOO_SLOW,
            1,
            "Too slow: 500/s is required, and at that rate heartbeat.accepted: rate==1 broke",
        ),
        (limited(499, TrialOutcome.HARNESS, "harness"), Conclusion.HARNESS, 3, UNKNOWN),
    ],
)
def test_a_rate_that_is_required_is_tried_alone_until_two_trials_agree(
    monkeypatch: pytest.MonkeyPatch, steps: Any, conclusion: Conclusion, code: int, summary: str
) -> None:
    world = World(monkeypatch, steps)
    found = world.find(REQUIRED)
    assert (found.conclusion, found.exit_code, found.summary) == (conclusion, code, summary)
    assert (found.required, [rate for rate, _ in world.made]) == (500, [500, 500])


@pytest.mark.parametrize(("third", "code"), [(TrialOutcome.HELD, 0), (TrialOutcome.BROKE, 1)])
def test_one_trial_that_fails_fails_no_gate(monkeypatch: pytest.MonkeyPatch, third: TrialOutcome, code: int) -> None:
    outcomes = iter([TrialOutcome.BROKE, TrialOutcome.HELD, third])
    found = World(monkeypatch, lambda plan: Measured(step(plan, next(outcomes), "rate"))).find(REQUIRED)
    assert found.exit_code == code


def test_an_interval_wider_than_asked_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    flakes = [200]

    def measure(plan: Plan) -> Measured:
        if plan.rate in flakes:
            flakes.remove(plan.rate)
            return Measured(step(plan, TrialOutcome.BROKE, "audit"))
        found: Measured = limited(3000)(plan)
        return found

    found = World(monkeypatch, measure).find()
    assert (found.conclusion, found.wide, found.interval.low) == (Conclusion.FOUND, True, 100)
    assert "the interval is 97% wide, not the 10% asked for" in found.summary


def test_an_interruption_ends_the_search_with_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(plan: Plan) -> Measured:
        return (
            Measured(step(plan, TrialOutcome.HELD)) if plan.rate < 400 else Measured(None, problem="SIGINT after 2.0s")
        )

    found = World(monkeypatch, measure).find()
    assert (found.conclusion, found.exit_code) == (Conclusion.UNFINISHED, 3)
    assert found.summary == "Ended early: SIGINT after 2.0s; up to then 200/s was the highest that held"


def test_a_target_that_goes_away_ends_the_search_but_at_the_first_step_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone_from = 400

    def measure(plan: Plan) -> Measured:
        if plan.rate >= gone_from:
            raise ExceptionGroup("steps run in nurseries", [TargetError("nobody there")])
        return Measured(step(plan, TrialOutcome.HELD))

    found = World(monkeypatch, measure).find()
    assert (found.conclusion, found.ended_early) == (Conclusion.UNFINISHED, "nobody there")
    gone_from = 0
    with pytest.raises(ExceptionGroup):
        World(monkeypatch, measure).find()


def test_machines_that_are_not_up_in_time_get_more_of_it_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ramps: list[float] = []

    def measure(plan: Plan) -> Measured:
        ramps.append(plan.machines / (plan.scenario.fleet.stages[0].duration_ns / 1e9 - 1))
        if len(ramps) == 2:
            return Measured(step(plan, TrialOutcome.BROKE, "onboarding"), up_share=0.4)
        return Measured(step(plan, TrialOutcome.HELD))

    World(monkeypatch, measure).find(Bounds(100, 200, 0.1))
    fast, slow = PACE_MACHINES_PER_SECOND, PACE_MACHINES_PER_SECOND * 0.28
    assert ramps == pytest.approx([fast, fast, slow, slow])


def test_a_fleet_that_never_comes_up_breaks_the_step_after_the_slowest_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda plan: Measured(step(plan, TrialOutcome.BROKE, "onboarding"), up_share=0.5))
    found = world.find()
    assert (found.conclusion, found.limit) == (Conclusion.NOTHING_HELD, "onboarding")
    assert len(world.made) == 2 * TRIES_MAX


def test_no_step_begins_after_the_longest_time_a_search_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, limited(3000))
    world.seconds = 0.0
    slow = world.make

    def make(plan: Plan, seed: int) -> Any:
        world.seconds += CAPACITY_TOTAL_MAX_SECONDS / 2
        return slow(plan, seed)

    monkeypatch.setattr(world, "make", make)
    found = world.find()
    assert found.conclusion is Conclusion.UNFINISHED
    assert len(found.steps) == 2


@pytest.mark.parametrize("edge", [99, 3000, 99_999])
def test_what_is_written_fits_the_published_schema(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edge: int) -> None:
    path = write_capacity(World(monkeypatch, limited(edge)).find(), tmp_path / "new" / "folder")
    jsonschema.validate(json.loads(path.read_bytes()), capacity_schema())
    assert [one.name for one in path.parent.iterdir()] == ["capacity.json"]
