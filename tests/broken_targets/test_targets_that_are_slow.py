"""Targets that answer rightly but late, all of the time or once: what waits for them is theirs, and is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.broken_targets.proxy import Asked, Moment
from tests.broken_targets.runs import FAIL, PASS, Case, assert_ended_well, play_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.broken_targets.proxy import Fault, Talk

SLOW_SECONDS = 1.35
"""Almost two intervals of a machine, and less than a client waits: its next start is late by more than 0.5 s."""
STALL_SECONDS = 1.0


def scenario(name: str, interval: str, thresholds: str) -> str:
    """Write a scenario of twelve machines for five seconds."""
    return f"""
version = 1
name = "{name}"
seed = 5
duration = "5s"
[server.settings]
RATE_LIMIT_BURST = 1000000
RATE_LIMIT_REFILL_PER_SECOND = 1000000
[fleet]
machines = 12
owners = 2
heartbeat_interval = "{interval}"
stages = [{{ duration = "200ms", target = 12 }}]
[thresholds]
{thresholds}
"""


def heartbeats(asked: Asked) -> bool:
    """Mean heartbeats."""
    return asked.path.endswith("/heartbeat")


def slow_now_and_then() -> Fault:
    """Answer one heartbeat in twenty late."""

    async def fault(talk: Talk) -> bool:
        talk.memory["count"] = talk.memory.get("count", 0) + 1
        if talk.memory["count"] % 20 == 7:
            await trio.sleep(SLOW_SECONDS)
        await talk.stream.send_all(await talk.real())
        return True

    return fault


def stands_still_once() -> Fault:
    """Answer nothing for a while, and then everything."""

    async def fault(talk: Talk) -> bool:
        await trio.sleep_until(talk.memory.setdefault("over", trio.current_time() + STALL_SECONDS))
        await talk.stream.send_all(await talk.real())
        return True

    return fault


CASES = [
    Case(
        "one answer in twenty is slow", slow_now_and_then(), Moment.CHECK, (PASS,), ("The harness kept its schedule",),
        heartbeats, scenario=scenario("slow", "700ms", '"heartbeat.response_time" = ["p(90)<1s"]'),
    ),
    Case(
        "it stands still once", stands_still_once(), Moment.RUNNING, (FAIL,),
        ("heartbeat.response_time: p(93)<250ms", "The harness kept its schedule"), heartbeats,
        scenario=scenario("stall", "100ms", '"heartbeat.response_time" = ["p(93)<250ms"]'),
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Play them all, at the same time."""
    folder: Path = tmp_path_factory.mktemp("slow") / "runs"
    folder.mkdir()
    return dict(play_all(CASES, folder))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_slow_target_is_judged_by_what_it_held_up(ended: dict[str, object], case: Case) -> None:
    assert_ended_well(case, ended[case.name])  # type: ignore[arg-type]
