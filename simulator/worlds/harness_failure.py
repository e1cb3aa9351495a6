"""Faults of the harness itself: described in a sentence, and left behind in full for whoever repairs them."""

from __future__ import annotations

import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.history.evidence import redacted

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURE_FILE = "harness-failure.txt"
FAULT_SHOWN_MAX_CHARACTERS = 300


def leaf_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that a group holds, however deep; one that is no group is its own leaf."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaf_errors(one)
    else:
        yield error


def describe_failure(fault: BaseException, after_seconds: float) -> str:
    """Return what failed, where, and what to do."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    shown = f"{type(fault).__name__}: {fault}"[:FAULT_SHOWN_MAX_CHARACTERS]
    return (
        f"the harness itself failed after {after_seconds:.1f}s ({shown}, in {where}): "
        f"please report it, with the run's {FAILURE_FILE}"
    )


def write_failure(folder: Path, error: BaseException) -> None:
    """Leave behind where the harness failed, without secrets. What cannot be written is in the verdict, in short."""
    text = "".join(traceback.format_exception(error))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE_FILE).write_bytes(redacted(text.encode("utf-8", "backslashreplace")))
