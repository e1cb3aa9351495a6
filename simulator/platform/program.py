"""How this program was called, so that users can paste the commands that messages show."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "hatchfarm"
AS_MODULE = ["-m", "simulator"]


def name_in_shell(called: str, path: str | None = None) -> str:
    """Return how a shell finds the `called` program: the bare name if it is on the `path`, else the name as typed.

    If this code was started by another program, such as a test runner, return this program's bare name.
    """
    if called == NAME or Path(called).name != NAME:
        return NAME
    found = shutil.which(NAME, path=path)
    return NAME if found is not None and os.path.realpath(found) == os.path.realpath(called) else called


def this_program() -> str:
    """Return how this process was called, quoted for a shell: by its name, or like `python -m simulator`."""
    arguments = len(sys.argv) - 1
    before_them = sys.orig_argv[: len(sys.orig_argv) - arguments]
    return shlex.join(before_them) if before_them[-2:] == AS_MODULE else shlex.quote(name_in_shell(sys.argv[0]))


def as_called(text: str) -> str:
    """Return `text` with the name in its commands replaced by the name under which this program was called."""
    return text.replace(f"`{NAME} ", f"`{this_program()} ")
