"""The project's own Python files as text and trees, and what is in them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROOMS = ("benchmarks", "reference_server", "simulator", "tests")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def files_of(room: str) -> tuple[Path, ...]:
    """Return a room's Python files in order, and no environment's beside them."""
    return tuple(sorted((ROOT / room).rglob("*.py")))


def tree_of(path: Path) -> ast.Module:
    """Parse a file, anew each time: among the millions of objects of all trees garbage is looked for again and again.

    That takes longer than to parse them all twice.
    """
    return ast.parse(path.read_bytes())


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method that a tree defines, nested ones too, without a look into expressions."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(tree, field, ()):
            if isinstance(node, Function):
                yield node
            yield from functions_of(node)
