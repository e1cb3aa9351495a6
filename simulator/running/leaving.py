"""The end of a command that judges: its results are written before anything is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator.running.terminal import show_verdict, show_written
from simulator.traces.recording import write_tape
from simulator.worlds.harness_failure import write_failure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

    from simulator.judging.verdict_file import RunVerdict
    from simulator.report.files import WriteResult
    from simulator.running.run import RunRequest
    from simulator.traces.tape import Tape
    from simulator.traces.writing import Origin

NOT_WRITTEN = 2


def leave_and_show(
    console: Console,
    out: Path,
    folder: Path,
    verdict: RunVerdict,
    write: Callable[[], WriteResult],
    first: Callable[[], None] = lambda: None,
) -> int:
    """Call `write`, then `first`, then show the verdict and where the results are; return the exit code.

    If the results cannot be written, the verdict is shown all the same, and the exit code is 2.
    """
    written, problem = None, ""
    try:
        written = write()
    except OSError as error:
        problem = f"The verdict could not be written to {out} ({error.strerror}): give another --out"
    first()
    show_verdict(console, verdict)
    if written is None:
        console.print(problem, markup=False)
    else:
        show_written(console, folder, written)
    console.print(f"Reproduce with: {verdict.reproduce}", markup=False)
    return NOT_WRITTEN if written is None else verdict.exit_code


def write_others(
    failure: Exception | None, tape: Tape | None, origin: Origin, request: RunRequest, folder: Path
) -> list[str]:
    """Write the files that only some runs have, a failure of the harness and a trace; return lines to show."""
    if failure is not None:
        write_failure(folder, failure)
    return [] if tape is None else write_tape(folder, tape, origin, request.token, request.record)
