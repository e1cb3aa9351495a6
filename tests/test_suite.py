"""The tests themselves: what is sampled is soaked in full, and what is quick needs nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
