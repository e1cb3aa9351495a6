"""The search: rounds of seeds, each drawn by what the rounds before it covered, until a round has a failure.

A round's scenarios are all drawn before any of them is played, so what is drawn depends on the range of seeds alone and
not on how many processes play at once.
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
    """A scenario that failed, as it was drawn and as small as it could be made, and what both failed by."""

    seed: int
    failures: tuple[Failure, ...]
    drawn: Document
    smallest: Document
    tries: int

    @property
    def cause(self) -> Failure:
        """Return what explains the other failures, as far as any does."""
        return self.failures[0]


class Search(msgspec.Struct):
    """What a search has seen so far."""

    seeds: range
    coverage: Coverage = msgspec.field(default_factory=Coverage)
    played: int = 0
    requests: int = 0
    news: int = 0
    """The states that the last round was the first to reach."""
    failing: list[int] = []
    """Seeds of the round that ended it."""
    interrupted: bool = False
    found: Found | None = None
    failed: int = 0
    """Of the scenarios that were played, those that failed."""
    undecided: int = 0
    """Of the scenarios that were played, those of which nobody could know."""
    undecided_by: Counter[str] = msgspec.field(default_factory=Counter)
    """The checkers that could not, by of how many scenarios."""
    doubts: list[tuple[int, tuple[Doubt, ...]]] = []
    """The first of them by their seeds, and why nobody could."""
    problem: str = ""
    """Why no further scenario could be played."""


class Way(NamedTuple):
    """How a search draws scenarios, how many before what they cover counts, and how it makes one small."""

    draw: Callable[[int, Callable[[str], float]], Drawn]
    round_seeds: int
    make_small: Callable[..., Found]


class _Player(SpawnProcess):
    """One that ends where its pool has it end, as when another was killed: a stop signal it ignores between runs."""

    terminate = SpawnProcess.kill


class _Players(SpawnContext):
    Process = _Player


@contextmanager
def players(jobs: int) -> Iterator[Play]:
    """Yield what plays scenarios' files in their order, in so many processes: one is this one.

    It raises UnplayableError where one of the others crashed or was killed.
    """
    if jobs == 1:
        yield lambda texts: map(play_text, texts)
        return
    # A signal ends a run that is under way, which says so; between runs it is for this process to act on.
    with stop_signals_blocked():  # Python's tracker of semaphores begins here, and would die of a hang-up
        pool = ProcessPoolExecutor(jobs, _Players(), ignore_blocked_signals)

    def play(texts: Iterable[str]) -> Iterator[Played]:
        try:
            with stop_signals_blocked():  # it starts the processes, which take a while to load
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
    """Play the range's seeds until one fails, and make what failed small.

    `goes_on` is asked before each round whether there is time, `stopped` before each run whether a signal came; `look`
    is called after each scenario. In virtual time unless another `way` is given.
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
    """Play what was drawn, and return what failed by its seed."""
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
        if state.interrupted and not played.failures:  # what failed did so whether or not a signal came
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
    """Return a failing scenario and the smallest that still fails by a rule of a checker by which that one does.

    Once a signal came, or after `tries_max` runs, it stays as small as it is. `seeded` is for `shrink`.
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
        except ScenarioError:  # what is left over goes with nothing that was taken away
            return False
        interrupted = played.interrupted
        if interrupted or kinds.isdisjoint(one.kind for one in played.failures):
            return False
        smallest_failures = tuple(sorted(played.failures, key=lambda one: one.kind not in kinds))
        return True

    smallest, tries = shrink(drawn, fails, tries_max, seeded=seeded)
    return Found(seed, smallest_failures, drawn, smallest, tries)
