"""Few tests that failed while others kept the cores busy, made again alone: `python -m tests.support.again`.

A test that starts servers and lets them be killed can fail for want of a core, and one of fifteen thousand does so now
and then. What fails alone, or once in `TIMES`, is broken; what passes each time is named, so that it is mended.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

CACHE = Path(".pytest_cache/v")
"""What pytest keeps: a JSON object whose names are the tests that failed last, and how the session ended."""
TESTS_FAILED = 1
"""Pytest's exit code when all tests were made, and some failed."""
TESTS_MAX = 5
"""More than this did not fail for want of a core."""
TIMES = 3
"""How often each must pass, in a process of its own."""


def run_alone(test: str) -> bool:
    """Return whether a test passes in a process of its own, with nothing beside it. It prints to the terminal."""
    return subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test], check=False).returncode == 0


def read_failed(cache: Path) -> list[str]:
    """Return the tests that failed last. Raises ValueError where that is not all that the session found.

    One that was cut short, or skipped what it should not, says nothing of the tests that it did not make.
    """
    try:
        ended = msgspec.json.decode((cache / "hatchfarm/ended").read_bytes(), type=tuple[int, int] | None)
        failed = sorted(msgspec.json.decode((cache / "cache/lastfailed").read_bytes(), type=dict[str, bool]))
    except FileNotFoundError:
        raise ValueError("no session ended with failed tests") from None
    if ended != (TESTS_FAILED, 0):
        raise ValueError(f"the session did not end by itself, or it skipped tests (exit code and skipped: {ended})")
    if not 0 < len(failed) <= TESTS_MAX:
        raise ValueError(f"{len(failed)} tests failed, where 1 to {TESTS_MAX} are made again")
    return failed


def main(cache: Path = CACHE, run: Callable[[str], bool] = run_alone) -> int:
    """Return the exit code: 0 where a few tests failed and each of them passes every time now, else 1."""
    try:
        failed = read_failed(cache)
    except ValueError as error:
        sys.stdout.write(f"No test is made again: {error}.\n")
        return 1
    for test in failed:
        if not all(run(test) for _ in range(TIMES)):
            sys.stdout.write(f"BROKEN: {test}\n")
            return 1
    for test in failed:
        sys.stdout.write(f"UNSTEADY: {test} failed among others, and passed {TIMES} times alone: to be mended.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
