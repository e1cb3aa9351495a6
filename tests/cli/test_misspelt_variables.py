"""A variable that is nearly a flag's is told of, and none of those that others have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer.main

from simulator.commands.cli import app
from simulator.commands.misspelt import misspelt_variables

if TYPE_CHECKING:
    from tests.cli.conftest import Hatchfarm

COMMAND = typer.main.get_command(app)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HATCHFARM_TARGT", "HATCHFARM_TARGET"),
        ("HATCHFARM_MACHINS", "HATCHFARM_MACHINES"),
        ("HATCHFARM_TOKENFILE", "HATCHFARM_TOKEN_FILE"),
        ("HATCHFARM_API_TOKN", "HATCHFARM_API_TOKEN"),
    ],
)
def test_one_wrong_letter_is_told_with_what_was_meant(name: str, meant: str) -> None:
    assert misspelt_variables(COMMAND, {name: "secret"}) == {name: meant}
    assert misspelt_variables(COMMAND, {name: "secret", meant: "other"}) == {}


def test_nothing_is_said_of_what_is_no_flags_and_not_near_one() -> None:
    """The last two are those by which a run's processes know each other."""
    others = ("TARGET", "HATCHFARM_TESTS_SOAK", "HATCHFARM_URL", "HATCHFARM_TARGET_ACCESS", "HATCHFARM_LIFELINE_FD")
    assert misspelt_variables(COMMAND, dict.fromkeys(others, "x")) == {}


def test_a_command_says_it_in_a_line_and_goes_on(hatchfarm: Hatchfarm) -> None:
    path = hatchfarm.write("tiny.toml", duration="1s")
    done = hatchfarm.invoke("validate", str(path), env={"HATCHFARM_TARGT": "http://x"})
    assert done.code == 0
    assert done.err == "warning: HATCHFARM_TARGT is no flag's variable; did you mean HATCHFARM_TARGET?\n"
