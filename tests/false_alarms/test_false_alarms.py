"""A server that is right is never accused, whatever the circumstances: a run may not know, and then says why."""

from __future__ import annotations

import tomllib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from reference_server.about import setting_names, settings_problem
from simulator.scenario.loading import parse_scenario
from simulator.scenario.server_problems import ServerSettings
from tests.false_alarms.drawing import DRAWN, FILES, Circumstance, Proxy, drawn_run
from tests.false_alarms.runs import (
    INCONCLUSIVE,
    PASS,
    RUNS_IN_ALL,
    SAMPLE,
    Ended,
    accusations,
    make_runs,
    wanted_batches,
)

if TYPE_CHECKING:
    from pathlib import Path

HARNESS = {"generator", "reach", "attacks"}
"""What says that this machine was too busy: it sent late, was answered late, or ended before an attack had."""


IN_TIME_SHARE_MIN, UNKNOWING_SHARE_MAX = 0.2, 0.25
"""Of plain runs, those in which the harness was not late itself; of these, those that do not know. Other tests may be
running beside them, on a machine that is busy besides."""


def knows(ended: Ended) -> bool:
    """Return whether every checker of the server knows what it is to say, of a fleet that was heard."""
    return ended.doubts().keys() <= HARNESS and bool(ended.verdict["requests"]["heartbeats_accepted"])


@pytest.mark.parametrize("numbers", wanted_batches(), ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_no_run_accuses_a_server_that_is_right(numbers: range, tmp_path: Path) -> None:
    """Each of these is made again by `python -m tests.false_alarms.runs NUMBER`."""
    made = make_runs([drawn_run(number) for number in numbers], tmp_path)
    accused = [
        f"{run.name}: {'; '.join(found)}\n{run.scenario}\n{ended.printed}"
        for run, ended in made
        if (found := accusations(ended))
    ]
    assert not accused, f"{len(accused)} of {len(made)} runs accuse a right server:\n" + "\n\n".join(accused)
    # A harness that never knows would never be wrong either. Where it says that it was late itself others follow.
    plain = [(run.name, ended) for run, ended in made if run.circumstance is Circumstance.PLAIN]
    in_time = [(name, ended) for name, ended in plain if "generator" not in ended.doubts()]
    assert len(in_time) >= IN_TIME_SHARE_MIN * len(plain)
    unknowing = [(name, ended.doubts()) for name, ended in in_time if not knows(ended)]
    assert len(unknowing) <= UNKNOWING_SHARE_MAX * len(in_time), unknowing


SHOWN = 240
"""Runs whose drawing is looked into."""


def test_runs_are_drawn_from_every_circumstance_and_are_the_same_each_time() -> None:
    every = [drawn_run(number) for number in range(SHOWN)]
    assert [drawn_run(number) for number in range(SAMPLE)] == every[:SAMPLE]
    assert Counter(run.circumstance for run in every) == dict.fromkeys(Circumstance, SHOWN // 4)
    for circumstance, proxies in {
        Circumstance.PLAIN: {Proxy.NONE},
        Circumstance.PROXY: {Proxy.PORT, Proxy.TRANSPARENT, Proxy.POOL},
        Circumstance.STALLED: {Proxy.NONE, Proxy.SLOW},
        Circumstance.BUSY: {Proxy.NONE},
    }.items():
        chosen = [run for run in every if run.circumstance is circumstance]
        assert {run.proxy for run in chosen} == proxies
        assert all(run.pauses for run in chosen) == (circumstance is Circumstance.STALLED)
        assert len({run.scenario for run in chosen}) > len(chosen) * 0.8
    kinds = Counter(run.kind for run in every)
    assert all(kinds[path.stem] for path in FILES)
    drawn = [tomllib.loads(run.scenario) for run in every]
    assert len({one["name"] for run in drawn for one in run.get("attacks", ())}) > 50
    assert {"server.kill", "server.restart", "server.pause", "disk.full", "redis.down", "redis.pause"} == {
        one["kind"] for run in drawn for one in run.get("faults", ())
    }


@pytest.mark.parametrize("number", range(0, RUNS_IN_ALL, 7))
def test_what_is_drawn_is_a_scenario(number: int) -> None:
    run = drawn_run(number)
    scenario = parse_scenario(run.scenario, ServerSettings(setting_names(), settings_problem))
    assert scenario.duration_ns <= (8 if run.kind.startswith(DRAWN) else 20) * 1_000_000_000


WHY = "The harness could not keep its schedule."


def ended_with(code: int, status: str = "pass", why: str = "", *, reported: bool = True, **changed: Any) -> Ended:
    verdict = {
        "checkers": [{"name": "alerts", "status": status, "summary": why}],
        "thresholds": [{"name": "audit.errors: count==0", "status": "pass", "summary": "0"}],
        "interrupted": None,
        "requests": {"heartbeats_accepted": 5},
    }
    return Ended(code, verdict | changed, f"a table: {why}." if reported else "")


@pytest.mark.parametrize("right", [ended_with(PASS), ended_with(INCONCLUSIVE, "inconclusive", WHY)])
def test_passing_and_saying_why_not_are_no_accusations(right: Ended) -> None:
    assert not accusations(right)


def test_knowing_nothing_is_noticed() -> None:
    assert knows(ended_with(PASS))
    assert not knows(ended_with(INCONCLUSIVE, "inconclusive", WHY))
    assert not knows(ended_with(PASS, requests={"heartbeats_accepted": 0}))


@pytest.mark.parametrize(
    ("wrong", "output"),
    [
        (ended_with(1, "fail", "3 proven errors"), "exit code 1"),
        (ended_with(2), "exit code 2"),
        (Ended(PASS, {}, ""), "exit code 0"),
        (ended_with(INCONCLUSIVE, "fail", "3 proven errors"), "accused by alerts"),
        (ended_with(INCONCLUSIVE), "nothing says why"),
        (ended_with(INCONCLUSIVE, "inconclusive", ""), "no reason"),
        (ended_with(INCONCLUSIVE, "inconclusive", "The checker crashed: KeyError"), "no reason"),
        (ended_with(INCONCLUSIVE, "inconclusive", WHY, reported=False), "not told"),
        (ended_with(INCONCLUSIVE, "inconclusive", WHY, interrupted="SIGINT after 2s"), "interrupted"),
        (ended_with(PASS, requests={"heartbeats_accepted": 0}), "no heartbeat"),
    ],
)
def test_an_accusation_or_a_doubt_without_its_reason_is_noticed(wrong: Ended, output: str) -> None:
    assert output in " ".join(accusations(wrong))
