"""Measuring two sides in alternation: how many rounds are needed, and which figures are measured again.

The function that measures is an argument. Which side comes first in a round is random, so that no periodic load on the
computer favours one side, and the sign of a pair's difference is equally likely either way if nothing differs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from simulator.comparing.deciding import Tolerance, is_hidden, suspects
from simulator.comparing.outcome import Pair, lines_of
from simulator.comparing.ranks import paired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulator.comparing.outcome import Line
    from simulator.comparing.ranks import Shift

BEFORE, AFTER = 0, 1


class Measured(msgspec.Struct, frozen=True):
    """A figure that is measured on both sides in each round."""

    title: str
    unit: str
    higher_is_better: bool


class Rounds(msgspec.Struct, frozen=True):
    """The number of rounds: `first`, then `more` at a time, up to `most`, while noise hides a change that matters."""

    first: int = 10
    more: int = 5
    most: int = 40
    tolerance: Tolerance = Tolerance()


Values = list[tuple[float, float]]
"""A figure's values in each round, as pairs of the first side's and the second side's."""


def compare_in_rounds(
    figures: Sequence[Measured],
    measure: Callable[[int], Sequence[float]],
    is_second_first: Callable[[], bool],
    rounds: Rounds,
    show: Callable[[str], None] = lambda _: None,
) -> list[Line]:
    """Measure both sides until noise is low enough, and again if a figure looks slower; return a line per figure.

    `measure` takes `BEFORE` or `AFTER` and returns a value above zero for each figure. `is_second_first` draws whether
    `AFTER` comes first in a round. `show` is called with a text on the progress before each round.
    """
    values: list[Values] = [[] for _ in figures]

    def make(number: int, what: str = "round", begun: int = 0, why: str = "") -> list[Values]:
        made: list[Values] = [[] for _ in figures]
        for at in range(begun + 1, begun + number + 1):
            show(f"{what} {at} of {begun + number}{why}")
            sides = (AFTER, BEFORE) if is_second_first() else (BEFORE, AFTER)
            found = {side: measure(side) for side in sides}
            for mine, before, after in zip(made, found[BEFORE], found[AFTER], strict=True):
                mine.append((before, after))
        return made

    _add(values, make(rounds.first))
    while (begun := len(values[0])) < rounds.most and any(
        is_hidden(_shift(figure, mine), rounds.tolerance) for figure, mine in zip(figures, values, strict=True)
    ):
        more = min(rounds.more, rounds.most - begun)
        _add(values, make(more, begun=begun, why=f", and {rounds.most} at most: noise hides too much"))
    shifts = [_shift(figure, mine) for figure, mine in zip(figures, values, strict=True)]
    tolerances = [rounds.tolerance] * len(figures)
    again: dict[int, Shift] = {}
    whole: dict[int, Shift] = {}
    if slow := suspects(shifts, tolerances):
        titles = ", ".join(figures[number].title for number in slow)
        confirming = make(len(values[0]), f"{titles} looks slower: measured again,")
        _add(values, confirming)
        again = {number: _shift(figures[number], confirming[number]) for number in slow}
        whole = {number: _shift(figure, values[number]) for number, figure in enumerate(figures)}
    pairs = [
        Pair(
            figure.title, figure.unit, figure.higher_is_better,
            tuple(before for before, _ in mine), tuple(after for _, after in mine), shift, rounds.tolerance,
        )
        for figure, mine, shift in zip(figures, values, shifts, strict=True)
    ]  # fmt: skip
    return lines_of(pairs, again, whole)


def _add(values: list[Values], more: list[Values]) -> None:
    for mine, others in zip(values, more, strict=True):
        mine.extend(others)


def _shift(figure: Measured, values: Values) -> Shift:
    sign = 1 if figure.higher_is_better else -1
    return paired([sign * math.log(after / before) for before, after in values])
