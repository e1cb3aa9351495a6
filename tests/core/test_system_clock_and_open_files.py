"""What a process has from its system: clocks that go on while it sleeps, and as many files as it may have."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import pytest

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.memory.clocks import SetClock
from reference_server.adapters.stepped_clock import SteppedClock
from reference_server.open_files import raise_open_files
from reference_server.wire.values import Instant
from tests.support.open_files import OpenFiles

if TYPE_CHECKING:
    from pathlib import Path


def test_the_steady_clock_is_the_one_that_counts_suspended_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read(clock: int) -> int:
        asked.append(clock)
        return 7

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    assert SystemClock().now().monotonic_ns == 7
    assert asked == [time.CLOCK_BOOTTIME]


def test_a_stepped_clock_steps_its_wall_time_alone(tmp_path: Path) -> None:
    """As whoever sets a system's clock does: what counts time that has passed goes on."""
    system = SetClock(Instant(1_000, 500))
    file = tmp_path / "ahead"
    clock = SteppedClock(system, file)
    for ahead in (0, 7_000, -900):
        file.write_text(str(ahead), "ascii")
        assert clock.now() == Instant(1_000 + ahead, 500)


def test_a_stepped_clock_may_drift_from_when_it_is_first_read(tmp_path: Path) -> None:
    system = SetClock(Instant(1_000_000, 500_000))
    file = tmp_path / "ahead"
    clock = SteppedClock(system, file)
    file.write_text("-1000 -250000.0", "ascii")
    assert clock.now() == Instant(1_000_000 - 1_000, 500_000)
    system.advance(4.0)
    assert clock.now() == Instant(1_000_000 - 1_000 + 3_000_000_000, 500_000 + 4_000_000_000)
    file.write_text("0", "ascii")
    assert clock.now() == system.now()


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
