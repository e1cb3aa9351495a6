"""One word for one thing: no name in code, tests or messages is a word that has been given up for a plainer one.

A row bans names, not English: `told` is a fine word of a sentence, and no name of a function.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
SERVER, SIMULATOR, TESTS, BENCHMARKS = "reference_server", "simulator", "tests", "benchmarks"
EVERYWHERE = (SERVER, SIMULATOR, TESTS, BENCHMARKS)
THIS = Path(__file__)


class Row(NamedTuple):
    """Names that are not used, what is said instead, and in which folders: `names` matches a whole identifier."""

    names: str
    instead: str
    rooms: tuple[str, ...] = EVERYWHERE


def parts(*words: str) -> str:
    """Match identifiers one of whose words is one of these, as `_told` or `ToldOf`, not test names."""
    return (
        rf"(?!test_)(?:.*_)?(?:{'|'.join(words)})(?:_.*)?|(?:{'|'.join(word.title() for word in words)})(?:[A-Z_].*)?"
    )


ROWS = (
    Row("(told_of|in_doubt|lives)(_.*)?|_?[Ll]ives", "incarnations, excuse_restarts, excuse_unknown_clock"),
    Row(parts("told", "said", "telling", "material", "untold"), "describe, wording, ReportInput, or what it is"),
    Row(parts("mend", "mended", "mends", "mending"), "undo, recover, hint"),
    Row(
        "Say|Leaves|Staging|_?[Bb]ackstage|UnsettledError",
        "Claim, ExpectedEvent, SandboxOptions, Sandbox, PrerequisiteFailed",
    ),
    Row("Beside|more_figures|statuses_of_nobody", "BackgroundTask, extra_metrics, orphan_statuses"),
    Row(
        "_?[Cc]onduct|[Cc]onducting|own_failure|learn|_?[Gg]uard(ed)?",
        "options, conductor, harness_failure, watchdog",
        (SIMULATOR, BENCHMARKS),
    ),
)
"""By identifier. `Stage` stays: a scenario's ramp has stages."""
ONCE = ("Place", "Part", "Outcome", "Exchange", "Request")
"""Classes of which there were several by one name."""
HEADS = re.compile(r"Gives?\b(?! (?:up|back|way)\b)|Say whether\b|Lets?\b")
"""How no docstring begins: it says what is returned, or what is done, in the imperative."""
WRITTEN = re.compile(
    r"\b(?:told_of_\w+|in_doubt|own_failure|more_figures|statuses_of_nobody|UnsettledError|[Bb]ackstage)\b"
)
"""What no string, docstring or comment names."""


@cache
def python_files(room: str) -> tuple[Path, ...]:
    """Find a room's own files."""
    return tuple(path for path in sorted((ROOT / room).rglob("*.py")) if path != THIS)


@cache
def tokens_of(path: Path) -> tuple[tokenize.TokenInfo, ...]:
    """Return a file's tokens."""
    return tuple(tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline))


def found(row: Row) -> list[str]:
    """Find where names of a row stand, files named so among them."""
    pattern = re.compile(row.names)
    places = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for room in row.rooms
        for path in python_files(room)
        for token in tokens_of(path)
        if token.type == tokenize.NAME and pattern.fullmatch(token.string)
    ]
    files = (path for room in row.rooms for path in python_files(room) if pattern.fullmatch(path.stem))
    return [*places, *(str(path.relative_to(ROOT)) for path in files)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.instead)
def test_no_name_is_a_word_that_was_given_up(row: Row) -> None:
    places = found(row)
    assert places == [], f"say {row.instead}"


def test_a_class_name_that_meant_several_things_means_one() -> None:
    classes = Counter(
        (room, node.name)
        for room in (SERVER, SIMULATOR, BENCHMARKS)
        for path in python_files(room)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ClassDef) and node.name.lstrip("_") in ONCE
    )
    assert {name: count for name, count in classes.items() if count > 1} == {}


def test_no_docstring_begins_by_giving_saying_whether_or_letting() -> None:
    heads = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {text.splitlines()[0]}"
        for room in EVERYWHERE
        for path in python_files(room)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and HEADS.match(text := ast.get_docstring(node) or "")
    ]
    assert heads == []


def test_no_message_docstring_or_comment_names_what_is_called_otherwise() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {match[0]}"
        for room in EVERYWHERE
        for path in python_files(room)
        for token in tokens_of(path)
        if token.type in {tokenize.STRING, tokenize.COMMENT}
        for match in WRITTEN.finditer(token.string)
    ]
    assert places == []


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
    ],
)
def test_rows_ban_whole_words_of_names_alone(name: str, *, banned: bool) -> None:
    assert any(re.fullmatch(row.names, name) for row in ROWS) is banned
