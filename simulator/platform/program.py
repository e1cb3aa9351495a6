"""How this program was called, so that a command that people are shown is one that they can paste."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

NAME = "hatchfarm"
AS_MODULE = ["-m", "simulator"]


def name_in_shell(called: str, path: str | None = None) -> str:
    """Return how a shell finds what was `called`: by its bare name where that is on the `path`, else as it was typed.

    Whatever is not called as this program is, as a test, says nothing: the bare name stands for it.
    """
    if called == NAME or Path(called).name != NAME:
        return NAME
    found = shutil.which(NAME, path=path)
    return NAME if found is not None and os.path.realpath(found) == os.path.realpath(called) else called


def this_program() -> str:
    """Return how this process was called, as a shell reads it: by its name, or like `python -m simulator`."""
    arguments = len(sys.argv) - 1
    before_them = sys.orig_argv[: len(sys.orig_argv) - arguments]
    return shlex.join(before_them) if before_them[-2:] == AS_MODULE else shlex.quote(name_in_shell(sys.argv[0]))


def as_called(text: str) -> str:
    """Return a message in which the commands that it names are this program's as it was called."""
    return text.replace(f"`{NAME} ", f"`{this_program()} ")
