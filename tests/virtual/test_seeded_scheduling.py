"""The shipped pipeline by a seed: equal twice with one, right with every one, and races are found by some."""

from __future__ import annotations

import gc
import hashlib
import inspect
import os
import random  # noqa: TID251 - its type
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from trio._core import _run

from reference_server.adapters.memory.nonces import MemoryNonces, SharedNonces
from reference_server.adapters.memory.shared_journal import MemorySharedJournal
from reference_server.pipeline.resolving import Resolver
from reference_server.pipeline.sharing import Sharer
from reference_server.ports import Reservation
from reference_server.wire.units import SECOND_NS
from simulator.running.virtual import LooksNowAndThen
from simulator.worlds.virtual.scheduling import (
    GIVEN_UP_MAX,
    RANDOM,
    SWITCH,
    HangError,
    JumpingClock,
    run_seeded,
)
from tests.planted_bugs.faults import Edit
from tests.planted_bugs.faulty_server import plant
from tests.virtual.worlds import World, play_durable, play_nonces, play_shared

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from reference_server.ports import NonceRequest

SEEDS = 200
PLAYS: tuple[Callable[[int], Awaitable[World]], ...] = (play_nonces, play_durable, play_shared)
OFTEN = (play_nonces, play_durable, play_nonces, play_durable, play_shared)
"""The shared state costs as much as the others together."""
ROOT = Path(__file__).parents[2]


def problems_of(world: World) -> list[str]:
    """Return what must never be, and is in a world's history."""
    problems = []
    if world.given != [sorted(order) for order in world.given]:
        problems.append("an answer overtook one that was asked for before it")
    if world.shown_too_early:
        problems.append("an answer was sent before its change was durable")
    if any(event.what == "enrol" and event.status == 404 for event in world.events):
        problems.append("an instance did not know what another had acknowledged")
    accepted = Counter(event.what for event in world.events if event.status == 200 and event.what.startswith("n"))
    if any(times > 1 for times in accepted.values()):
        problems.append("a nonce was accepted twice")
    revoked = min((event.answered_seconds for event in world.events if event.what == "revoke"), default=float("inf"))
    if any(event.asked_seconds > revoked and event.status == 200 and event.what != "revoke" for event in world.events):
        problems.append("a heartbeat was accepted after a revocation was acknowledged")
    return problems


def test_no_order_of_steps_breaks_a_promise() -> None:
    """And every seed plays a history of its own."""
    histories = set()
    for seed in range(SEEDS):
        world = run_seeded(OFTEN[seed % len(OFTEN)], seed, seed=seed)
        assert problems_of(world) == [], f"seed {seed}"
        histories.add(world.history())
    assert len(histories) == SEEDS


@pytest.mark.parametrize("play", PLAYS)
def test_one_seed_plays_the_same_history_twice(play: Callable[[int], Awaitable[World]]) -> None:
    for seed in range(5):
        assert run_seeded(play, seed, seed=seed).history() == run_seeded(play, seed, seed=seed).history()


@pytest.mark.parametrize("play", PLAYS)
def test_scheduling_alone_makes_histories_differ(play: Callable[[int], Awaitable[World]]) -> None:
    """The delays are the same each time: only who goes first where several may is not."""
    assert len({run_seeded(play, 0, seed=seed).history() for seed in range(5)}) > 1


DIGEST = """
import hashlib
from simulator.worlds.virtual.scheduling import run_seeded
from tests.virtual.worlds import play_shared
print(hashlib.sha256(run_seeded(play_shared, 7, seed=7).history()).hexdigest())
"""


def test_another_process_plays_the_same_history() -> None:
    """Whatever order its sets are in."""
    environ = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    played = subprocess.run(
        [sys.executable, "-c", DIGEST], env=environ, cwd=ROOT, capture_output=True, check=True, timeout=100, text=True
    )
    assert played.stdout.strip() == hashlib.sha256(run_seeded(play_shared, 7, seed=7).history()).hexdigest()


@contextmanager
def planted(*edits: Edit, functions: Sequence[Callable[..., object]]) -> Iterator[None]:
    """Plant a fault in functions, and take it out again."""
    before = [(function, function.__code__) for function in functions]
    plant(edits)
    try:
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def finds(problem: str, play: Callable[[int], Awaitable[World]]) -> bool:
    """Return whether some seed finds a problem."""
    return any(problem in problems_of(run_seeded(play, seed, seed=seed)) for seed in range(SEEDS))


def test_an_answer_that_is_sent_before_the_append_returns_is_found() -> None:
    edit = Edit(
        "reference_server.pipeline.resolving",
        "Resolver._resolve",
        "not await self._committer.commit()",
        "trio.lowlevel.spawn_system_task(self._committer.commit) is None",
    )
    with planted(edit, functions=[Resolver._resolve]):
        assert finds("an answer was sent before its change was durable", play_durable)


class TornNonces(MemoryNonces):
    """A store that looks a nonce up in one step, and notes it in another."""

    def __init__(self, shared: SharedNonces, pause: Callable[[], Awaitable[object]]) -> None:
        super().__init__(shared, pause)
        self._seen: set[str] = vars(shared).setdefault("seen", set())

    async def reserve(self, asked: Sequence[NonceRequest]) -> Sequence[Reservation]:
        """Look, wait, note."""
        free = [request.nonce not in self._seen for request in asked]
        await self._pause()
        self._seen.update(request.nonce for request in asked)
        return [Reservation.RESERVED if one else Reservation.REPLAYED for one in free]


async def play_torn(seed: int) -> World:
    """Play with that store."""
    return await play_nonces(seed, TornNonces)


def test_a_nonce_that_is_looked_up_and_noted_in_two_steps_is_found() -> None:
    assert finds("a nonce was accepted twice", play_torn)


def test_instances_that_neither_read_on_nor_mind_the_fencing_token_are_found() -> None:
    """Each of the two alone keeps a revoked machine out, so both have to go."""
    deaf = Edit(
        "reference_server.pipeline.sharing",
        "Sharer._decide",
        "await self._read_on(until - trio.current_time())",
        "await trio.lowlevel.checkpoint()",
    )
    heedless = Edit(
        "reference_server.adapters.memory.shared_journal",
        "MemorySharedJournal._accept",
        " or storage.fencing_token != place.fencing_token",
        "",
    )
    with planted(deaf, heedless, functions=[Sharer._decide, MemorySharedJournal._accept]):
        assert finds("a heartbeat was accepted after a revocation was acknowledged", play_shared)
        assert finds("an instance did not know what another had acknowledged", play_shared)


def test_trio_still_has_the_private_parts_that_this_relies_on() -> None:
    """When this fails, read `scheduling` anew before the bound on Trio's version is moved."""
    assert isinstance(vars(_run)[SWITCH], bool)
    assert isinstance(vars(_run)[RANDOM], random.Random)
    source = inspect.getsource(_run.unrolled_run)
    assert f"if {SWITCH}:" in source
    assert "batch.sort(key=lambda t: t._counter)" in source
    assert f"{RANDOM}.shuffle(batch)" in source


def test_a_world_in_which_all_wait_for_each_other_ends() -> None:
    with pytest.raises(trio.TooSlowError):
        run_seeded(trio.sleep_forever, seed=1)


@pytest.mark.timeout(60)
def test_what_is_shielded_from_the_end_of_a_run_goes_on_past_it() -> None:
    """Where nothing but events is left to wait for, as on a disk that is slow to end."""
    clock, seen = JumpingClock(), list[float]()

    async def main() -> None:
        written = trio.Event()
        clock.at(5 * SECOND_NS, written.set)
        with trio.CancelScope(shield=True):
            await written.wait()
        seen.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    with pytest.raises(trio.TooSlowError):
        run_seeded(main, seed=1, seconds_max=2, clock=clock)
    assert seen == [5]


async def _wait_for_nothing(cleaned_up: list[float], times: int) -> None:
    """Wait again each time that it is cut off, so often."""
    try:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()
    finally:
        cleaned_up.append(trio.current_time())
        if times:
            await _wait_for_nothing(cleaned_up, times - 1)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("looks", [False, True], ids=["nothing is planned", "a run is shown for ever"])
def test_what_is_shielded_and_waits_for_nothing_that_could_come_is_cut_off_and_named(*, looks: bool) -> None:
    clock, cleaned_up = JumpingClock(), list[float]()
    if looks:
        LooksNowAndThen(lambda: None, clock)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_wait_for_nothing, cleaned_up, 0)
            nursery.start_soon(_wait_for_nothing, cleaned_up, 3)

    with pytest.raises(HangError, match=r"_wait_for_nothing \(tests/virtual/test_seeded_scheduling.py:[0-9]+\)$"):
        run_seeded(main, seed=1, seconds_max=2, clock=clock)
    assert len(cleaned_up) == 5


async def _look_again_and_again() -> None:
    with trio.CancelScope(shield=True):
        while True:  # noqa: ASYNC110 - whoever looks like this is to be found
            await trio.sleep(10)


async def _go_on() -> None:
    with trio.CancelScope(shield=True), suppress(trio.Cancelled):
        await trio.sleep_forever()


async def _cannot_be_reached() -> None:
    await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("wait", [_look_again_and_again, _go_on])
def test_whoever_does_not_let_a_run_end_is_named(wait: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)

    with pytest.raises(HangError, match=wait.__name__):
        run_seeded(main, seed=1, seconds_max=2)


@pytest.mark.timeout(60)
def test_what_failed_before_a_run_hung_is_what_it_is_raised_from() -> None:
    clock = JumpingClock()
    clock.at(SECOND_NS, lambda: 1 // 0)
    with pytest.raises(HangError) as raised:
        run_seeded(_wait_for_nothing, [], 0, seed=1, clock=clock)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its tasks have no end of their own
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_nobody_can_reach_is_named_too() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cannot_be_reached)

    with pytest.raises(HangError, match="_cannot_be_reached"):
        run_seeded(main, seed=1, seconds_max=2)
    gc.collect()


@pytest.mark.timeout(60)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its tasks have no end of their own
def test_what_cannot_be_cut_off_ends_the_run_all_the_same() -> None:
    with pytest.raises(HangError) as raised:
        run_seeded(_wait_for_nothing, [], GIVEN_UP_MAX + 1, seed=1, seconds_max=2)
    assert isinstance(raised.value.__cause__, trio.TrioInternalError)
    del raised
    gc.collect()


def test_trio_is_as_it_was_afterwards() -> None:
    before = vars(_run)[SWITCH], vars(_run)[RANDOM]

    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_seeded(fail, seed=1)
    assert (vars(_run)[SWITCH], vars(_run)[RANDOM]) == before
