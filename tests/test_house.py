"""What holds for every file of the project, whatever it is about."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("benchmarks", "reference_server", "simulator", "tests")
LINES_MAX = 400
"""What one reader keeps in mind; what is longer has more than one subject, and is split by them."""


def python_files() -> list[Path]:
    """Find the project's own, and no environment's beside them."""
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def test_no_python_file_is_too_long_for_one_subject() -> None:
    lines = {path: path.read_bytes().count(b"\n") for path in python_files()}
    assert len(lines) > 100
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > LINES_MAX} == {}
