r"""The linter for regular expressions that may take more than linear time: `python -m tests.growth.backtracking`.

A pattern backtracks superlinearly on some text that it does not match if there are two states in loops, p before q, and
a word that leads from p to p, from p to q and from q to q: each repetition of the word is one more place to go over
from p to q. (Exponentially so, if a word leads from p to p in two ways.) Searching begins with a loop of its own, which
skips what is before the match; a look-behind, `\b` or `^` says where it may be left. So the use of a pattern counts:
`search`, `sub` and their kind begin anywhere, `match` at the start, and `fullmatch` also has to end at the end. Where
whatever may follow is a match, nothing is tried anew, and a loop is harmless.

Possessive and atomic groups count as plain ones, and what else is approximated errs to the same side: a pattern that
passes is linear. What cannot be read here, or is never used on foreign text, says so beside it: `# backtracking: why`.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

from tests.growth.automata import MODES, trouble

ROOTS = ("reference_server", "simulator", "benchmarks")
MARK = "# backtracking: "


class Finding(NamedTuple):
    """A pattern that may backtrack, or cannot be judged."""

    path: str
    line: int
    pattern: str
    why: str


class _Use(NamedTuple):
    line: int
    pattern: str | bytes | None
    flags: int
    methods: frozenset[str]
    shown: str


def _constant(node: ast.expr) -> str | bytes | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return None
    return value if isinstance(value, str | bytes) else None


def _flags(call: ast.Call) -> int:
    """Read the flags of a call; they are names of `re` joined by `|`."""
    flags = 0
    for node in (node for part in [*call.args[1:], *call.keywords] for node in ast.walk(part)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re":
            flags |= int(getattr(re, node.attr, 0))
    return flags


def _methods(trees: Iterable[ast.AST]) -> dict[str, set[str]]:
    """Return the methods of `re` that are called on each name, whatever module it is in."""
    called: dict[str, set[str]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in MODES:
                for name in (inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)):
                    called.setdefault(name, set()).add(node.attr)
    return called


def _uses(tree: ast.AST, called: dict[str, set[str]]) -> Iterator[_Use]:
    """Yield every pattern of a module; one whose methods nobody sees may be used in any way."""
    named = {
        id(inner): node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        for inner in ast.walk(node.value)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        function = node.func
        if not (isinstance(function.value, ast.Name) and function.value.id == "re" and node.args):
            continue
        if function.attr == "compile":
            methods = frozenset(called.get(named.get(id(node), ""), ())) or frozenset({"search", "fullmatch"})
        elif function.attr in MODES:
            methods = frozenset({function.attr})
        else:
            continue
        yield _Use(node.lineno, _constant(node.args[0]), _flags(node), methods, ast.unparse(node.args[0]))


def findings(sources: dict[str, str]) -> list[Finding]:
    """Judge every regular expression in modules, which come by their path."""
    trees = {path: ast.parse(source) for path, source in sources.items()}
    public = {name: methods for name, methods in _methods(trees.values()).items() if not name.startswith("_")}
    found = []
    for path, tree in trees.items():
        called = _methods([tree]) | public
        lines = sources[path].splitlines()
        for use in _uses(tree, called):
            if MARK in lines[use.line - 1]:
                continue
            if use.pattern is None:
                found.append(Finding(path, use.line, use.shown, "cannot be judged: it is made as the program runs"))
                continue
            whys = [trouble(use.pattern, use.flags, method) for method in sorted(use.methods)]
            found += [Finding(path, use.line, use.shown, why) for why in dict.fromkeys(filter(None, whys))]
    return found


def main() -> int:
    """Judge the whole program; gives 1 where anything was found."""
    paths = sorted(path for root in ROOTS for path in Path(root).rglob("*.py"))
    found = findings({str(path): path.read_text(encoding="utf-8") for path in paths})
    for one in found:
        sys.stdout.write(f"{one.path}:{one.line}: {one.why}: {one.pattern}\n")
    sys.stdout.write(f"Regular expressions of {len(paths)} files: {len(found)} may backtrack\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
