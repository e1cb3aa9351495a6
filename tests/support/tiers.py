"""The three tiers of the tests: quick for the inner loop, all, and a soak that makes in full what all of them sample.

`make test-quick`, `make test`, `make soak`. Which tests are quick is not listed: they are those whose files import
nothing, directly or by way of other files of tests, that starts a process, opens a socket, waits or draws.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

DRAWN = 100
"""How many examples of a property are drawn where it does not say how many, before `examples` makes them fewer."""
PROPERTIES_SHARE = 0.4
"""What part of its number of examples a property draws for each commit, always the same ones: in a soak it draws five
times the number, new ones each time."""
FEW = 20
"""So few are dear each, and all drawn."""
QUICK = bool(os.environ.get("HATCHFARM_TESTS_QUICK"))
SOAK = bool(os.environ.get("HATCHFARM_TESTS_SOAK"))
ROOT = Path(__file__).parents[2]
SLOW = (
    "http.server",
    "multiprocessing",
    "psutil",
    "simulator.bundle.writing",
    "simulator.report.page",
    "socket",
    "subprocess",
    "trio",
    "typer.testing",
)
"""What starts processes, opens sockets, waits, draws, or calls the whole command."""
_ONLY_FOR_TYPES = re.compile(r"^if TYPE_CHECKING:\n(?:    .*\n|\n)*", re.MULTILINE)
_IMPORT = re.compile(r"^ *(?:from ([\w.]+) import (\(.*?\)|.*?$)|import ([\w.]+))", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"\w+")


def examples(number: int) -> int:
    """Return how many examples of a property to draw in this tier, of a number for all tests."""
    if QUICK:
        return max(number // 10, 10)
    return 5 * number if SOAK else max(round(number * PROPERTIES_SHARE), min(number, FEW))


def is_quick(path: Path) -> bool:
    """Return whether a file of tests needs no process, no socket and no waiting."""
    todo, seen = [path, path.parent / "conftest.py"], set()
    while todo:
        file = todo.pop()
        if file in seen or not file.exists():
            continue
        seen.add(file)
        for module in _imports(file):
            if any(module == one or module.startswith(f"{one}.") for one in SLOW):
                return False
            if module.startswith("tests."):
                todo.append(ROOT / f"{module.replace('.', '/')}.py")
    return True


@cache
def _imports(file: Path) -> frozenset[str]:
    """Return the modules that a file imports, and the names that it imports from packages of tests."""
    found = set()
    for package, names, module in _IMPORT.findall(_ONLY_FOR_TYPES.sub("", file.read_text(encoding="utf-8"))):
        found.add(package or module)
        if package.startswith("tests"):
            found |= {f"{package}.{name}" for name in _NAME.findall(names)}
    return frozenset(found)
