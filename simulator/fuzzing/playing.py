"""Playing one drawn scenario in virtual time with every checker on, and the result of the run."""

from __future__ import annotations

import gc
import io
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console

from simulator.checkers.verdict import Status
from simulator.fuzzing.coverage import states_of
from simulator.judging.judging import judge_run
from simulator.limits import FUZZ_COLLECTED_RUNS
from simulator.running.recorded import origin_of, record_of
from simulator.running.run import RunRequest
from simulator.running.virtual import play_virtually
from simulator.scenario.loading import parse_scenario
from simulator.traces.recording import Recording
from simulator.worlds.harness_failure import leaf_errors

if TYPE_CHECKING:
    from simulator.running.run_state import RunState
    from simulator.traces.tape import Tape
    from simulator.traces.writing import Origin

_runs = count(1)
"""Numbers the runs of this process, to collect garbage every few runs: each run resets the counters of Python's
collector (`seldom_collected`), which would never collect reference cycles by itself."""
CRASHED = "run.crashed"
"""The rule of a run that ended by an unexpected exception of the harness or of the server in it."""


class Failure(msgspec.Struct, frozen=True):
    """A failed checker of a run, with the rule and the message of its first finding."""

    checker: str
    rule: str
    message: str

    @property
    def kind(self) -> tuple[str, str]:
        """Return checker and rule, which two failures by the same bug have in common."""
        return self.checker, self.rule

    def __str__(self) -> str:
        return f"{self.checker}: {self.message} [{self.rule}]"


class Doubt(msgspec.Struct, frozen=True):
    """Why a run was undecided: the name of an inconclusive checker or threshold, and its explanation."""

    checker: str
    why: str


class Played(msgspec.Struct, frozen=True):
    """The result of playing a scenario: its failures, causes first, and the states that it reached."""

    failures: tuple[Failure, ...]
    states: frozenset[str]
    requests: int
    interrupted: bool = False
    """Whether a signal ended the run."""
    undecided: bool = False
    """Whether the verdict is inconclusive."""
    doubts: tuple[Doubt, ...] = ()
    """The reasons, if the run is undecided."""


class UnplayableError(Exception):
    """Raised when a scenario cannot be played at all, for example because the target is gone; the message says why."""


class Recorded(msgspec.Struct, frozen=True):
    """Every exchange of a run, the origin of the recording, and the token that the owners used."""

    tape: Tape
    origin: Origin
    token: str


def play_text(text: str) -> Played:
    """Play the scenario in `text` with its own seed, and judge the run. Raises ScenarioError if it is invalid."""
    try:
        return judged(*_played(text, Recording.NOTHING))
    finally:
        if not next(_runs) % FUZZ_COLLECTED_RUNS:
            gc.collect()


def record_text(text: str) -> Recorded | None:
    """Play the scenario in `text` again and return its exchanges; None if the run crashes or has no recording."""
    request, outcome = _played(text, Recording.REDACTED)
    if isinstance(outcome, Exception) or outcome.tape is None:
        return None
    return Recorded(outcome.tape, origin_of(request, outcome), request.token)


def _played(text: str, record: Recording) -> tuple[RunRequest, RunState | Exception]:
    scenario = parse_scenario(text)
    request = RunRequest(
        scenario, Path(f"{scenario.name}.toml"), scenario.seed, Path(), None, "", reports=False, virtual=True,
        record=record,
    )  # fmt: skip
    try:
        return play_virtually(request, Console(file=io.StringIO(), quiet=True))
    except Exception as error:  # noqa: BLE001 - any exception of a run is a failure that the search looks for
        return request, error


def judged(request: RunRequest, outcome: RunState | Exception) -> Played:
    """Judge a run, or the exception that ended it, and return the result."""
    if isinstance(outcome, Exception):
        return Played((_crash(outcome),), frozenset(), 0)
    if outcome.failure is not None:
        return Played((_crash(outcome.failure),), frozenset(), len(outcome.history))
    verdict = judge_run(record_of(request, outcome), outcome.history)
    failures = tuple(
        Failure(
            one.name,
            one.findings[0].rule if one.findings else "",
            one.findings[0].message if one.findings else one.summary,
        )
        for one in verdict.checkers
        if one.status is Status.FAIL
    )
    undecided = verdict.status is Status.INCONCLUSIVE
    checked = (*verdict.checkers, *verdict.thresholds) if undecided else ()
    doubts = tuple(Doubt(one.name, one.summary) for one in checked if one.status is Status.INCONCLUSIVE)
    states = states_of(outcome.history, verdict)
    return Played(
        failures,
        states,
        len(outcome.history),
        interrupted=outcome.interrupted is not None,
        undecided=undecided,
        doubts=doubts,
    )


def _crash(error: Exception) -> Failure:
    first = next(iter(leaf_errors(error)))
    return Failure("whole run", f"{CRASHED}.{type(first).__name__}", f"{type(first).__name__}: {first}")
