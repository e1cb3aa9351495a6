"""What a process has from its system: clocks that go on while it sleeps, and as many files as it may have."""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

from reference_server.adapters.clock import SystemClock
from reference_server.adapters.open_files import raise_open_files

if TYPE_CHECKING:
    import pytest


def test_the_steady_clock_is_the_one_that_counts_suspended_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read(clock: int) -> int:
        asked.append(clock)
        return 7

    monkeypatch.setattr(time, "clock_gettime_ns", read)
    assert SystemClock().now().monotonic_ns == 7
    assert asked == [time.CLOCK_BOOTTIME]


def test_the_soft_limit_on_open_files_is_raised_to_the_hard_one(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"now": (1024, 20_000)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, given: limits.update(now=given))
    assert raise_open_files() == 20_000
    assert limits["now"] == (20_000, 20_000)


def test_a_limit_that_may_not_be_raised_is_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_open_files() == 1024
