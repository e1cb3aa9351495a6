"""Faults happen on time, one after the other, and are mended whatever happens to the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from reference_server.wire.units import SECOND_NS
from simulator.attacks.script import SandboxOptions
from simulator.client.target import Target
from simulator.commands.cli import app
from simulator.deployment.own import Deployment
from simulator.deployment.sandbox import obstacle_to
from simulator.deployment.server_process import ServerError
from simulator.history.rows import History
from simulator.scenario.loading import parse_scenario
from simulator.scenario.values import ServerOptions
from simulator.worlds.players.fault_player import FaultPlayer
from simulator.worlds.progress import Progress
from tests.simulator.conftest import API_TOKEN
from tests.support.invoking import invoke

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

START_SECONDS = 0.25
"""How long the stand-in takes to start."""
FAULT = '[[faults]]\nkind = "{}"\nat = "{}s"\n'
TARGET = Target("http", "127.0.0.1", 1, "127.0.0.1", API_TOKEN, own_addresses=False)


class StandIn:
    """Notes what is done to a process, and when; what `at_once` names has nothing to wait for."""

    def __init__(self, problem: str = "", at_once: frozenset[str] = frozenset({"fill_disk"})) -> None:
        self.done: list[tuple[str, float]] = []
        self._problem = problem
        self._at_once = at_once

    def __getattr__(self, name: str) -> Callable[[], Any]:
        def note() -> Any:
            self.done.append((name, trio.current_time()))
            return None if name in self._at_once else self._wait(name)

        return note

    async def _wait(self, name: str) -> None:
        if name == "start":
            await trio.sleep(START_SECONDS)
            if self._problem:
                raise ServerError(self._problem)


class Stage:
    """A run's faults on stand-ins, by a clock that moves on when everybody waits."""

    def __init__(self, *faults: tuple[str, float, float], problem: str = "", server: str = "redis = true") -> None:
        text = f'version = 1\nname = "f"\nduration = "60s"\n[fleet]\nmachines = 1\nowners = 1\n[server]\n{server}\n'
        for kind, at, length in faults:
            text += FAULT.format(kind, at) + (f'duration = "{length}s"\n' if length else "")
        self.server, self.redis = StandIn(problem), StandIn(at_once=frozenset({"pause", "resume"}))
        self.history, self.progress = History(), Progress()
        deployment = Deployment((cast("Any", self.server),), cast("Any", self.redis))
        self.player = FaultPlayer(parse_scenario(text), deployment, TARGET, self.history, self.progress)

    async def play(self) -> None:
        """Play to the end, and count from the start."""
        start = trio.current_time()
        await self.player.play(lambda: round((trio.current_time() - start) * SECOND_NS))
        for stand_in in (self.server, self.redis):
            stand_in.done = [(name, round(at - start, 3)) for name, at in stand_in.done]


async def test_each_fault_happens_on_time_and_lasts_as_long_as_it_should(autojump_clock: MockClock) -> None:
    del autojump_clock
    stage = Stage(("server.pause", 8, 1.5), ("server.kill", 5, 0), ("server.restart", 12, 2), ("redis.down", 5, 3))
    await stage.play()
    assert stage.server.done == [
        ("kill", 5.0),
        ("start", 5.0),
        ("pause", 8.0),
        ("resume", 9.5),
        ("stop", 12.0),
        ("start", 14.0),
    ]
    assert stage.redis.done == [("kill", 5.0), ("start", 8.0)]


async def test_the_history_says_between_which_moments_each_began_and_was_over(autojump_clock: MockClock) -> None:
    del autojump_clock
    stage = Stage(("server.kill", 5, 1), ("redis.flush", 7, 0))
    await stage.play()
    kill, flush = stage.history.faults
    assert (kill.kind, kill.began_from_ns, kill.began_to_ns) == ("server.kill", 5 * SECOND_NS, 5 * SECOND_NS)
    assert (kill.ended_from_ns, kill.ended_to_ns) == (6 * SECOND_NS, round(6.25 * SECOND_NS))
    assert (flush.began_from_ns, flush.ended_to_ns) == (7 * SECOND_NS, 7 * SECOND_NS)


@pytest.mark.parametrize(
    ("server", "refused_for"),
    [
        ("redis = true\ndurable = true", [174.75, 0, 169.75]),
        ("redis = true", [0, 0, 0]),
        ("durable = true", [0, 0]),
        ("redis = true\ninstances = 2", [0, 0, 0]),
    ],
)
async def test_a_server_that_comes_back_with_machines_beside_a_young_redis_may_refuse_until_that_is_older(
    autojump_clock: MockClock, server: str, refused_for: list[float]
) -> None:
    """It cannot tell what of theirs was accepted before. Instances that share all they know can."""
    del autojump_clock
    faults = (("server.kill", 5, 0), ("redis.down", 7, 1), ("server.restart", 10, 0))
    stage = Stage(*(one for one in faults if "redis" in server or one[0] != "redis.down"), server=server)
    await stage.play()
    ordered = sorted(stage.history.faults, key=lambda one: one.began_from_ns)
    assert [one.refused_for_ns / SECOND_NS for one in ordered] == refused_for


async def test_faults_of_one_process_wait_for_each_other_and_others_do_not(autojump_clock: MockClock) -> None:
    del autojump_clock
    stage = Stage(("server.kill", 5, 0), ("server.kill", 5.1, 0), ("redis.pause", 5.1, 1))
    await stage.play()
    assert [at for _, at in stage.server.done] == [5.0, 5.0, 5.25, 5.25]
    assert stage.redis.done == [("pause", 5.1), ("resume", 6.1)]


async def test_what_a_cancelled_run_has_disturbed_is_mended(autojump_clock: MockClock) -> None:
    del autojump_clock
    stage = Stage(("server.pause", 5, 20), ("redis.down", 5, 20))
    with trio.move_on_after(10):
        await stage.play()
    assert [name for name, _ in stage.server.done] == ["pause", "resume"]
    assert [name for name, _ in stage.redis.done] == ["kill", "start"]
    assert len(stage.history.faults) == 2


async def test_a_server_that_does_not_come_up_again_is_noted_and_nothing_is_raised(autojump_clock: MockClock) -> None:
    del autojump_clock
    stage = Stage(("server.kill", 5, 0), problem="the server did not start: it is torn")
    await stage.play()
    assert [one.problem for one in stage.history.faults] == ["the server did not start: it is torn"]


def test_faults_of_a_target_that_the_run_did_not_start_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faulty.toml"
    text = 'version = 1\nname = "f"\nduration = "9s"\n[fleet]\nmachines = 1\nowners = 1\n'
    path.write_text(text + FAULT.format("server.kill", 1), encoding="utf-8")
    result = invoke(app, ["run", str(path), "--target", "http://127.0.0.1:1", "--token", API_TOKEN])
    assert result.exit_code == 2
    assert "the scenario's faults (server.kill) happen to processes that the run has started itself" in result.stderr
    assert "leave --target away" in result.stderr


@pytest.mark.parametrize(
    ("allowed", "on_path", "redis", "says"),
    [
        (True, True, True, ""),
        (True, False, False, ""),
        (True, False, True, "it needs redis-server on the PATH"),
        (False, True, False, "it needs servers of the run's own"),
    ],
)
def test_an_attack_that_needs_servers_of_its_own_says_what_is_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
    allowed: bool,  # noqa: FBT001 - a parameter
    on_path: bool,  # noqa: FBT001
    redis: bool,  # noqa: FBT001
    says: str,
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin" if on_path else "/nowhere")
    obstacle = obstacle_to(SandboxOptions(redis=redis), ServerOptions(), allowed=allowed)
    assert obstacle.startswith(says)
    assert bool(obstacle) == bool(says)
