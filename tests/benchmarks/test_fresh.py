"""Each measurement has a process of its own, and whatever becomes of that is said."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks.fresh import in_fresh_process
from benchmarks.measuring import BenchmarkError, Measurement, Subject
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def test_what_a_measurement_leaves_behind_no_other_finds() -> None:
    left: list[int] = []

    def measure() -> tuple[float, float]:
        left.append(1)
        return float(len(left)), float(os.getpid())

    first, second = (in_fresh_process(Subject((), measure), lambda: None).values for _ in range(2))
    assert (first[0], second[0], left) == (1, 1, [])
    assert len({first[1], second[1], os.getpid()}) == 3


def fails() -> Sequence[float]:
    """Raise what a measurement raises."""
    raise BenchmarkError("the server stopped answering")


def crashes() -> Sequence[float]:
    """Raise what it should not."""
    raise LookupError("x")


def dies() -> Sequence[float]:
    """End as a process that was killed for its memory."""
    os._exit(9)


@pytest.mark.parametrize(
    ("measure", "problem"),
    [
        (fails, "the server stopped answering"),
        (crashes, "LookupError: x"),
        (dies, "a measurement ended with 9 and said nothing"),
    ],
)
def test_a_measurement_without_values_says_why(
    measure: Callable[[], Sequence[float]], problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_fresh_process(Subject((), measure), lambda: None) == Measurement(problem=problem)
    capfd.readouterr()


def test_where_no_process_can_be_started_nothing_is_measured_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", no_fork)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208 - names alone
    why = "no process can be started (Resource temporarily unavailable)"
    assert in_fresh_process(Subject((), fails), lambda: None) == Measurement(problem=why)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208 - names alone


def test_how_long_it_had_no_core_is_part_of_a_measurement() -> None:
    measurement = Measurement((1.0, 2.0), waited=0.25)
    assert in_fresh_process(Subject((), lambda: measurement), lambda: None) == measurement


def test_whoever_stops_waiting_ends_the_measurement() -> None:
    receiving, sending = os.pipe()

    def waits() -> Sequence[float]:
        os.close(receiving)
        while True:
            os.write(sending, b"x")  # until the pipe is full, or nobody reads it

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_fresh_process(Subject((), waits), stop)
    os.close(sending)
    assert os.read(receiving, 1 << 20).strip(b"x") == b""
    os.close(receiving)


INTERRUPTED = """
import gc, os, signal, time
from benchmarks import fresh
from benchmarks.measuring import Subject

def until_told(*_of_garbage):  # raises where the signal may come already
    while signal.SIGINT not in signal.sigpending():
        time.sleep(0.01)

def drops_one():
    try:
        signal.pause()
    except KeyboardInterrupt:
        signal.pause()

def stop():
    raise KeyboardInterrupt

measure = signal.pause
{}
try:
    fresh.in_fresh_process(Subject((), measure), stop)
except KeyboardInterrupt:
    print("ended")
"""


@pytest.mark.parametrize(
    "dropped",
    [
        pytest.param("os.register_at_fork(after_in_child=until_told)", id="right after the fork"),
        pytest.param(
            "os.register_at_fork(after_in_child=lambda: gc.callbacks.append(until_told))", id="collecting garbage"
        ),
        pytest.param("measure, fresh.AGAIN_SECONDS = drops_one, 0.1", id="within the measurement"),
    ],
)
def test_an_interrupt_that_python_drops_ends_the_measurement(dropped: str) -> None:
    """What is raised right after a fork, or where garbage is collected, is dropped: a busy machine gets there."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(dropped)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    assert done.stdout == "ended\n"
