"""What `run --record` leaves: the trace beside the verdict, and a word about it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from simulator.traces.tape import Tape
    from simulator.traces.writing import Origin

TRACE = "trace.ndjson"


class Recording(Enum):
    """What a run records of its exchanges."""

    NOTHING = 0
    REDACTED = 1
    SECRETS = 2


def write_tape(console: Console, folder: Path, tape: Tape, origin: Origin, token: str, recording: Recording) -> None:
    """Write a run's trace into its folder, and say so. What goes wrong is told, and spoils nothing else."""
    from simulator.traces.writing import write_trace  # noqa: PLC0415 - needed at the end of a recorded run only

    whole = msgspec.structs.replace(origin, started_unix_ns=tape.started_unix_ns, left_out=tape.left_out)
    path = folder / TRACE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_trace(path, tape.exchanges(), whole, token, redact=recording is Recording.REDACTED)
    except OSError as error:
        console.print(f"The trace could not be written ({error.strerror})", markup=False)
        return
    console.print(f"Trace: {path}, {len(tape)} exchanges", markup=False)
    if tape.left_out:
        console.print(f"The recorder was full: {tape.left_out} later exchanges are not in the trace", markup=False)
    if recording is Recording.SECRETS:
        console.print("The trace holds tokens in clear: whoever reads it can act as the fleet's owners", markup=False)
