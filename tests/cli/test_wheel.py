"""The wheel has all that a run needs: installed alone, in an empty folder, it runs what it ships."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("reference_server", "simulator", "benchmarks")
TIMEOUT_SECONDS = 300
ONE_AFTER_THE_OTHER = """
import ast, sys
from simulator.commands.cli import app
codes = []
for words in ast.literal_eval(sys.argv[1]):
    try:
        app(words)
    except SystemExit as end:
        codes.append(end.code)
sys.exit(max(codes))
"""
"""Commands in one process, since to load the program takes as long as most of them."""
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built offline from a copy of the sources: nothing is left in the checkout."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in (*PACKAGES, "scenarios"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source)
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", *offline, "--wheel-dir", str(out), str(source)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return the way to run the command of the wheel alone in an empty folder; gives what it printed."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("empty")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HATCHFARM_")}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        return done.stdout

    assert run("-c", "import simulator; print(simulator.__file__)").startswith(str(site))
    return run


def test_the_wheel_has_every_file_of_its_packages_and_the_scenarios(wheel: Path) -> None:
    named = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {f"simulator/shipped/{path.name}" for path in (ROOT / "scenarios").iterdir() if path.is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert len(shipped) > 20
    assert held == named | shipped


def test_the_wheel_alone_runs_what_it_ships(installed: Callable[..., str]) -> None:
    names = sorted(path.stem for path in (ROOT / "scenarios").glob("*.toml"))
    flags = ("--virtual", "--no-reports", "--machines", "40")
    printed = installed("-c", ONE_AFTER_THE_OTHER, repr((["validate", *names], ["run", "quickstart", *flags])))
    assert printed.startswith("".join(f"{name}: right\n" for name in names))
    assert "PASS quickstart" in printed
    assert "Reproduce with: hatchfarm run quickstart --seed 42 --machines 40 --virtual" in printed
    assert installed("-m", "simulator", "--version").startswith("hatchfarm 0.")
