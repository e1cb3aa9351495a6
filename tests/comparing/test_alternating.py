"""Two commits beside a busy neighbour: what is the same is not called slower, and what is slower is caught."""

from __future__ import annotations

import pytest

from simulator.comparing.alternating import AFTER, BEFORE, Measured, Rounds, compare_in_rounds
from simulator.comparing.deciding import Says, Tolerance
from tests.comparing.neighbours import Machine, seeds
from tests.support.tiers import SOAK

COMPARISONS = 40
PLANTED = 20
TIMES = 25 if SOAK else 2
"""How often each claim is tried, with other noise."""


def slower(machine: Machine) -> list[str]:
    return [line.title for line in machine.compare() if line.decision.says is Says.SLOWER]


@pytest.mark.long
@pytest.mark.parametrize("depth", [0.0, 0.3, 0.6])
def test_of_forty_comparisons_with_itself_at_most_one_says_slower(depth: float) -> None:
    wrong = [bool(slower(Machine(seed, 0.0, depth=depth))) for seed in seeds(COMPARISONS * TIMES)]
    assert max(sum(wrong[at : at + COMPARISONS]) for at in range(0, len(wrong), COMPARISONS)) <= 1


@pytest.mark.long
@pytest.mark.parametrize("depth", [0.0, 0.3])
def test_of_twenty_planted_tenths_nineteen_are_caught(depth: float) -> None:
    caught = [slower(Machine(seed, 0.1, depth=depth)) for seed in seeds(PLANTED * TIMES)]
    assert sum(one == ["rate"] for one in caught) >= len(caught) * 19 / 20


def test_what_noise_hides_is_said_to_be_hidden() -> None:
    """Where a neighbour takes most of the machine as it pleases, nobody knows, and what could be seen is said."""
    machine = Machine(7, 0.0, busy=0.5, stays=0.5, depth=0.95)
    lines = machine.compare(Rounds(most=15))
    assert {line.decision.says for line in lines} == {Says.CANNOT_TELL}
    assert all(line.decision.smallest is not None and line.decision.smallest > 0.08 for line in lines)
    assert all(line.why.startswith("noise hides any change below ") for line in lines)
    assert machine.measured == 30


def test_more_rounds_are_made_only_where_noise_asks_for_them() -> None:
    quiet, loud = Machine(3, 0.0, depth=0.0), Machine(3, 0.0, depth=0.6)
    assert {line.decision.says for line in quiet.compare()} == {Says.NO_DIFFERENCE}
    loud.compare()
    assert quiet.measured == 20
    assert loud.measured > 20


RATE = (Measured("rate", "/s", higher_is_better=True),)


def played(befores: list[float], afters: list[float], rounds: Rounds) -> tuple[Says, int, bool]:
    """Compare what was measured one after the other; return what is said, how many values were taken, and if twice."""
    values = {BEFORE: iter(befores), AFTER: iter(afters)}
    (line,) = compare_in_rounds(RATE, lambda side: [next(values[side])], lambda: False, rounds)
    return line.decision.says, len(befores) - len([*values[BEFORE]]), line.confirmed


def test_what_looks_slower_is_measured_again_before_it_is_called_so() -> None:
    rounds = Rounds(first=10, most=10)
    slow = [90.0 + number / 10 for number in range(10)]
    same = [100.0 + (-1) ** number * (0.1 + number / 10) for number in range(10)]
    assert played([100.0] * 20, slow * 2, rounds) == (Says.SLOWER, 20, True)
    assert played([100.0] * 20, slow + same, rounds)[0] is not Says.SLOWER
    assert played([100.0] * 20, same + slow, rounds) == (Says.NO_DIFFERENCE, 10, False)
    assert played([100.0] * 20, [100 + (100 - one) for one in slow] * 2, rounds) == (Says.FASTER, 10, False)


def test_of_how_many_each_round_is_is_said_and_how_many_there_may_be() -> None:
    shown: list[str] = []
    values = {BEFORE: iter([100.0] * 7), AFTER: iter([10.0, 1000.0] * 3 + [10.0])}
    rounds = Rounds(first=2, more=3, most=7)
    compare_in_rounds(RATE, lambda side: [next(values[side])], lambda: False, rounds, shown.append)
    why = ", and 7 at most: noise hides too much"
    more = [f"round {at} of 5{why}" for at in (3, 4, 5)] + [f"round {at} of 7{why}" for at in (6, 7)]
    assert shown == ["round 1 of 2", "round 2 of 2", *more]


def test_a_change_too_small_to_count_is_no_difference() -> None:
    rounds = Rounds(first=10, most=10, tolerance=Tolerance(ignored=0.02))
    barely = [99.0 + number / 100 for number in range(10)]
    assert played([100.0] * 20, barely * 2, rounds) == (Says.NO_DIFFERENCE, 10, False)
    rounds = Rounds(first=10, most=10, tolerance=Tolerance(ignored=0.005))
    assert played([100.0] * 20, barely * 2, rounds) == (Says.SLOWER, 20, True)


def test_too_few_rounds_say_nothing_rather_than_no_difference() -> None:
    rounds = Rounds(first=3, most=3)
    (line,) = compare_in_rounds(RATE, lambda _: [100.0], lambda: False, rounds)
    assert (line.decision.says, line.decision.smallest) == (Says.CANNOT_TELL, None)
    assert line.why == "3 rounds are too few to be sure of anything"


def test_sides_come_in_the_order_that_is_drawn() -> None:
    asked: list[int] = []

    def measure(side: int) -> list[float]:
        asked.append(side)
        return [100.0]

    draws = iter([False, True, True, False, False, True, False])
    compare_in_rounds(RATE, measure, lambda: next(draws), Rounds(first=7, most=7))
    assert asked == [BEFORE, AFTER, AFTER, BEFORE, AFTER, BEFORE, BEFORE, AFTER, BEFORE, AFTER, AFTER, BEFORE, BEFORE,
                     AFTER]  # fmt: skip
