"""What `run --record` leaves: the trace beside the verdict, and a word about it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import msgspec

from simulator.platform.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from simulator.traces.tape import Tape
    from simulator.traces.writing import Origin

TRACE = "trace.ndjson"


class Recording(Enum):
    """What a run records of its exchanges."""

    NOTHING = 0
    REDACTED = 1
    SECRETS = 2


def write_tape(folder: Path, tape: Tape, origin: Origin, token: str, recording: Recording) -> list[str]:
    """Write a run's trace into its folder; return lines that say so. What goes wrong is told, no more."""
    from simulator.traces.writing import write_trace  # noqa: PLC0415 - needed at the end of a recorded run only

    whole = msgspec.structs.replace(origin, started_unix_ns=tape.started_unix_ns, left_out=tape.left_out)
    path = folder / TRACE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_trace(path, tape.exchanges(), whole, token, redact=recording is Recording.REDACTED)
    except OSError as error:
        return [f"The trace could not be written ({error.strerror})"]
    notes = [f"Trace: {path}, {plural(len(tape), 'exchange')}"]
    if tape.left_out:
        notes.append(f"The recorder was full, so the trace lacks {plural(tape.left_out, 'later exchange')}")
    if recording is Recording.SECRETS:
        notes.append("The trace holds tokens in clear: whoever reads it can act as the fleet's owners")
    return notes
