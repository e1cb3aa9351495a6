"""A server as users start it, `hatchfarm serve`, in a process of its own, for tests without an event loop.

`tests/http/processes.py` has those that a test in a loop waits for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COMMAND = (sys.executable, "-m", "simulator.commands.cli")


@contextmanager
def served(
    environ: Mapping[str, str], *, command: Sequence[str] = COMMAND, stderr: int | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run it in this environment and no other, on a free port unless that names one; yield it and its URL.

    Nothing is left of it afterwards. `stderr` is where its standard error goes, as `subprocess` takes it.
    """
    with subprocess.Popen(
        [*command, "serve"],
        env={"PORT": "0", **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"it ended with {process.wait()} before it listened"
            yield process, line.split()[-1]
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
