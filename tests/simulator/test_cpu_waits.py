"""How long processes wait for a CPU is read from what the kernel counts, and nothing is where it counts nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from simulator.platform.cpu_waits import CrowdMeter, Waited, WaitMeter, parse_running, parse_schedstat, read_waits

if TYPE_CHECKING:
    from collections.abc import Iterator

SECOND_NS = 1_000_000_000
COUNTS = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this kernel counts no waits")


@pytest.mark.parametrize(
    ("text", "waited_ns"),
    [
        ("91523860 268690207 49\n", 268_690_207),
        ("0 0 0\n", 0),
        ("0 0 0", 0),
        ("", None),
        ("1 2\n", None),
        ("1 -2 3\n", None),
        ("1 2 3 4\n", None),
        ("a b c\n", None),
        ("\u0661 \u0662 \u0663\n", None),
    ],
)
def test_a_tasks_wait_is_the_second_figure(text: str, waited_ns: int | None) -> None:
    assert parse_schedstat(text) == waited_ns


@pytest.mark.parametrize(
    ("text", "running"),
    [
        ("cpu 1 2 3\nprocesses 9\nprocs_running 21\nprocs_blocked 0\n", 21),
        ("procs_running 21 22\n", None),
        ("cpu 1 2 3\n", None),
        ("", None),
    ],
)
def test_a_machines_tasks_are_read(text: str, running: int | None) -> None:
    assert parse_running(text) == running


def meter_of(*waits: dict[int, int]) -> WaitMeter:
    """Return a meter of tasks that waited for so many seconds in all, each time they are asked."""
    asked: Iterator[dict[int, int]] = iter(
        [{task: seconds * SECOND_NS for task, seconds in one.items()} for one in waits]
    )
    return WaitMeter(lambda: next(asked), 0)


def test_the_task_that_waited_the_longest_since_counts() -> None:
    meter = meter_of({1: 100, 2: 50}, {1: 101, 2: 54}, {1: 101, 2: 54}, {3: 2})
    assert meter.read(10 * SECOND_NS) == Waited(0, 10 * SECOND_NS, 4 * SECOND_NS)
    assert meter.read(20 * SECOND_NS) is None
    # It began anew, with other tasks: all that they waited was since then.
    assert meter.read(30 * SECOND_NS) == Waited(20 * SECOND_NS, 30 * SECOND_NS, 2 * SECOND_NS)


def test_a_wait_without_a_break_began_before_it_was_last_read() -> None:
    meter = meter_of({1: 0}, {1: 0}, {1: 3})
    assert meter.read(10 * SECOND_NS) is None
    assert meter.read(11 * SECOND_NS) == Waited(8 * SECOND_NS, 11 * SECOND_NS, 3 * SECOND_NS)


def test_who_has_ended_or_says_nothing_waits_for_nothing() -> None:
    meter = meter_of({}, {})
    assert meter.read(SECOND_NS) is None
    assert read_waits(()) == {}


def test_a_crowd_shares_what_cpus_there_are(tmp_path: Path) -> None:
    """Eight want two: each waits for three quarters. Two want two: none waits."""
    path = tmp_path / "stat"
    meter = CrowdMeter(2, 0, path)
    meter.sample()
    assert meter.read(SECOND_NS) is None  # nothing says
    path.write_text("procs_running 8\n", "ascii")
    meter.sample()
    assert meter.read(5 * SECOND_NS) == Waited(SECOND_NS, 5 * SECOND_NS, 3 * SECOND_NS)
    meter.sample()
    path.write_text("procs_running 1\n", "ascii")
    meter.sample()
    assert meter.read(9 * SECOND_NS) == Waited(5 * SECOND_NS, 9 * SECOND_NS, int(1.5 * SECOND_NS))


@COUNTS
def test_who_stands_still_does_not_wait() -> None:
    """The kernel's count of a process that was stopped does not grow, however busy the machine is."""
    assert read_waits((os.getpid(),))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        stopped = read_waits((process.pid,))
        assert stopped
        assert read_waits((process.pid,)) == stopped
        process.kill()
    assert read_waits((process.pid,)) == {}
