"""The tests themselves: what is sampled is soaked, what is quick needs nothing, none goes by how fast a machine is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.sources import files_of, functions_of, tree_of
from tests.support.stuck import SLACK_SECONDS, Guard
from tests.support.tiers import is_quick

TESTS = Path(__file__).parent
SAMPLES = re.compile(r"^from tests\.support\.tiers import .*\bSOAK\b", re.MULTILINE)


def test_soak_makes_in_full_whatever_is_sampled() -> None:
    makefile = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
    soaked = set(re.findall(r"HATCHFARM_TESTS_SOAK=1 .* tests/(\w+)$", makefile, re.MULTILINE))
    sampling = {
        path.relative_to(TESTS).parts[0]
        for path in TESTS.rglob("*.py")
        if path.parent != TESTS and SAMPLES.search(path.read_text(encoding="utf-8"))
    }
    assert len(sampling) > 5
    assert sampling - soaked == set()


@pytest.mark.parametrize(
    ("file", "quick"),
    [
        ("wire/test_timestamps.py", True),
        ("core/test_heartbeat_check_order.py", True),
        ("checkers/test_answers_checker.py", True),
        ("test_suite.py", True),
        ("durability/test_kill_nine.py", False),
        ("cli/test_flags_and_help.py", False),  # by its folder's conftest
        ("planted_bugs/test_planted_bugs.py", False),
        ("report/test_report_text.py", False),
    ],
)
def test_quick_is_what_starts_and_opens_nothing(file: str, *, quick: bool) -> None:
    assert is_quick(TESTS / file) is quick


REAL_TIME = {
    "broken_targets": "a run ends in time whatever its target does",
    "redis": "Redis keeps time of its own, and what it cannot tell is refused in time",
    "shared_state": "what depends on Redis is refused in time",
}
"""Folders whose tests may bound how long something takes, and why."""
CLOCKS = {
    *("time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
    *("time.process_time", "time.process_time_ns", "datetime.now", "datetime.datetime.now", "trio.current_time"),
}
NAMES_A_CLOCK = re.compile("|".join(rf"\b{name.rpartition('.')[2]}\b" for name in sorted(CLOCKS)))
"""What stands in every file that reads one: the others need not be parsed."""
VIRTUAL = {"autojump_clock", "mock_clock"}


def bounds_of_real_time(tree: ast.Module) -> list[int]:
    """Return the lines of assertions that go by a clock, unless it is virtual or all that they say is `at least`."""
    return [
        claim.lineno
        for function in functions_of(tree)
        if not VIRTUAL & {one.arg for one in function.args.args}
        for claim in ast.walk(function)
        if isinstance(claim, ast.Assert)
        and (_reads_a_clock(claim) or _durations(function) & _names(claim))
        and not _says_at_least(claim.test)
    ]


def _reads_a_clock(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Call) and ast.unparse(one.func) in CLOCKS for one in ast.walk(node))


def _durations(function: ast.AST) -> set[str]:
    """Return what is named that is a moment less another."""
    return {
        name
        for one in ast.walk(function)
        if isinstance(one, ast.Assign)
        and isinstance(one.value, ast.BinOp)
        and isinstance(one.value.op, ast.Sub)
        and _reads_a_clock(one.value)
        for target in one.targets
        for name in _names(target)
    }


def _names(node: ast.AST) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}


def _says_at_least(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and all(isinstance(one, ast.Gt | ast.GtE) for one in test.ops)


@pytest.mark.long
def test_no_assertion_goes_by_how_fast_the_machine_is() -> None:
    found = [
        f"{path.relative_to(TESTS)}:{line}"
        for path in files_of("tests")
        if path.relative_to(TESTS).parts[0] not in REAL_TIME and NAMES_A_CLOCK.search(path.read_text(encoding="utf-8"))
        for line in bounds_of_real_time(tree_of(path))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("function", "lines"),
    [
        ("def f():\n    assert time.monotonic() - began < 5", [2]),
        ("async def f():\n    if x:\n        assert 1 <= trio.current_time() - began < 2", [3]),
        ("def f():\n    took = time.monotonic() - began\n    assert took < 5", [3]),
        ("def f():\n    assert trio.current_time() - began >= 1", []),
        ("async def f(autojump_clock):\n    assert trio.current_time() < 5", []),
    ],
)
def test_a_bound_on_real_time_is_seen(function: str, lines: list[int]) -> None:
    assert bounds_of_real_time(ast.parse(function)) == lines


def test_a_process_is_ended_when_no_test_has_begun_for_longer_than_any_may_take() -> None:
    """However often tests begin, the guard is made anew once in a while only, and in time."""
    armed: list[tuple[float, float]] = []
    now = 5.0
    guard = Guard(900.0, lambda seconds: armed.append((now, seconds)), lambda: now)
    for _ in range(1000):
        guard.a_test_begins()
        assert armed[-1][0] + armed[-1][1] >= now + 900
        now += 0.25
    guard.close()
    assert len(armed) == 250 / SLACK_SECONDS // 1 + 1
