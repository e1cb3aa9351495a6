"""The project's own Python files as text and trees, each read and parsed once in a process, and what is in them."""

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


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_bytes())


def functions_of(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method that a tree defines, nested ones too, without a look into expressions."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for node in getattr(tree, field, ()):
            if isinstance(node, Function):
                yield node
            yield from functions_of(node)
