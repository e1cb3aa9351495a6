"""The tests themselves: what is sampled is soaked in full."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
SOAK = "HATCHFARM_TESTS_" + "SOAK"  # in two parts: this file samples nothing


def test_soak_makes_in_full_whatever_is_sampled() -> None:
    makefile = (TESTS.parent / "Makefile").read_text(encoding="utf-8")
    soaked = {line.split("tests/")[-1] for line in makefile.splitlines() if SOAK in line}
    sampling = {
        path.relative_to(TESTS).parts[0]
        for path in TESTS.rglob("*.py")
        if path.parent != TESTS and SOAK in path.read_text(encoding="utf-8")
    }
    assert sampling - soaked == set()
