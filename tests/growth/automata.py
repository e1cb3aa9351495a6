"""Whether one regular expression may take more than linear time; `backtracking` says what that is."""

from __future__ import annotations

import re
from collections import Counter
from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

MODES = {
    "fullmatch": "fullmatch",
    "match": "match",
    **dict.fromkeys(("search", "findall", "finditer", "split", "sub", "subn"), "search"),
}
COPIES_MAX = 32
"""Repetitions that are counted one by one; more of them count as any number."""
_ALPHABET = [*map(chr, range(256)), "\u017f", "\u0660", "\u2028", "\u4e00", "\ud800", "\udfff", "\ufffd", "\U0010ffff"]
_ALL = (1 << len(_ALPHABET)) - 1
_parser: Any = import_module("re._parser")  # as it is in no stub; its trees are what `re` compiles


class _Part(NamedTuple):
    """A part of a pattern: in how many ways it may be empty, and the characters it may begin and end with, by number.

    `free` says that it may be empty whatever is around it, and `free_last` where it may end so.
    """

    empty: int
    free: bool
    first: Counter[int]
    last: Counter[int]
    free_last: AbstractSet[int]


_NOTHING = _Part(1, True, Counter(), Counter(), frozenset())  # noqa: FBT003 - the second field, as declared
_ASSERTION = _NOTHING._replace(free=False)


class _UnreadableError(Exception):
    """A pattern with something that is not judged here."""


class _Automaton:
    """A pattern as an automaton without empty steps: its states are the characters that stand in the pattern."""

    def __init__(self, pattern: str | bytes, flags: int, mode: str) -> None:
        tree = _parser.parse(pattern, flags)
        self.sets: list[int] = []
        self.follow: list[Counter[int]] = []
        self._binary = isinstance(pattern, bytes)
        items, flags = list(tree), tree.state.flags
        self._ended = mode == "fullmatch"
        branches = items[0][1][1] if len(items) == 1 and str(items[0][0]) == "BRANCH" else [items]
        parts = [self._sequence(branch, flags) for branch in branches]
        self._free_last = set(self._either(parts).free_last)
        if mode == "search":
            begins = [self._begin_after(branch[0], flags) if len(branch) else _ALL for branch in branches]
            self._search(list(zip(begins, (part.first for part in parts), strict=True)))

    def _search(self, starts: list[tuple[int, Counter[int]]]) -> None:
        """Put the loop in front that skips characters; a match may begin behind those that its start allows."""
        classes = {_ALL}
        for begin, _ in starts:
            classes = {part for one in classes for part in (one & begin, one & ~begin) if part}
        skipped = {self._state(characters): characters for characters in sorted(classes)}
        for state, characters in skipped.items():
            self.follow[state].update(skipped.keys())
            for begin, first in starts:
                if characters & begin:
                    self.follow[state].update(first)

    def _begin_after(self, item: Any, flags: int) -> int:
        """Return the characters behind which a match may begin; none where it has to be at the start."""
        op, argument = str(item[0]), item[1]
        if op == "AT":
            where = str(argument)
            if where == "AT_BEGINNING_STRING" or (where == "AT_BEGINNING" and not flags & re.MULTILINE):
                return 0
            if where == "AT_BEGINNING":
                return _mask("\n")
            if where == "AT_BOUNDARY":
                return _ALL & ~self._category("CATEGORY_WORD", flags)  # where it begins with a word
        if op in {"ASSERT", "ASSERT_NOT"} and argument[0] < 0 and len(argument[1]) == 1:
            allowed = self._characters(argument[1][0], flags)
            if allowed is not None:
                return allowed if op == "ASSERT" else _ALL & ~allowed
        return _ALL

    def _state(self, characters: int) -> int:
        self.sets.append(characters)
        self.follow.append(Counter())
        return len(self.sets) - 1

    def _sequence(self, items: Iterable[Any], flags: int) -> _Part:
        whole = _NOTHING
        for item in items:
            whole = self._chain(whole, self._item(item, flags))
        return whole

    def _chain(self, one: _Part, other: _Part) -> _Part:
        self._link(one.last, other.first)
        return _Part(
            min(2, one.empty * other.empty),
            one.free and other.free,
            one.first + _times(other.first, one.empty),
            other.last + _times(one.last, other.empty),
            set(other.free_last) | (set(one.free_last) if other.free else set()),
        )

    def _link(self, last: Counter[int], first: Counter[int]) -> None:
        for (state, ways), (after, more) in product(last.items(), first.items()):
            self.follow[state][after] += ways * more

    def _item(self, item: Any, flags: int) -> _Part:
        characters = self._characters(item, flags)
        if characters is not None:
            state = self._state(characters)
            return _Part(0, False, Counter([state]), Counter([state]), {state})  # noqa: FBT003 - as declared
        op, argument = str(item[0]), item[1]
        match op:
            case "SUBPATTERN":
                return self._sequence(argument[3], (flags | argument[1]) & ~argument[2])
            case "ATOMIC_GROUP":
                return self._sequence(argument, flags)
            case "BRANCH":
                return self._either([self._sequence(branch, flags) for branch in argument[1]])
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                return self._repeat(*argument, flags=flags)
            case "AT":
                return _ASSERTION
            case "ASSERT" | "ASSERT_NOT":
                # What it looks at is gone through as well, but the match goes on beside it.
                return _ASSERTION._replace(first=self._sequence(argument[1], flags).first)
        raise _UnreadableError(op.lower())

    @staticmethod
    def _either(parts: list[_Part]) -> _Part:
        return _Part(
            min(2, sum(part.empty for part in parts)),
            any(part.free for part in parts),
            sum((part.first for part in parts), Counter()),
            sum((part.last for part in parts), Counter()),
            set().union(*(part.free_last for part in parts)),
        )

    def _repeat(self, least: int, most: Any, items: Any, *, flags: int) -> _Part:
        endless = str(most) == "MAXREPEAT" or int(most) > COPIES_MAX
        needed = min(int(least), COPIES_MAX)
        whole = _NOTHING
        for _ in range(needed - 1 if endless and needed else needed):
            whole = self._chain(whole, self._sequence(items, flags))
        if endless:
            loop = self._sequence(items, flags)
            self._link(loop.last, loop.first)
            return self._chain(whole, loop if needed else loop._replace(empty=1, free=True))
        rest = _NOTHING
        for _ in range(int(most) - needed):
            rest = self._chain(self._sequence(items, flags), rest)._replace(empty=1, free=True)
        return self._chain(whole, rest)

    def _characters(self, item: Any, flags: int) -> int | None:
        """Return the characters that one item of a pattern matches, if it matches one character."""
        op, argument = str(item[0]), item[1]
        match op:
            case "LITERAL" | "RANGE":
                return self._cased([argument] if op == "LITERAL" else range(argument[0], argument[1] + 1), flags)
            case "NOT_LITERAL":
                return _ALL & ~self._cased([argument], flags)
            case "ANY":
                return _ALL if flags & re.DOTALL else _ALL & ~_mask("\n")
            case "CATEGORY":
                return self._category(str(argument), flags)
            case "IN":
                negated = str(argument[0][0]) == "NEGATE"
                found = 0
                for inner in argument[negated:]:
                    found |= self._characters(inner, flags) or 0
                return _ALL & ~found if negated else found
        return None

    def _category(self, name: str, flags: int) -> int:
        escape = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[name.rpartition("_")[2]]
        ascii_only = re.ASCII if self._binary or flags & re.ASCII else 0
        found = _mask(character for character in _ALPHABET if re.fullmatch(escape, character, ascii_only))
        return _ALL & ~found if "_NOT_" in name else found

    @staticmethod
    def _cased(codes: Iterable[int], flags: int) -> int:
        wanted = set(map(chr, codes))
        if flags & re.IGNORECASE:
            wanted |= {character.lower() for character in wanted} | {character.upper() for character in wanted}
        return _mask(wanted)

    # --- judging

    def trouble(self) -> str:
        """Say in which way matching may take more than linear time; nothing where it may not."""
        loops = self._loops()
        harmful = [state for state in loops if not self._harmless(state, loops[state])]
        for state in harmful:
            if self._two_ways(state, loops[state]):
                return "exponential: a loop may be gone through in two ways"
        for one, other in product(harmful, harmful):
            if one != other and self._handed_over(one, other, loops):
                return "quadratic at least: two loops, or the search and a loop, may take the same characters"
        return ""

    def _reached(self, start: int, within: AbstractSet[int] | None = None) -> set[int]:
        """Return the states that can be reached from a state in one step or more."""
        found: set[int] = set()
        waiting = [start]
        while waiting:
            for after in self.follow[waiting.pop()]:
                if after not in found and (within is None or after in within):
                    found.add(after)
                    waiting.append(after)
        return found

    def _loops(self) -> dict[int, set[int]]:
        """Return each state that is in a loop, with all that are in loops with it."""
        reached = {state: self._reached(state) for state in range(len(self.sets))}
        return {
            state: {other for other in reached[state] if state in reached[other]}
            for state in reached
            if state in reached[state]
        }

    def _harmless(self, state: int, loop: set[int]) -> bool:
        """Return whether the loop cannot be gone through without a state where all that follows is a match."""
        if self._ended:
            sure = {one for one in loop if one in self._free_last and self.sets[one] == _ALL and self.follow[one][one]}
        else:
            sure = loop & self._free_last
        return state in sure or state not in self._reached(state, loop - sure)

    def _two_ways(self, start: int, loop: set[int]) -> bool:
        seen = {(start, start, False)}
        waiting = list(seen)
        while waiting:
            one, other, parted = waiting.pop()
            for after, ways in self.follow[one].items():
                for beside in self.follow[other]:
                    if after in loop and beside in loop and self.sets[after] & self.sets[beside]:
                        step = (after, beside, parted or after != beside or (one == other and ways > 1))
                        if step == (start, start, True):
                            return True
                        if step not in seen:
                            seen.add(step)
                            waiting.append(step)
        return False

    def _handed_over(self, one: int, other: int, loops: dict[int, set[int]]) -> bool:
        """Return whether a word leads from one to itself, from one to the other, and from the other to itself."""
        goal = (one, other, other)
        seen = {(one, one, other)}
        waiting = list(seen)
        while waiting:
            first, between, second = waiting.pop()
            for step in product(self.follow[first], self.follow[between], self.follow[second]):
                if step[0] not in loops[one] or step[2] not in loops[other] or step in seen:
                    continue
                if self.sets[step[0]] & self.sets[step[1]] & self.sets[step[2]]:
                    if step == goal:
                        return True
                    seen.add(step)
                    waiting.append(step)
        return False


def _mask(characters: Iterable[str]) -> int:
    wanted = set(characters)
    return sum(1 << at for at, character in enumerate(_ALPHABET) if character in wanted)


def _times(ways: Counter[int], factor: int) -> Counter[int]:
    return Counter({state: min(2, count * factor) for state, count in ways.items()}) if factor else Counter()


def trouble(pattern: str | bytes, flags: int = 0, method: str = "search") -> str:
    """Return how matching with this method of `re` may take more than linear time; nothing where it may not."""
    try:
        return _Automaton(pattern, flags, MODES[method]).trouble()
    except _UnreadableError as error:
        return f"cannot be judged: {error}"
