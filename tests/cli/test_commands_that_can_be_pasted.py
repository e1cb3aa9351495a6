"""Commands that people are shown begin as theirs did: they can be pasted."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from simulator.platform.program import name_in_shell, this_program
from tests.support.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Hatchfarm


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a venv" / "bin" / "hatchfarm"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_a_program_that_is_on_the_path_is_said_by_its_bare_name(program: Path) -> None:
    """A shell that finds it there hands its whole path on."""
    assert name_in_shell(str(program), str(program.parent)) == "hatchfarm"


@pytest.mark.parametrize("others", [False, True], ids=["no other", "another of the name"])
def test_one_that_is_not_is_said_as_it_was_typed(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, others: bool
) -> None:
    other = tmp_path / "hatchfarm"
    if others:
        other.write_bytes(program.read_bytes())
        other.chmod(0o755)
    monkeypatch.chdir(program.parent.parent)
    assert name_in_shell("bin/hatchfarm", str(tmp_path)) == "bin/hatchfarm"


@pytest.mark.parametrize("called", ["hatchfarm", "/usr/lib/python3/cli.py", "-c", ""])
def test_what_is_not_called_so_says_nothing(called: str, tmp_path: Path) -> None:
    assert name_in_shell(called, str(tmp_path)) == "hatchfarm"


@pytest.mark.parametrize(
    ("words", "arguments", "called"),
    [
        (("a venv/python", "-X", "dev", "-m", "simulator"), ("run", "-"), "'a venv/python' -X dev -m simulator"),
        (("python", "/bin/other.py"), ("-m", "simulator"), "hatchfarm"),
        (("python", "-m", "pytest"), (), "hatchfarm"),
    ],
)
def test_one_that_was_called_as_a_module_is_said_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], arguments: tuple[str, ...], called: str
) -> None:
    monkeypatch.setattr(sys, "orig_argv", [*words, *arguments])
    monkeypatch.setattr(sys, "argv", ["/site-packages/simulator/__main__.py", *arguments])
    assert this_program() == called


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (("init", "farm"), "Run it with: '{}' run farm.toml"),
        (("run", "nothing-like-it"), "`'{}' scenarios`"),
        (("attack", "show", "zzzzzzzzzz"), "`'{}' attack list`"),
        (("results",), "`'{}' run` makes some"),
    ],
)
def test_messages_name_commands_as_the_program_was_called(
    program: Path, hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], shown: str
) -> None:
    monkeypatch.setattr(sys, "argv", [str(program)])
    done = hatchfarm.invoke(*arguments)
    assert shown.format(program) in done.out + done.err


def test_the_line_that_reproduces_a_run_can_be_pasted(
    program: Path, hatchfarm: Hatchfarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the verdict's, so that the reports have the same."""
    monkeypatch.setattr(sys, "argv", [str(program)])
    path = hatchfarm.write("tiny.toml", duration="2s")
    done = hatchfarm.invoke("run", str(path), "--virtual", "--no-reports")
    expected = f"'{program}' run tiny.toml --seed 9 --virtual"
    assert done.lines[-1] == f"Reproduce with: {expected}"
    assert hatchfarm.verdict()["reproduce"] == expected


def test_the_line_that_reproduces_a_run_of_the_module_can_be_pasted(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.write("tiny.toml", duration="1s")
    command = [sys.executable, "-m", "simulator", "run", path.name, "--virtual", "--no-reports"]
    done = subprocess.run(
        command, cwd=hatchfarm.folder, env=hatchfarm.environ(), capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    again = shlex.join([sys.executable, "-m", "simulator", "run", path.name, "--seed", "9", "--virtual"])
    assert done.stdout.splitlines()[-1] == f"Reproduce with: {again}"
