"""The page of the commands and their flags."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

import typer

from simulator.commands.reference.markdown import code, page, prose, sentence, table

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands_page() -> str:
    """Return the page: each command, its arguments and flags, with the variables that stand for them."""
    from simulator.commands.cli import app  # noqa: PLC0415 - it imports all commands

    blocks = [block for command in _commands("hatchfarm", typer.main.get_command(app)) for block in command]
    return page(
        "Commands",
        "Every argument and flag may also be given by an environment variable; what stands in the command line wins. "
        "`hatchfarm COMMAND --help` says the same.",
        *blocks,
    )


def _commands(name: str, command: Any) -> Iterator[list[str]]:
    """Describe a command, and those in it."""
    if hasattr(command, "commands"):
        for inner, one in command.commands.items():
            if not one.hidden:
                yield from _commands(f"{name} {inner}", one)
        return
    arguments = [_usage(one) for one in command.params if one.param_type_name == "argument"]
    blocks = [f"## {name}", f"```sh\n{' '.join([name, *arguments, '[OPTIONS]'])}\n```"]
    blocks += [prose(paragraph) for paragraph in (command.help or "").split("\n\n")]
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    if rows:
        blocks.append(table(("flag", "variable", "default", "what it does"), rows))
    yield blocks


def _usage(argument: Any) -> str:
    shown = argument.name.upper() + ("..." if argument.nargs == -1 or argument.multiple else "")
    return shown if argument.required else f"[{shown}]"


def _row(one: Any) -> tuple[str, str, str, str]:
    """Return one argument's or flag's row."""
    if one.param_type_name == "argument":
        shown = code(one.name.upper())
    elif one.is_flag:
        shown = " / ".join(code(flag) for flag in (*one.opts, *one.secondary_opts))
    else:
        value = one.metavar or one.name.upper()
        shown = ", ".join(code(f"{flag} {value}") for flag in one.opts)
    default = one.default
    is_shown = default is not None and default is not False and not callable(default) and default not in ((), [], "")
    if is_shown and one.param_type_name != "argument" and one.is_flag:
        default = one.opts[0]
    default_shown = code(str(default)) if is_shown else ""
    return shown, code(one.envvar or ""), default_shown, prose(sentence(one.help or "") + _bounds(one))


def _bounds(one: Any) -> str:
    """Return what a number may be, or which words there are."""
    kind = one.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        words = [code(str(word.value)) for word in kind]
        return f" One of {', '.join(words)}."
    if one.min is not None and one.max is not None:
        return f" From {one.min:,} to {one.max:,}."
    return "" if one.min is None else f" {one.min:,} or more."
