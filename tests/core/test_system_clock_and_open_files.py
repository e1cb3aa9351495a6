"""What a process has from its system: clocks that go on while it sleeps, and as many files as it may have."""

from __future__ import annotations

import resource
import time

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.open_files import raise_open_files
from tests.support.open_files import OpenFiles


def test_the_steady_clock_is_the_one_that_counts_suspended_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read(clock: int) -> int:
        asked.append(clock)
        return 7

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    assert SystemClock().now().monotonic_ns == 7
    assert asked == [time.CLOCK_BOOTTIME]


@pytest.mark.parametrize(
    ("soft", "hard", "fixed", "limit"),
    [
        (1024, 4096, False, 4096),
        (1024, 4096, True, 1024),
        (4096, 4096, True, 4096),
        (1024, resource.RLIM_INFINITY, False, 1 << 30),
    ],
)
def test_the_limit_on_open_files_is_raised_as_far_as_it_goes(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    fixed: bool,  # noqa: FBT001 - a column of the table
    limit: int,
) -> None:
    made = OpenFiles(monkeypatch, soft, hard, fixed=fixed)
    assert raise_open_files() == limit
    assert made.limits == ((soft, hard) if fixed else (hard, hard))
