"""`hatchfarm state`: look into state files before a server depends on them. Reads only, and shows no secret."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from reference_server.wire.own_sections import check_state_file
from reference_server.wire.schema1 import SCHEMA_1
from reference_server.wire.state_file import EVENTS, StateFile, StateFileError, WorkerStatusFile
from simulator.commands.failing import fail
from simulator.limits import STATE_FILE_MAX_BYTES, STATE_PROBLEMS_SHOWN_MAX
from simulator.platform.program import as_called

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reference_server.wire.sections import Section

RIGHT, WRONG = 0, 1
HIDDEN = "(hidden)"
state_app = typer.Typer(help="Look into state files; no secret is shown.", no_args_is_help=True)

File = Annotated[
    Path,
    typer.Argument(help="A state file of schema 1, or a legacy worker-status file.", envvar="HATCHFARM_STATE_FILE"),
]


@state_app.command()
def check(file: File) -> None:
    """Check that a state file is intact, and show what is wrong where.

    Exit codes: 0 right, 1 something in it is wrong, 2 it cannot be read as a state file.
    """
    state = _read("check", file)
    if isinstance(state, StateFile) and stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        state.problems.insert(0, f"others may read it, and it holds the machines' tokens: chmod 600 {file}")
    for remark in _remarks(state):
        typer.echo(f"  note   {_printable(remark)}")
    for problem in state.problems[:STATE_PROBLEMS_SHOWN_MAX]:
        typer.echo(f"  wrong  {_printable(problem)}")
    if len(state.problems) > STATE_PROBLEMS_SHOWN_MAX:
        typer.echo(f"  wrong  and {len(state.problems) - STATE_PROBLEMS_SHOWN_MAX:,} more")
    kind = "state file of schema 1" if isinstance(state, StateFile) else "legacy worker-status file"
    wrong = len(state.problems)
    verdict = f"wrong in {wrong:,} place{'s' if wrong > 1 else ''}" if wrong else "right"
    typer.echo(f"{file}: {verdict}, a {kind} with {_counts(state)}")
    raise typer.Exit(WRONG if state.problems else RIGHT)


@state_app.command()
def show(file: File) -> None:
    """Print what a state file holds as JSON, with tokens and signatures hidden.

    Exit codes: 0 all of it, 1 without the records that are wrong, 2 it cannot be read as a state file.
    """
    state = _read("show", file)
    shown: dict[str, Any] = {"saved_at": state.saved_at} if isinstance(state, StateFile) else {}
    hidden = {section.name: section.hidden for section in _server_sections()}
    for name, content in _worth_showing(state):
        records = msgspec.to_builtins(content)
        for record in records if isinstance(records, list) else records.values():
            record.update(dict.fromkeys(record.keys() & hidden.get(name, frozenset()), HIDDEN))
        shown[name] = records
    if isinstance(state, StateFile):
        # What a section of another program holds is not known, so it may be keys.
        shown.update(dict.fromkeys(state.unknown, HIDDEN))
    typer.echo(json.dumps(shown, indent=2))
    if state.problems:
        named = as_called("`hatchfarm state check` names them")
        sys.stderr.write(f"hatchfarm state show: {file} is wrong in places: {named}\n")
    raise typer.Exit(WRONG if state.problems else RIGHT)


def _read(command: str, file: Path) -> StateFile | WorkerStatusFile:
    try:
        with file.open("rb") as opened:
            too_large = os.fstat(opened.fileno()).st_size > STATE_FILE_MAX_BYTES
            content = b"" if too_large else opened.read(STATE_FILE_MAX_BYTES + 1)  # a pipe does not say its size
    except OSError as error:
        fail(f"state {command}", f"cannot read {file} ({error.strerror})")
    if too_large or len(content) > STATE_FILE_MAX_BYTES:
        fail(f"state {command}", f"{file} is larger than {STATE_FILE_MAX_BYTES:,} bytes, which no state file is")
    try:
        return check_state_file(content, _server_sections())
    except StateFileError as error:
        fail(f"state {command}", f"{file}: {_printable(str(error))}")


def _remarks(state: StateFile | WorkerStatusFile) -> list[str]:
    remarks: list[str] = []
    if isinstance(state, StateFile):
        remarks += [f"{name}: not a section of schema 1" for name in state.unknown]
        remarks += state.remarks
    left_out = len(remarks) - STATE_PROBLEMS_SHOWN_MAX
    return remarks if left_out <= 0 else [*remarks[:STATE_PROBLEMS_SHOWN_MAX], f"and {left_out:,} more"]


def _server_sections() -> tuple[Section[Any], ...]:
    from reference_server.about import state_sections  # noqa: PLC0415 - the server's modules load only where they are used

    return state_sections()


def _counts(state: StateFile | WorkerStatusFile) -> str:
    return ", ".join(f"{name} {len(content):,}" for name, content in _worth_showing(state))


def _worth_showing(state: StateFile | WorkerStatusFile) -> Iterator[tuple[str, Any]]:
    """Yield what it holds by name: what schema 1 has, and of all else what there is."""
    plain = {EVENTS, *(section.name for section in SCHEMA_1)}
    later = {section.name for section in _server_sections()} - plain
    yield from ((name, content) for name, content in state.contents.items() if content or name not in later)


def _printable(text: str) -> str:
    """Escape what a terminal might obey: names in the file are its writer's."""
    return text.encode("unicode_escape").decode()
