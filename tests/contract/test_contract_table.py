"""Each route, principal, refusal, metric and setting is shown by tests that there are: `table.toml` says by which.

What there is, is what the server's own rows say: a new one fails here until a test shows it. Some of the tests are run,
in the soak all, and the routes, principals and refusals that the table says they show are what they had.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from tests.contract.names import ALL, RECORD
from tests.support.environment import without_settings
from tests.support.tiers import SOAK

TESTS = Path(__file__).parents[1]
TABLE: dict[str, dict[str, list[str]]] = tomllib.loads(Path(__file__).with_name("table.toml").read_text("utf-8"))
RECORDED = ("routes", "principals", "errors")
NOT_SEEN = ("429 too many unfinished jobs", "431 request headers too large", "503 shared state unavailable")
"""Answered by a market that no API has, by transports, or by instances that are processes: no recorder sees these."""
SAMPLED = "core/test_wallet_and_forum_routes.py"
"""The file whose tests are run outside the soak: the start of a pytest is most of what that costs."""


@cache
def functions_in(file: str) -> frozenset[str]:
    """Return the names of a file's tests."""
    path = TESTS / file
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.exists() else ast.Module([], [])
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def problems(table: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return what is wrong with a table: what it lacks, what there is not, and tests that do not exist."""
    found = [f"{kind} is no kind" for kind in table.keys() ^ ALL.keys()]
    for kind, names in ALL.items():
        there, shown = names(), table.get(kind, {})
        found += [f"{name}: no test shows it" for name in sorted(there) if not shown.get(name)]
        found += [f"{name}: there is no such thing" for name in sorted(shown.keys() - there)]
        for name, tests in sorted(shown.items()):
            for test in tests:
                file, _, function = test.partition("::")
                if function not in functions_in(file):
                    found.append(f"{name}: there is no test {test}")
    return found


def test_all_that_there_is_is_shown_by_tests_that_there_are() -> None:
    assert problems(TABLE) == []


@pytest.mark.parametrize("kind", ALL)
def test_a_table_that_lacks_one_or_names_what_is_not_is_refused(kind: str) -> None:
    """Else this file would prove nothing."""
    name, tests = next(iter(TABLE[kind].items()))
    for changed, problem in (
        ({}, f"{name}: no test shows it"),
        ({name: []}, f"{name}: no test shows it"),
        ({name: tests, "HF": tests}, "HF: there is no such thing"),
        ({name: ["market/test_jobs.py::test_none"]}, f"{name}: there is no test market/test_jobs.py::test_none"),
    ):
        kept = {one: shown for one, shown in TABLE[kind].items() if one != name}
        assert problems({**TABLE, kind: kept | changed}) == [problem]


def test_the_tests_of_the_table_show_what_it_says(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    rows = [(f"{kind} {name}", tests) for kind in RECORDED for name, tests in TABLE[kind].items()]
    wanted = {
        (name, f"tests/{test}")
        for name, tests in rows
        for test in tests
        if name.removeprefix("errors ") not in NOT_SEEN and (SOAK or test.startswith(SAMPLED))
    }
    assert wanted
    chosen = sorted({test for _, test in wanted})
    environment = without_settings(**{RECORD: str(record), "PYTHONPATH": str(TESTS.parent), "HATCHFARM_TESTS_SOAK": ""})
    command = [sys.executable, "-m", "pytest", "-n0", "-p", "tests.contract.recorder", *chosen]
    done = subprocess.run(command, check=False, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    seen = {(name, test) for name, tests in json.loads(record.read_text("utf-8")).items() for test in tests}
    assert sorted(wanted - seen) == []
