"""Runs against targets that misbehave, many at once in one loop, each as `hatchfarm run --target` makes it."""

from __future__ import annotations

import io
import time
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import trio
from rich.console import Console

from simulator.client.patience import Patience
from simulator.contract.profiles import Profile
from simulator.history.rows import History
from simulator.history.tables import read_history, write_history
from simulator.judging.judging import judge_run
from simulator.judging.record import write_record
from simulator.judging.verdict_file import write_verdict
from simulator.limits import AUDIT_READING_MIN_SECONDS
from simulator.running import run
from simulator.running.recorded import record_of
from simulator.running.run_state import RunState
from simulator.running.terminal import show_verdict
from simulator.scenario.loading import parse_scenario
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.progress import Progress
from tests.broken_targets.proxy import Asked, Moment, misbehaving
from tests.simulator.conftest import API_TOKEN
from tests.support.alone import ThisMachine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.broken_targets.clocks import WrongClock
    from tests.broken_targets.proxy import Fault

PASS, FAIL, UNUSABLE, INCONCLUSIVE = 0, 1, 2, 3
AT_ONCE = (8, 3, 1)
"""How many runs go on at the same time: at first, and when they are played again."""
DURATION_SECONDS = 2.5
IMPATIENT = Patience(answer_seconds=1.5, policy_seconds=3.0, last_answers_seconds=0.5)
"""Waits a second where a run waits ten."""
SLACK_SECONDS = 60.0
"""For a machine that is busy with other tests."""
BOUND_SECONDS = (
    # before: health, metrics, staleness and clock, each asked again at most once, and the owners' policies
    4 * 2 * IMPATIENT.answer_seconds
    + IMPATIENT.policy_seconds
    + DURATION_SECONDS
    # after: answers under way, the last scrape, audit lists, the clock
    + IMPATIENT.last_answers_seconds
    + 2 * IMPATIENT.answer_seconds
    + 2 * AUDIT_READING_MIN_SECONDS
    + 2 * IMPATIENT.answer_seconds
    + SLACK_SECONDS
)
"""How long a run may take whatever its target does, with the waits of these tests in place of the real ones."""
BOTH_KINDS = (("replay.exact", 8), ("skew.behind", 4), ("replay.concurrent", 1))
"""Attacks of single heartbeats, and scripts."""
MORE = (
    *(("signature.forged", 4), ("nonce.burn", 2), ("skew.edge", 2), ("consent.after-revoke", 1)),
    *(("owner.header-mismatch", 2), ("rotate.no-token", 2)),
)


def scenario(attacks: tuple[tuple[str, int], ...]) -> str:
    """Write a scenario with attacks at some rates a second."""
    fleet = f"""
version = 1
name = "broken"
seed = 5
duration = "{DURATION_SECONDS}s"
metrics_interval = "500ms"
[server.settings]
RATE_LIMIT_BURST = 1000000
RATE_LIMIT_REFILL_PER_SECOND = 1000000
[fleet]
machines = 8
owners = 3
heartbeat_interval = "300ms"
stages = [{{ duration = "300ms", target = 8 }}]
"""
    return fleet + "".join(
        f'[[attacks]]\nname = "{name}"\nstart = "1s"\nduration = "1s"\nrate = {rate}\nshare = 0.4\n'
        for name, rate in attacks
    )


SCENARIO = scenario(BOTH_KINDS + MORE)
LIGHT = scenario(BOTH_KINDS)
"""For the many cases in which attacks only have to be under way."""
ROTATING = LIGHT.replace("[fleet]", '[fleet]\ncertificate_rotation = "700ms"')
"""The same with certificates that are renewed during the run, which leaves no victim for a replay."""


def everything(_asked: Asked) -> bool:
    """Mean every request."""
    return True


class Case(NamedTuple):
    """One misbehaviour, from a moment on, for some requests; what the run must end with, and what it must say."""

    name: str
    fault: Fault
    moment: Moment
    codes: tuple[int, ...]
    says: tuple[str, ...] = ()
    meant: Callable[[Asked], bool] = everything
    clock: WrongClock | None = None
    scenario: str = SCENARIO


class Ended(NamedTuple):
    """What came of a run: its exit code, all that it said, how often the fault hit, and how long it took."""

    code: int
    output: str
    hit: int
    seconds: float
    failure: Exception | None
    verdict: dict[str, Any] | None


async def run_against(url: str, folder: Path, text: str = SCENARIO, patience: Patience = IMPATIENT) -> Ended:
    """Do what the command does once its arguments are read, up to the written verdict."""
    await trio.Path(folder).mkdir()
    console = Console(file=io.StringIO(), force_terminal=False, width=1000)
    path = folder / "scenario.toml"
    request = run.RunRequest(
        parse_scenario(text), path, 5, folder, url, API_TOKEN, profile=Profile.HARDENED, patience=patience
    )
    started_at = datetime.now(UTC)  # noqa: TID251 - when this run was
    outcome = RunState(History(), Progress(), {}, url, started_at, [])
    started = time.monotonic()
    try:
        await run._work(request, outcome)
    except Exception as error:
        unusable = [str(one) for one in leaf_errors(error) if isinstance(one, run.USER_ERRORS)]
        if not unusable:
            raise
        return Ended(UNUSABLE, unusable[0], 0, time.monotonic() - started, None, None)
    took = time.monotonic() - started
    record = record_of(request, outcome)
    verdict = judge_run(record, outcome.history)
    show_verdict(console, verdict)
    write_verdict(verdict, folder / "run")
    write_record(record, folder / "run")
    write_history(outcome.history, folder / "run")
    read_history(folder / "run")
    assert isinstance(console.file, io.StringIO)
    written = msgspec.json.decode((folder / "run" / "verdict.json").read_bytes())
    return Ended(verdict.exit_code, console.file.getvalue(), 0, took, outcome.failure, written)


async def _play(case: Case, folder: Path, ended: dict[str, Ended | BaseException]) -> None:
    try:
        if case.clock is not None:
            case.clock.start_anew()
        async with misbehaving(case.fault, case.moment, case.meant, case.clock) as proxy:
            result = await run_against(proxy.url, folder, case.scenario)
            ended[case.name] = result._replace(hit=proxy.hit)
    except Exception as error:  # noqa: BLE001 - the test of this case reports it; the others go on
        ended[case.name] = error


def play_all(cases: list[Case], folder: Path) -> dict[str, Ended | BaseException]:
    """Play every case, some at once; gives what came of each by its name.

    On a busy machine a run may not get to where its case needs it within its few seconds. So what did not end as it
    must is played again, with less beside it and nobody else testing; what is really wrong goes wrong each time.
    """
    ended: dict[str, Ended | BaseException] = {}

    async def play(again: list[Case], at_once: int, folder: trio.Path) -> None:
        await folder.mkdir()
        limiter = trio.CapacityLimiter(at_once)

        async def one(case: Case, number: int) -> None:
            async with limiter:
                await _play(case, Path(folder / str(number)), ended)

        async with trio.open_nursery() as nursery:
            for number, case in enumerate(again):
                nursery.start_soon(one, case, number)

    for at_once in AT_ONCE:
        again = [case for case in cases if case.name not in ended or not _ended_well(case, ended[case.name])]
        if again:
            with ThisMachine.alone() if ended else nullcontext():
                trio.run(play, again, at_once, trio.Path(folder / str(at_once)))
    return ended


def _ended_well(case: Case, result: Ended | BaseException) -> bool:
    try:
        assert_ended_well(case, result)
    except Exception:  # noqa: BLE001 - the test of this case reports what it is
        return False
    return True


def assert_ended_well(case: Case, result: Ended | BaseException) -> None:
    """See that a run ended in time, with the right exit code, told why, and met no fault of the harness itself."""
    if isinstance(result, BaseException):
        raise result
    assert result.hit, "the fault never hit"
    assert result.failure is None
    assert "fault of" not in result.output
    assert "crashed" not in result.output
    assert "Traceback" not in result.output
    assert result.seconds < BOUND_SECONDS
    assert result.code in case.codes, result.output
    for words in case.says:
        assert words in result.output
    assert (result.verdict is None) == (result.code == UNUSABLE)
    if result.code == UNUSABLE:
        assert "\n" not in result.output
