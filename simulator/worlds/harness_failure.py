"""Faults of the harness itself: a one-sentence description, and a full report for those who repair them."""

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
    """Yield the errors in an exception group, at any depth; an error that is no group yields itself."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from leaf_errors(one)
    else:
        yield error


def describe_failure(fault: BaseException, after_seconds: float) -> str:
    """Return a sentence that says what failed, where, and what to do."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    shown = f"{type(fault).__name__}: {fault}"[:FAULT_SHOWN_MAX_CHARACTERS]
    return (
        f"the harness itself failed after {after_seconds:.1f}s ({shown}, in {where}): "
        f"please report it, with the run's {FAILURE_FILE}"
    )


def write_failure(folder: Path, error: BaseException) -> None:
    """Write the traceback of a harness failure, without secrets.

    Failing to write is no error: the verdict has a summary.
    """
    text = "".join(traceback.format_exception(error))
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FAILURE_FILE).write_bytes(redacted(text.encode("utf-8", "backslashreplace")))
