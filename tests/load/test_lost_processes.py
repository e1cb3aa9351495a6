"""Processes of a conducted run that die: what goes on without them, and that nothing outlives the run."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Hatchfarm
from tests.load.conducted import MACHINES, Over, Run, alive, conducted, plain
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SOON_SECONDS = 120.0
"""For what happens at once on a machine that has nothing else to do, and within a second on one that has."""
END_SECONDS = 180.0
"""For the end of a run: last answers, a last look at the target, and the reports."""
ENDLESS = plain("10m")
LASTS_SECONDS = (12, 80, 320)
"""Long enough for what is done to a run that must end by itself; where a machine was too busy for that, the next."""


@pytest.fixture
def hatchfarm(tmp_path: Path) -> Hatchfarm:
    return Hatchfarm(tmp_path)


async def test_a_run_goes_on_without_lost_workers_and_shards_to_its_end_and_says_since_when_what_is_unknown(
    hatchfarm: Hatchfarm,
) -> None:
    """One of three workers is killed, then the shard of another: their machines come back at those who are left.

    A machine that moves is a new one to the server, as every shard numbers its own: so it sees how many have moved.
    """
    for lasts_seconds in LASTS_SECONDS:
        try:
            run = await _without_a_worker_and_a_shard(hatchfarm, lasts_seconds)
        except Over:
            continue
        break
    else:
        pytest.fail("every run was over before all was done to it")
    assert run.err == ""
    verdict = hatchfarm.verdict(scenario="conducted")
    assert (verdict["status"], verdict["interrupted"]) == ("inconclusive", None)
    assert verdict["duration_s"] > lasts_seconds - 1.5
    first, second = verdict["warnings"]
    assert re.fullmatch(r"a worker was lost after [0-9.]+s: Locust hears from it no more", first)
    assert re.fullmatch(r"a worker was lost after [0-9.]+s: the shard died with exit code -9", second)
    checkers = {one["name"]: one for one in verdict["checkers"]}
    for name in ("alerts", "replay", "limits", "answers"):
        assert checkers[name]["status"] == "inconclusive"
        assert "played by the processes that were lost, sent from" in checkers[name]["summary"]
        (finding,) = checkers[name]["findings"]
        assert len(finding["evidence"]["parts"]) == 4  # two workers, each with its shard's machines and its owners
        assert finding["at_ns"] == min(one["known_until_ns"] for one in finding["evidence"]["parts"])
    assert checkers["statistics"]["status"] in {"pass", "inconclusive"}


async def _without_a_worker_and_a_shard(hatchfarm: Hatchfarm, lasts_seconds: int) -> Run:
    """Lose one of three workers, and then another's shard, and let the run come to its end. Raises Over."""
    async with conducted(hatchfarm, plain(f"{lasts_seconds}s"), "--workers", "3") as run:
        await run.until_at_work()
        master, server = run.master, run.server
        killed, bereft, stays = run.workers
        shards = {worker: run.shard_of(worker) for worker in (killed, bereft, stays)}

        killed.kill()
        await until(lambda: not alive([shards[killed]]), seconds_max=SOON_SECONDS)
        known = await run.machines_once_at_work_on({shards[bereft], shards[stays]})
        assert known in {MACHINES + 6, MACHINES + 7}  # it had a third

        shards[bereft].kill()
        await until(lambda: not alive([bereft]), seconds_max=SOON_SECONDS)
        assert await run.machines_once_at_work_on({shards[stays]}) == known + MACHINES // 2
        assert len(alive([stays, shards[stays], master, server])) == 4

        assert await run.end() == 3
        await run.nothing_is_left(SOON_SECONDS)
    return run


async def test_without_its_master_a_run_ends_soon_with_what_is_known_and_leaves_nothing(hatchfarm: Hatchfarm) -> None:
    async with conducted(hatchfarm, ENDLESS, "--workers", "2") as run:
        await run.until_at_work()
        shards = [run.shard_of(worker) for worker in run.workers]
        run.master.kill()
        assert await run.end(END_SECONDS) == 3
        assert len(alive(shards)) == 0
        await run.nothing_is_left(SOON_SECONDS)
    assert run.err == ""
    verdict = hatchfarm.verdict(scenario="conducted")
    assert verdict["interrupted"].startswith("Locust's master ended with exit code -9")
    assert verdict["requests"]["heartbeats_accepted"] >= MACHINES
    alerts = next(one for one in verdict["checkers"] if one["name"] == "alerts")
    assert len(alerts["findings"][0]["evidence"]["parts"]) == 4


async def test_a_conductor_that_is_killed_leaves_no_locust_no_shard_and_no_server(hatchfarm: Hatchfarm) -> None:
    async with conducted(hatchfarm, ENDLESS, "--workers", "2") as run:
        await run.until_at_work()
        shards = [run.shard_of(worker) for worker in run.workers]
        assert len(alive([*shards, *run.workers, run.master, run.server])) == 6
        run.process.send_signal(signal.SIGKILL)
        assert await run.end() == -9
        await run.nothing_is_left(2 * SOON_SECONDS)


async def test_without_any_worker_a_run_ends_in_order_and_says_that_none_is_left(hatchfarm: Hatchfarm) -> None:
    async with conducted(hatchfarm, ENDLESS, "--workers", "2") as run:
        await run.until_at_work()
        for worker in run.workers:
            worker.terminate()
        assert await run.end(END_SECONDS) == 3
        await run.nothing_is_left(SOON_SECONDS)
    assert run.err == ""
    verdict = hatchfarm.verdict(scenario="conducted")
    assert re.fullmatch(r"Locust ended the test after [0-9.]+s: no worker was left", verdict["interrupted"])
    assert len(verdict["checkers"][0]["findings"][0]["evidence"]["parts"]) == 4
