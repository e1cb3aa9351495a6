"""How many steps a backtracking matcher takes: the same tree that `re` compiles, walked one step at a time and counted.

`re` does the same steps in C, some of them several at once, and says nothing of how many they were.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_parser: Any = import_module("re._parser")  # as it is in no stub; its trees are what `re` compiles
_FAIL, _CHARACTER, _SPLIT, _JUMP, _INSIDE, _WHERE, _PROGRESS, _END = range(8)
_CATEGORIES = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}


class _Program:
    """A pattern as instructions: tuples of what to do and with what."""

    def __init__(self, pattern: re.Pattern[Any]) -> None:
        self._binary = isinstance(pattern.pattern, bytes)
        tree = _parser.parse(pattern.pattern, pattern.flags & ~(re.UNICODE if not self._binary else 0))
        self.code: list[tuple[Any, ...]] = []
        self._sequence(tree, pattern.flags)
        self.code.append((_END,))

    def _sequence(self, items: Any, flags: int) -> None:
        for op, argument in items:
            self._item(str(op), argument, flags)

    def _item(self, op: str, argument: Any, flags: int) -> None:
        code = self.code
        match op:
            case "SUBPATTERN":
                self._sequence(argument[3], (flags | argument[1]) & ~argument[2])
            case "ATOMIC_GROUP":
                self._inside(argument, flags, wanted=True, moves=True)
            case "ASSERT" | "ASSERT_NOT":
                behind = argument[1].getwidth()[0] if argument[0] < 0 else 0
                self._inside(argument[1], flags, wanted=op == "ASSERT", moves=False, behind=behind)
            case "BRANCH" | "GROUPREF_EXISTS":
                # What depends on a group tries both: the steps are no fewer than with the one that is due.
                ends = []
                for branch in argument[1] if op == "BRANCH" else (one or () for one in argument[1:]):
                    at = len(code)
                    code.append((_FAIL,))
                    self._sequence(branch, flags)
                    ends.append(len(code))
                    code.append((_FAIL,))
                    code[at] = (_SPLIT, at + 1, len(code))
                code.append((_FAIL,))
                for at in ends:
                    code[at] = (_JUMP, len(code))
            case "MAX_REPEAT" | "MIN_REPEAT":
                self._repeat(argument, flags, greedy=op == "MAX_REPEAT")
            case "POSSESSIVE_REPEAT":
                self._inside([("MAX_REPEAT", argument)], flags, wanted=True, moves=True)
            case "AT":
                code.append((_WHERE, str(argument), flags))
            case "FAILURE":
                code.append((_FAIL,))
            case _:
                code.append((_CHARACTER, self._test(op, argument, flags), {}))

    def _inside(self, items: Any, flags: int, *, wanted: bool, moves: bool, behind: int = 0) -> None:
        at = len(self.code)
        self.code.append((_FAIL,))
        self._sequence(items, flags)
        self.code.append((_END,))
        self.code[at] = (_INSIDE, at + 1, len(self.code), wanted, moves, behind)

    def _repeat(self, argument: Any, flags: int, *, greedy: bool) -> None:
        least, most, items = argument
        code = self.code

        def split(at: int, inside: int, after: int) -> None:
            code[at] = (_SPLIT, inside, after) if greedy else (_SPLIT, after, inside)

        for _ in range(least):
            self._sequence(items, flags)
        if str(most) == "MAXREPEAT":
            at = len(code)
            code.extend([(_FAIL,), (_PROGRESS,)])
            self._sequence(items, flags)
            code.append((_JUMP, at))
            split(at, at + 1, len(code))
            return
        splits = []
        for _ in range(most - least):
            splits.append(len(code))
            code.append((_FAIL,))
            self._sequence(items, flags)
        for at in splits:
            split(at, at + 1, len(code))

    def _test(self, op: str, argument: Any, flags: int) -> Callable[[str], bool]:
        match op:
            case "LITERAL" | "NOT_LITERAL":
                one, negated = chr(argument), op == "NOT_LITERAL"
                if flags & re.IGNORECASE:
                    return lambda character: (character.lower() == one.lower()) is not negated
                return lambda character: (character == one) is not negated
            case "RANGE":
                low, high = chr(argument[0]), chr(argument[1])
                if flags & re.IGNORECASE:
                    return lambda one: low <= one.lower() <= high or low <= one.upper() <= high
                return lambda one: low <= one <= high
            case "ANY":
                return lambda one: bool(flags & re.DOTALL) or one != "\n"
            case "CATEGORY":
                name = str(argument)
                ascii_only = re.ASCII if self._binary or flags & re.ASCII else 0
                category = re.compile(_CATEGORIES[name.rpartition("_")[2]], ascii_only)
                return lambda one: (category.match(one) is not None) is not ("_NOT_" in name)
            case "IN":
                negated = str(argument[0][0]) == "NEGATE"
                tests = [self._test(str(inner), value, flags) for inner, value in argument[negated:]]
                return lambda one: any(test(one) for test in tests) is not negated
        raise NotImplementedError(op)


_program = lru_cache(maxsize=None)(_Program)


class Matcher:
    """Walks one text; `count` is told of each step, and may raise to end it."""

    def __init__(self, pattern: re.Pattern[Any], text: str | bytes | bytearray, count: Callable[[int], None]) -> None:
        self._code = _program(pattern).code
        self._text = text if isinstance(text, str) else bytes(text).decode("latin-1")
        self._count = count

    def run(self, start: int, at: int, *, whole: bool = False) -> int | None:  # noqa: C901, PLR0912 - one case a step
        """Match from one instruction and place on; gives where the match ends."""
        code, text, size = self._code, self._text, len(self._text)
        waiting: list[tuple[int, int, tuple[int, int] | None]] = [(start, at, None)]
        steps = 0
        while waiting:
            where, place, turn = waiting.pop()
            while True:
                steps += 1
                if steps == 1000:  # not once a step, which is slow
                    self._count(steps)
                    steps = 0
                instruction = code[where]
                kind = instruction[0]
                if kind == _CHARACTER:
                    if place == size or not self._fits(instruction, text[place]):
                        break
                    where, place = where + 1, place + 1
                elif kind == _SPLIT:
                    waiting.append((instruction[2], place, turn))
                    where = instruction[1]
                elif kind == _JUMP:
                    where = instruction[1]
                elif kind == _PROGRESS:
                    if turn == (where, place):
                        break  # a turn of the loop that took nothing
                    turn = (where, place)
                    where += 1
                elif kind == _INSIDE:
                    _, begin, after, wanted, moves, behind = instruction
                    end = self.run(begin, place - behind) if place >= behind else None
                    if (end is not None) is not wanted:
                        break
                    where, place = after, end if moves and end is not None else place
                elif kind == _WHERE:
                    if not self._stands(instruction[1], instruction[2], place):
                        break
                    where += 1
                elif kind == _END and (not whole or place == size):
                    self._count(steps)
                    return place
                else:
                    break
        self._count(steps)
        return None

    @staticmethod
    def _fits(instruction: tuple[Any, ...], character: str) -> bool:
        known: dict[str, bool] = instruction[2]
        fits = known.get(character)
        if fits is None:
            fits = known[character] = instruction[1](character)
        return fits

    def _stands(self, name: str, flags: int, place: int) -> bool:
        text, size = self._text, len(self._text)
        if name == "AT_BEGINNING":
            return place == 0 or bool(flags & re.MULTILINE and text[place - 1] == "\n")
        if name == "AT_END":
            return place >= size - (text[-1:] == "\n") or bool(flags & re.MULTILINE and text[place] == "\n")
        if name.endswith("BOUNDARY"):
            inside = [0 <= at < size and (text[at].isalnum() or text[at] == "_") for at in (place - 1, place)]
            return (inside[0] != inside[1]) is not ("NON" in name)
        return place == (0 if name == "AT_BEGINNING_STRING" else size)

    def search(self, at: int) -> Iterator[tuple[int, int]]:
        """Yield where each match begins and ends."""
        size = len(self._text)
        while at <= size:
            end = self.run(0, at)
            if end is not None:
                yield at, end
            at = at + 1 if end is None or end == at else end


def count_steps(
    pattern: re.Pattern[Any], method: str, text: str | bytes | bytearray, start: int, count: Callable[[int], None]
) -> None:
    """Tell `count` of every step that a method of a pattern takes on a text."""
    matcher = Matcher(pattern, text, count)
    if method in {"match", "fullmatch"}:
        matcher.run(0, start, whole=method == "fullmatch")
        return
    for _ in matcher.search(start):
        if method == "search":
            return
