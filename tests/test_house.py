"""What holds for every file of the project, whatever it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.sources import ROOMS, ROOT, files_of, functions_of, tree_of

if TYPE_CHECKING:
    from pathlib import Path

LINES_MAX = 400
"""What one reader keeps in mind; what is longer has more than one subject, and is split by them."""
FUNCTION_LINES_MAX = 60
"""What one screen shows, docstring and flags included."""


def python_files() -> list[Path]:
    """Find the project's own."""
    return [path for room in ROOMS for path in files_of(room)]


def test_no_python_file_is_too_long_for_one_subject() -> None:
    lines = {path: path.read_bytes().count(b"\n") for path in python_files()}
    assert len(lines) > 100
    assert {str(path.relative_to(ROOT)): count for path, count in lines.items() if count > LINES_MAX} == {}


@pytest.mark.long
def test_no_function_is_longer_than_a_screen() -> None:
    functions = [(path, node) for path in python_files() for node in functions_of(tree_of(path))]
    assert len(functions) > 1000
    lines = {
        f"{path.relative_to(ROOT)}:{node.name}": (node.end_lineno or 0) - node.lineno + 1 for path, node in functions
    }
    assert {name: count for name, count in lines.items() if count > FUNCTION_LINES_MAX} == {}


def test_every_module_of_the_simulator_stands_in_a_room() -> None:
    """Import rules are of folders, so what lies beside them would be under none."""
    assert {path.name for path in (ROOT / "simulator").glob("*.py")} == {
        "__init__.py",
        "__main__.py",
        "errors.py",
        "limits.py",
    }
