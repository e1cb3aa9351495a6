"""`hatchfarm run --cross-check`: play one scenario virtually, then live, and compare the two runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from rich.markup import escape
from rich.table import Table

from simulator.checkers.verdict import EXIT_CODES, Status
from simulator.comparing.runs import read_run
from simulator.comparing.world_lines import Says, WorldLine
from simulator.comparing.worlds import OPEN, CrossCheck, compare_worlds
from simulator.load.options import SPREADING
from simulator.platform.console import print_rule
from simulator.platform.interruptions import signals_held
from simulator.platform.output_files import write_whole
from simulator.platform.wording import plural
from simulator.report.text import printed
from simulator.running.leaving import NOT_WRITTEN
from simulator.running.run import RunError, execute
from simulator.running.virtual import execute_virtually, not_yet_virtual

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from simulator.judging.verdict_file import RunVerdict
    from simulator.running.run import RunRequest

FILE = "cross-check.json"
COLOURS = {Says.AGREES: "green", Says.EXPLAINED: "dim", Says.UNDECIDED: "yellow", Says.DIFFERS: "red"}


def cross_check(request: RunRequest, console: Console) -> int:
    """Play a scenario virtually and then live, compare the two, and return the exit code.

    Raises `simulator.running.run.USER_ERRORS` if a run cannot begin, among them RunError if a target is given: virtual
    time has its own server.
    """
    _see_comparable(request)
    found: list[tuple[RunVerdict, Path]] = []
    with signals_held(request.held) as held:
        wanted = msgspec.structs.replace(request, held=held, on_verdict=lambda *one: found.append(one))
        for one, play in ((True, execute_virtually), (False, execute)):
            print_rule(console, "virtual" if one else "live")
            by = None if one else wanted.conducted_by
            code = play(msgspec.structs.replace(wanted, virtual=one, conducted_by=by), console)
            if code == NOT_WRITTEN:
                return code
            if held.number is not None:
                console.print("There is nothing to compare: a run was interrupted", markup=False)
                return EXIT_CODES[Status.INCONCLUSIVE]
    folders = [folder for _, folder in found]
    runs = [read_run(folder) for folder in folders]
    checked_at = datetime.now(UTC).isoformat(timespec="seconds")  # noqa: TID251 - when they were compared
    checked = compare_worlds(request.scenario, runs[0], runs[1], (str(folders[0]), str(folders[1])), checked_at)
    show(checked, console)
    path = request.out / request.scenario.name / FILE
    try:
        write_whole(path, [msgspec.json.format(msgspec.json.encode(checked), indent=2) + b"\n"])
    except OSError as error:
        console.print(f"The comparison could not be written ({error.strerror}): give another --out", markup=False)
        return NOT_WRITTEN
    console.print(f"Cross-check: {path}", markup=False)
    if request.on_verdict is not None:
        request.on_verdict(*found[1])
    return checked.exit_code


def _see_comparable(request: RunRequest) -> None:
    """Raise RunError, with a message that names `--cross-check`, if one of the worlds cannot play `request`."""
    if request.target is not None:
        raise RunError("--cross-check plays against servers of its own: leave --target away")
    if request.conducted_by is not None and request.conducted_by.asked_for:
        raise RunError(f"--cross-check plays its virtual half in one process: leave out {SPREADING}")
    if missing := not_yet_virtual(request.scenario):
        raise RunError(
            f"{request.scenario.name} cannot be played as --cross-check does, in virtual time, which has not yet: "
            f"{'; '.join(missing)}. Take it out of a copy of the scenario, or leave --cross-check away"
        )


def show(checked: CrossCheck, console: Console) -> None:
    """Print the lines that do not agree, and the summary."""
    print_rule(console, "cross-check")
    shown = [one for one in checked.lines if one.says is not Says.AGREES]
    if shown:
        table = Table("", "", "virtual", "live", "allowed", "", box=None, padding=(0, 2, 0, 0))
        table.columns[-1].overflow = "fold"
        for one in sorted(shown, key=lambda line: [*COLOURS].index(line.says), reverse=True):
            table.add_row(*_row(one))
        console.print(table)
    agreed = len(checked.lines) - len(shown)
    console.print(f"{plural(agreed, 'line')} of {len(checked.lines)} agree")
    judged = {one.says for one in checked.lines}
    says = next((one for one in OPEN if one in judged), Says.AGREES)
    word = {Says.DIFFERS: "DIFFER", Says.UNDECIDED: "UNDECIDED"}.get(says, "AGREE")
    colour = COLOURS[says] if says is not Says.AGREES or not checked.exit_code else "yellow"
    console.print(f"[{colour} bold]{word}[/] {checked.scenario}: {escape(printed(checked.summary))}")


def _row(one: WorldLine) -> list[str]:
    cells = [one.name, one.virtual, one.live, one.bound, one.why]
    return [f"[{COLOURS[one.says]}]{one.says.value}[/]", *(escape(printed(cell)) for cell in cells)]
