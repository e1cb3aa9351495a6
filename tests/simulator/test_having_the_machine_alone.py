"""Who tests alone is alone, and nobody waits for ever."""

from __future__ import annotations

import multiprocessing
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest
import trio

from tests.support.alone import AGAIN, INCONCLUSIVE, NICENESS, SharedMachine, before_others, nice, until_conclusive
from tests.support.trying import UndecidedError, tried_again_alone, tried_again_where_undecided

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from multiprocessing.sharedctypes import Synchronized
    from pathlib import Path

PROCESSES, ROUNDS, PATIENCE_SECONDS = 4, 100, 60.0
FORK = multiprocessing.get_context("fork")


def test_whoever_is_alone_sees_nobody_else_at_it(tmp_path: Path) -> None:
    at_it: Synchronized[int] = FORK.Value("i", 0)

    def take_turns(seed: int) -> None:
        machine, rng = SharedMachine(tmp_path), np.random.default_rng(seed)
        for _ in range(ROUNDS):
            with machine.together():
                with at_it.get_lock():
                    at_it.value += 1
                if rng.random() < 0.3:
                    with at_it.get_lock():
                        at_it.value -= 1
                    with machine.alone():
                        assert at_it.value == 0
                    with at_it.get_lock():
                        at_it.value += 1
                with at_it.get_lock():
                    at_it.value -= 1

    processes = [FORK.Process(target=take_turns, args=(seed,), daemon=True) for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_SECONDS)
    assert [process.exitcode for process in processes] == [0] * PROCESSES


def test_a_run_without_a_verdict_is_made_so_often_at_most_and_its_last_result_counts() -> None:
    for codes, last in (([0], 0), ([1], 1), ([INCONCLUSIVE, 0], 0), ([INCONCLUSIVE] * (AGAIN + 2), INCONCLUSIVE)):
        left = iter(codes)
        assert until_conclusive(left.__next__, int) == last
        assert len(list(left)) == max(len(codes) - AGAIN - 1, 0)


def test_whoever_is_alone_goes_before_others_where_it_may_and_then_is_as_it_was() -> None:
    before = nice()
    with before_others():
        assert nice() in {before, NICENESS}
    assert nice() == before


@pytest.mark.parametrize("failures", [0, 1, AGAIN, AGAIN + 1])
async def test_what_is_tried_again_passes_once_it_does_and_else_fails(failures: int) -> None:
    tries = 0

    @tried_again_alone
    async def test() -> None:
        nonlocal tries
        await trio.lowlevel.checkpoint()
        tries += 1
        assert tries > failures

    with nullcontext() if failures <= AGAIN else pytest.raises(AssertionError):
        await test()
    assert tries == min(failures, AGAIN) + 1


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("of a nursery", [ExceptionGroup("of another", [*errors]), errors[0]])


NEVER_AGAIN = [
    KeyError("a"), trio.TooSlowError(), group(KeyError("a")), group(AssertionError(), trio.TooSlowError()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("again", "error", "tries"),
    [
        (tried_again_alone, AssertionError(), 2),
        (tried_again_alone, UndecidedError(), 2),
        (tried_again_alone, group(AssertionError(), trio.BrokenResourceError()), 2),
        *((tried_again_alone, error, 1) for error in NEVER_AGAIN),
        (tried_again_where_undecided, UndecidedError(), 2),
        (tried_again_where_undecided, group(UndecidedError()), 2),
        (tried_again_where_undecided, AssertionError(), 1),
        (tried_again_where_undecided, trio.BrokenResourceError(), 1),
        (tried_again_where_undecided, group(UndecidedError(), AssertionError()), 1),
        *((tried_again_where_undecided, error, 1) for error in NEVER_AGAIN),
    ],
)
async def test_a_test_is_tried_again_only_for_what_a_busy_machine_may_cause(
    again: Callable[[Callable[[], Awaitable[None]]], Callable[[], Awaitable[None]]], error: Exception, tries: int
) -> None:
    tried = 0

    @again
    async def test() -> None:
        nonlocal tried
        await trio.lowlevel.checkpoint()
        tried += 1
        if tried == 1:
            raise error

    with nullcontext() if tries > 1 else pytest.raises(type(error)):
        await test()
    assert tried == tries


async def test_what_must_never_be_is_not_tried_again() -> None:
    tries = 0

    @tried_again_alone
    async def test() -> None:
        nonlocal tries
        await trio.lowlevel.checkpoint()
        tries += 1
        pytest.fail("a right server was accused")

    with pytest.raises(pytest.fail.Exception):
        await test()
    assert tries == 1
