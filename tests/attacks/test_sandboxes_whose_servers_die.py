"""A server that an attack has to itself and that ends by itself is out, whatever its attack was doing just then."""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from simulator.attacks.script import PrerequisiteError, SandboxOptions
from simulator.checkers.facts import Facts
from simulator.checkers.outage import check_outage
from simulator.checkers.verdict import Status
from simulator.deployment.sandbox import open_sandbox
from simulator.deployment.server_watch import SandboxGauges, ServerWatch
from simulator.history.rows import History
from simulator.platform.ending import Ending
from simulator.scenario.values import ServerOptions
from simulator.worlds.players.scripts import play_watched
from tests.simulator.conftest import API_TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from simulator.deployment.sandbox import Sandbox

OWN = "a server of replay.after-restart's own"


async def waits() -> None:
    await trio.sleep_forever()


async def ends() -> None:
    await trio.lowlevel.checkpoint()


async def fails() -> None:
    raise ProcessLookupError


async def cannot_go_on() -> None:
    raise PrerequisiteError("a step was not answered")


async def played(before: Callable[[Sandbox], Any], after: Callable[[], Awaitable[None]], watch: ServerWatch) -> Any:
    async def play(sandbox: Sandbox) -> None:
        await trio.lowlevel.checkpoint()
        result = before(sandbox)
        if result is not None:
            await result
        await after()

    opening = open_sandbox(SandboxOptions(instances=2), ServerOptions(), API_TOKEN, watch, Ending())
    return await play_watched(opening, watch, play)


def kill(sandbox: Sandbox) -> None:
    process = sandbox._servers[0]._running()
    os.kill(process.pid, signal.SIGSEGV)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("after", [waits, ends, fails, cannot_go_on])
def test_one_that_died_is_an_outage_of_its_own(after: Callable[[], Awaitable[None]]) -> None:
    history, watch = History(), ServerWatch(SandboxGauges(0), OWN)
    unmet = trio.run(played, kill, after, watch)
    assert isinstance(unmet, PrerequisiteError)
    history.deaths += watch.deaths
    verdict = check_outage(history, Facts(10, 20, 3, {}))
    assert verdict.status is Status.FAIL
    (finding,) = verdict.findings
    assert finding.rule == "outage.server-died"
    assert finding.message.startswith(f"{OWN} ended by itself between")
    assert "SIGSEGV" in finding.message


@pytest.mark.parametrize("kind", ["server.kill", "server.restart"])
def test_one_that_the_attack_ended_is_none(kind: str) -> None:
    async def fault(sandbox: Sandbox) -> None:
        await sandbox.begin_fault(kind, 0)
        await watch.look()
        await sandbox.end_fault(kind, 0)

    watch = ServerWatch(SandboxGauges(0), OWN)
    assert trio.run(played, fault, ends, watch) is None
    assert not watch.deaths


def test_what_an_attack_fails_by_is_no_death() -> None:
    with pytest.RaisesGroup(ProcessLookupError, flatten_subgroups=True):
        trio.run(played, lambda _: None, fails, ServerWatch(SandboxGauges(0), OWN))
    watch = ServerWatch(SandboxGauges(0), OWN)
    unmet = trio.run(played, lambda _: None, cannot_go_on, watch)
    assert str(unmet) == "a step was not answered"
    assert not watch.deaths


def test_instances_that_are_started_on_the_way_are_watched_too() -> None:
    async def start(sandbox: Sandbox) -> None:
        await sandbox.start_other_instances()
        assert len(watch._watched) == 2

    watch = ServerWatch(SandboxGauges(0), OWN)
    assert trio.run(played, start, ends, watch) is None
    assert not watch.deaths


class StopNowError(BaseException):
    """What ends an attempt at once, as the end of a run does."""


class InMemory:
    """A server that runs until its sandbox is closed."""

    words = ""
    memory_peak_bytes = None
    exit_code: int | None = None

    @property
    def ended_by_itself(self) -> bool:
        return self.exit_code is not None


def test_one_that_is_ended_while_somebody_looks_is_no_death() -> None:
    """Who has waited for its turn to look, and gets it just as the attempt ends, looks at a server that is ending."""
    watch, server = ServerWatch(SandboxGauges(0), OWN), InMemory()
    watch.add_watchable(server)

    @asynccontextmanager
    async def opening() -> AsyncIterator[Any]:
        try:
            yield None
        finally:
            server.exit_code = 0
            await trio.testing.wait_all_tasks_blocked()

    async def play(_: Any) -> None:
        async with watch._looking:
            await trio.testing.wait_all_tasks_blocked()
            assert watch._looking.statistics().tasks_waiting == 1
        raise StopNowError

    with pytest.RaisesGroup(StopNowError):
        trio.run(play_watched, opening(), watch, play)
    assert not watch.deaths
