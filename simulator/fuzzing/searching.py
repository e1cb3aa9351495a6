"""The search: rounds of seeds, drawn by the coverage of the rounds before, until a round has a failure.

All scenarios of a round are drawn before any of them is played, so they depend on the range of seeds alone, and not on
how many processes play at once.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from simulator.fuzzing.coverage import Coverage
from simulator.fuzzing.documents import Document, as_toml
from simulator.fuzzing.drawing import Drawing
from simulator.fuzzing.playing import Failure, Played, UnplayableError, play_text
from simulator.fuzzing.shrinking import shrink
from simulator.limits import FUZZ_ROUND_SEEDS, FUZZ_UNDECIDED_MAX, SHRINK_TRIES_MAX
from simulator.platform.interruptions import ignore_blocked_signals, stop_signals_blocked
from simulator.scenario.loading import ScenarioError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from simulator.fuzzing.drawing import Drawn
    from simulator.fuzzing.playing import Doubt

    Play = Callable[[Iterable[str]], Iterator[Played]]


class Found(msgspec.Struct, frozen=True):
    """A failing scenario, as drawn and after shrinking, and the failures of the smallest one."""

    seed: int
    failures: tuple[Failure, ...]
    drawn: Document
    smallest: Document
    tries: int

    @property
    def cause(self) -> Failure:
        """Return the first failure: causes come before the failures that they explain."""
        return self.failures[0]


class Search(msgspec.Struct):
    """The state of a search: its coverage, its counts so far, and the failure found, if any."""

    seeds: range
    coverage: Coverage = msgspec.field(default_factory=Coverage)
    played: int = 0
    requests: int = 0
    news: int = 0
    """The number of states that the last round was the first to reach."""
    failing: list[int] = []
    """The failing seeds of the round that ended the search."""
    interrupted: bool = False
    found: Found | None = None
    failed: int = 0
    """The number of played scenarios that failed."""
    undecided: int = 0
    """The number of played scenarios with an inconclusive verdict."""
    undecided_by: Counter[str] = msgspec.field(default_factory=Counter)
    """For each checker or threshold that was inconclusive, in how many scenarios."""
    doubts: list[tuple[int, tuple[Doubt, ...]]] = []
    """The seeds of the first `FUZZ_UNDECIDED_MAX` undecided scenarios, and why each is undecided."""
    problem: str = ""
    """The reason if no further scenario could be played."""


class Way(NamedTuple):
    """How a search draws a scenario, how many it draws in a round, and how it shrinks a failing one."""

    draw: Callable[[int, Callable[[str], float]], Drawn]
    round_seeds: int
    make_small: Callable[..., Found]


class _Player(SpawnProcess):
    """A process that its pool terminates by SIGKILL, as after another one crashed: it ignores stop signals."""

    terminate = SpawnProcess.kill


class _Players(SpawnContext):
    Process = _Player


@contextmanager
def players(jobs: int) -> Iterator[Play]:
    """Yield a function that plays the texts of scenarios and yields the results in their order.

    It plays in this process if `jobs` is 1, and in `jobs` other processes otherwise. It raises UnplayableError if one
    of these crashed or was killed.
    """
    if jobs == 1:
        yield lambda texts: map(play_text, texts)
        return
    # A stop signal interrupts the run under way, whose result says so; between runs only this process handles it.
    with stop_signals_blocked():  # Python's resource tracker starts here, and SIGHUP would kill it
        pool = ProcessPoolExecutor(jobs, _Players(), ignore_blocked_signals)

    def play(texts: Iterable[str]) -> Iterator[Played]:
        try:
            with stop_signals_blocked():  # this starts the processes, which take a while to load
                results = pool.map(play_text, texts)
            yield from results
        except BrokenProcessPool:
            why = "one of the processes that play crashed or was killed, as for a lack of memory: try fewer --jobs"
            raise UnplayableError(why) from None

    try:
        yield play
    finally:
        pool.shutdown(cancel_futures=True)


def search(
    state: Search,
    play: Play,
    goes_on: Callable[[], bool],
    stopped: Callable[[], bool],
    look: Callable[[], object],
    way: Way | None = None,
) -> None:
    """Play the seeds of `state` until one fails, and shrink the scenario that failed; results are in `state`.

    `goes_on` is called before each round and returns whether there is time for it, `stopped` returns whether a stop
    signal came, and `look` is called after each scenario and before each run that shrinks. Scenarios play in virtual
    time unless another `way` is given.
    """
    draw, round_seeds, shrinks = way or Way(_draw, FUZZ_ROUND_SEEDS, make_small)
    for start in range(state.seeds.start, state.seeds.stop, round_seeds):
        if not goes_on():
            return
        drawn = {
            seed: draw(seed, state.coverage.weigh) for seed in range(start, min(start + round_seeds, state.seeds.stop))
        }
        failed = _play_round(state, play, drawn, stopped, look)
        if failed:
            state.failing = [*failed]
            seed, played = next(iter(failed.items()))
            state.found = shrinks(seed, drawn[seed].document, played.failures, stopped, look)
        if failed or state.interrupted:
            return


def _draw(seed: int, weigh: Callable[[str], float]) -> Drawn:
    return Drawing(seed, weigh).draw()


def _play_round(
    state: Search, play: Play, drawn: dict[int, Drawn], stopped: Callable[[], bool], look: Callable[[], object]
) -> dict[int, Played]:
    """Play the drawn scenarios of a round; return the results of those that failed, by seed."""
    failed: dict[int, Played] = {}
    state.news = 0
    texts = (as_toml(one.document) for one in drawn.values())
    results = play(texts)
    for seed, one in drawn.items():
        try:
            played = next(results)
        except UnplayableError as error:
            state.problem, state.interrupted = str(error), True
            break
        state.interrupted = played.interrupted or stopped()
        if state.interrupted and not played.failures:  # a failure counts even if the run was interrupted
            break
        state.failed += bool(played.failures)
        state.undecided += played.undecided
        state.undecided_by.update({one.checker for one in played.doubts})
        if played.undecided and len(state.doubts) < FUZZ_UNDECIDED_MAX:
            state.doubts.append((seed, played.doubts))
        state.news += state.coverage.add(one.ingredients, played.states)
        state.played += 1
        state.requests += played.requests
        if played.failures:
            failed[seed] = played
        look()
        if state.interrupted:
            break
    return failed


def make_small(
    seed: int,
    drawn: Document,
    failures: tuple[Failure, ...],
    stopped: Callable[[], bool] = lambda: False,
    look: Callable[[], object] = lambda: None,
    play_one: Callable[[str], Played] = play_text,
    tries_max: int = SHRINK_TRIES_MAX,
    *,
    seeded: bool = True,
) -> Found:
    """Shrink the failing scenario `drawn` to the smallest that still breaks one of the same rules of a checker.

    Shrinking ends early once `stopped` returns true or a run was interrupted, and after `tries_max` runs. `seeded` is
    passed to `shrink`.
    """
    kinds = {one.kind for one in failures}
    smallest_failures, interrupted = failures, False

    def fails(document: Document) -> bool:
        nonlocal smallest_failures, interrupted
        interrupted = interrupted or stopped()
        if interrupted:
            return False
        look()
        try:
            played = play_one(as_toml(document))
        except UnplayableError:
            interrupted = True
            return False
        except ScenarioError:  # the rest of the scenario is invalid without the part that was removed
            return False
        interrupted = played.interrupted
        if interrupted or kinds.isdisjoint(one.kind for one in played.failures):
            return False
        smallest_failures = tuple(sorted(played.failures, key=lambda one: one.kind not in kinds))
        return True

    smallest, tries = shrink(drawn, fails, tries_max, seeded=seeded)
    return Found(seed, smallest_failures, drawn, smallest, tries)
