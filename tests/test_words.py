"""One word for one thing: no name in code, tests or messages is a word that has been given up for a plainer one.

A row bans names, not English: `told` is a fine word of a sentence, and no name of a function.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support.sources import ROOMS, ROOT, files_of, tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER, SIMULATOR, BENCHMARKS, TESTS = "reference_server", "simulator", "benchmarks", "tests"


class Row(NamedTuple):
    """Names that are not used, and what is said instead. `names` matches a whole identifier, in some folders."""

    names: str
    instead: str
    rooms: tuple[str, ...] = ROOMS


def words(*of: str) -> str:
    """Match identifiers that have one of these words, as `_told` or `ToldOf`; not the sentences that tests are."""
    titles = "|".join(word.title() for word in of)
    return rf"(?!test_)(?:.*_)?(?:{'|'.join(of)})(?:_.*)?|_?(?:{titles})(?:[A-Z_].*)?"


ROWS = (
    Row(r"told_of.*|in_doubt|_?lives|_?Lives", "incarnations, excuse_restarts, excuse_unknown_clock, lifetimes"),
    Row(words("told", "untold", "said", "telling", "material"), "describe, wording, ReportInput, or what it is"),
    Row(words("mend", "mended", "mends", "mending"), "undo, recover, substitute, hint"),
    Row(r"Say|Leaves|Staging|_?[Bb]ackstage|UnsettledError", "Claim, ExpectedEvent, Sandbox, PrerequisiteFailed"),
    Row(r"Beside|more_figures|statuses_of_nobody", "BackgroundTask, extra_metrics, orphan_statuses"),
    Row(r"conduct|Conduct|conducting|own_failure", "options, conductor, harness_failure"),
    Row(r"learn|_?Guard|_?guard|guarded(_tree)?", "apply_grant, apply_answer, watchdog", (SIMULATOR, BENCHMARKS)),
    Row(r"_?Held|owes?|pays?|_?dress(ed)?", "Deferred, pending, resolve, add_common_headers", (SERVER,)),
    Row(r"news|founded|standing", "read result, term, status", (SERVER,)),
)
"""By identifier, the names of modules among them. `Stage` stays: a scenario's ramp has stages."""
ONCE = ("Place", "Part", "Outcome", "Exchange", "Request")
"""Classes of which there were several by one name."""
IDENTIFIER = re.compile(r"[^\W\d]\w*")
CLASS = re.compile(r"^ *class (\w+)", re.MULTILINE)
HEAD = re.compile(r"Gives?\b(?! (?:up|back|way)\b)|Say whether\b|Lets?\b")
"""How no docstring begins: it says what is returned, or what is done, in the imperative."""
WRITTEN = re.compile(
    r"\b(?:told_of_\w+|in_doubt|own_failure|more_figures|statuses_of_nobody|UnsettledError|backstage)\b"
)
"""What no message, docstring or comment names."""


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that a module defines or uses, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.Name():
                yield node.id, node.lineno
            case ast.Attribute():
                yield node.attr, node.lineno
            case ast.arg() | ast.keyword(arg=str()):
                yield str(node.arg), node.lineno
            case ast.alias():
                yield from (
                    (name, node.lineno) for name in re.split(r"\W+", f"{node.name} {node.asname or ''}") if name
                )
            case ast.ExceptHandler(name=str()) | ast.MatchAs(name=str()) | ast.MatchStar(name=str()):
                yield str(node.name), node.lineno


@cache
def row_of(name: str, room: str) -> Row | None:
    """Return the row that bans a name in a room; None where it is free."""
    return next((row for row in ROWS if room in row.rooms and re.fullmatch(row.names, name)), None)


def wrong_names(room: str, path: Path, tree: ast.AST) -> Iterator[str]:
    """Name what a module calls by a word that was given up."""
    for name, line in {(path.stem, 1), *names_of(tree)}:
        row = row_of(name, room)
        if row is not None:
            yield f"{path.relative_to(ROOT)}:{line}: {name}: say {row.instead}"


def wrong_docstrings(path: Path, tree: ast.AST) -> Iterator[str]:
    """Name the docstrings that begin as none should."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = ast.get_docstring(node) or ""
            if HEAD.match(text):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {text.splitlines()[0]}"


def wrong_texts(path: Path, text: str) -> Iterator[str]:
    """Name what a module's texts call otherwise than its code."""
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{path.relative_to(ROOT)}:{number}: {match[0]}" for match in WRITTEN.finditer(line))


def may_be_wrong(room: str, path: Path, text: str) -> bool:
    """Return whether a word that no name is, or a head that no docstring has, is in a text: most are not parsed."""
    return any(row_of(word, room) for word in {path.stem, *IDENTIFIER.findall(text)}) or bool(HEAD.search(text))


@pytest.mark.long
def test_every_thing_is_called_by_its_one_word() -> None:
    wrong: list[str] = []
    classes: Counter[str] = Counter()
    for room in ROOMS:
        for path in files_of(room):
            if path == Path(__file__):
                continue
            text = path.read_text(encoding="utf-8")
            wrong += wrong_texts(path, text)
            if may_be_wrong(room, path, text):
                tree = tree_of(path)
                wrong += [*wrong_names(room, path, tree), *wrong_docstrings(path, tree)]
            if room != TESTS:
                classes.update(name.lstrip("_") for name in CLASS.findall(text))
    assert wrong == []
    assert {name: classes[name] for name in ONCE if classes[name] > 1} == {}


@pytest.mark.parametrize(
    ("name", "banned"),
    [
        ("told", True),
        ("_told", True),
        ("Told", True),
        ("told_of_death", True),
        ("stale_is_said", True),
        ("test_a_right_file_is_said_to_be_right", False),
        ("untouched", False),
        ("recommend", False),
        ("mend", True),
        ("Mend", True),
        ("materialised", False),
        ("framing_guard", False),
        ("conductor", False),
    ],
)
def test_rows_ban_whole_words_of_names_alone(name: str, *, banned: bool) -> None:
    assert (row_of(name, SIMULATOR) is not None) is banned


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Give its number.", True),
        ("Gives nothing.", True),
        ("Give up on it.", False),
        ("Let it be.", True),
        ("Say whether it is.", True),
        ("Return whether it is.", False),
        ("Letters.", False),
    ],
)
def test_heads_of_docstrings(text: str, *, wrong: bool) -> None:
    tree = ast.parse(f'def f():\n    """{text}"""\n')
    assert bool([*wrong_docstrings(Path(__file__), tree)]) is wrong


def test_names_are_found_wherever_python_has_them() -> None:
    text = "import a.told as b\ntry:\n    c(told=1).d\nexcept E as said:\n    async def e(f, *g): h\n"
    text += "match i:\n    case [*j]: pass"
    found = {name for name, _ in names_of(ast.parse(text))}
    assert found == {*"abcdefghij", "told", "said", "E"}
