"""How commands end that cannot do what they were asked: one message, and an exit code that says whose fault it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer

from simulator.errors import first_message
from simulator.platform.program import as_called

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE_ERROR = 2


def fail(command: str, message: str, code: int = USAGE_ERROR) -> NoReturn:
    """End a command with a message."""
    sys.stderr.write(f"hatchfarm {command}: {as_called(message)}\n")
    raise typer.Exit(code)


def exit_with(command: str, act: Callable[[], int], errors: tuple[type[Exception], ...]) -> NoReturn:
    """Exit with the code that something returns, or with the first message of the errors that are the user's."""
    problem, code = "", 0
    try:
        code = act()
    except* errors as group:
        problem = first_message(group)
    if problem:
        fail(command, problem)
    raise typer.Exit(code)
