"""Serves like `hatchfarm serve --until-stdin-closes`, with one fault: `python faulty_server.py [NAME]`."""

from __future__ import annotations
import __future__

import importlib
import inspect
import os
import sys
import textwrap
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from tests.planted_bugs.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.planted_bugs.faults import Edit


def plant(edits: tuple[Edit, ...]) -> None:
    """Edit the functions in this process, wherever they are already known. Raises ValueError, as `edited` does.

    Only their code is exchanged, so that everybody who holds the function gets the fault.
    """
    for key, source in edited(edits).items():
        function = _function(*key)
        function.__code__ = _compiled(source, function)


@contextmanager
def planted(edits: tuple[Edit, ...]) -> Iterator[None]:
    """Have edits planted in this process for a while."""
    codes = [(function, function.__code__) for function in (_function(*key) for key in edited(edits))]
    plant(edits)
    try:
        yield
    finally:
        for function, code in codes:
            function.__code__ = code


def edited(edits: tuple[Edit, ...]) -> dict[tuple[str, str], str]:
    """Return the new sources of functions, by module and name, and change nothing.

    Raises ValueError when a text to replace does not stand there exactly once.
    """
    sources: dict[tuple[str, str], str] = {}
    for edit in edits:
        key = (edit.module, edit.function)
        source = sources.get(key) or textwrap.dedent(inspect.getsource(_function(*key)))
        if source.count(edit.old) != 1:
            raise ValueError(f"{edit.old!r} stands {source.count(edit.old)} times in {edit.function}")
        sources[key] = source.replace(edit.old, edit.new)
    return sources


def _function(module: str, name: str) -> FunctionType:
    """Find a function; of one that a decorator has wrapped, the function itself."""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return inspect.unwrap(found)  # type: ignore[no-any-return]


def _compiled(source: str, like: FunctionType) -> CodeType:
    """Compile a function's new source; only names of its own module can be meant, so only code is made, not run."""
    module = compile(source, f"<{like.__qualname__} with a fault>", "exec", __future__.annotations.compiler_flag)
    (code,) = [one for one in module.co_consts if isinstance(one, CodeType) and one.co_name == like.__name__]
    return code


def main() -> int:
    """Plant the fault that was asked for, and serve."""
    from reference_server.app import serve  # noqa: PLC0415 - nothing of the server is loaded for those who only plant

    if len(sys.argv) > 1:
        (fault,) = [one for one in FAULTS if one.name == sys.argv[1]]
        plant(fault.edits)
    return serve(os.environ, until_stdin_closes=True)


if __name__ == "__main__":
    sys.exit(main())
