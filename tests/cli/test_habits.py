"""Whoever types what another tool calls it is told what it is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer.main

from simulator.commands.cli import app
from simulator.commands.habits import FLAGS, WORDS

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def _last(hatchfarm: Hatchfarm, *typed: str) -> str:
    done = hatchfarm.invoke(*typed)
    assert (done.code, done.out) == (2, "")
    return done.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (("run", "quickstart", "--vus", "10"), "Error: No such option: --vus. Here it is --machines"),
        (("run", "quickstart", "-u", "10"), "Error: No such option: -u. Here it is --machines"),
        (("run", "quickstart", "--host", "http://x"), "Error: No such option: --host. Here it is --target"),
        (
            ("run", "quickstart", "--out", "json=x.json"),
            (
                "Error: Invalid value for '--out' (env var: 'HATCHFARM_OUT'): 'json=x.json' is k6's: "
                "here it names a folder, which then has verdict.json and history/"
            ),
        ),
        (("fuzz", "--seed", "5"), "Error: No such option: --seed. Here it is --seeds"),
        (("serve", "--port", "9000"), "Error: No such option: --port. Here it is the variable PORT"),
        (("serve", "--host=::"), "Error: No such option: --host. Here it is the variable HOST"),
        (("check", "quickstart"), "Error: No such command 'check'. Here it is `hatchfarm validate`."),
        (("version",), "Error: No such command 'version'. Here it is `hatchfarm --version`."),
        (("quickstart",), "Error: No such command 'quickstart'. It is a scenario: `hatchfarm run quickstart` runs it."),
        (("a/my.toml",), "Error: No such command 'a/my.toml'. It is a scenario: `hatchfarm run a/my.toml` runs it."),
        (("run",), "Error: Missing argument 'scenarios'. `hatchfarm scenarios` lists those that can be named"),
    ],
)
def test_what_other_tools_call_it_is_answered_with_what_it_is_here(
    hatchfarm: Hatchfarm, typed: tuple[str, ...], answer: str
) -> None:
    assert _last(hatchfarm, *typed) == answer


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (("valdate", "quickstart"), "Error: No such command 'valdate'. Did you mean 'validate'?"),
        (("run", "quickstart", "--machine", "5"), "Error: No such option: --machine (Possible options: --machines)"),
        (("verify", "--vus", "5", "latest"), "Error: No such option: --vus (Possible options: --out)"),
        (("serve", "--prot", "9000"), "Error: No such option: --prot"),
        (("replay",), "Error: Missing argument 'trace'."),
    ],
)
def test_nothing_is_said_where_it_is_nothing_here(hatchfarm: Hatchfarm, typed: tuple[str, ...], answer: str) -> None:
    assert _last(hatchfarm, *typed) == answer


def test_habits_name_what_there_is_and_hide_nothing() -> None:
    flags = {name for command in COMMANDS.values() for one in command.params for name in one.opts}
    assert set(FLAGS.values()) <= flags
    assert {meant.split()[0] for meant in WORDS.values()} <= {*COMMANDS, "--version", "--help"}
    assert not set(WORDS) & set(COMMANDS)
