"""Targets on another clock, and such whose clocks are set, or leap, in the middle of a run.

Whose clock is wrong nobody can tell, so a difference is never held against the target. Machines go by the target's
clock, so that the rest is judged; what nobody can know then is inconclusive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.broken_targets.clocks import WrongClock
from tests.broken_targets.proxy import Moment
from tests.broken_targets.runs import (
    FAIL,
    INCONCLUSIVE,
    PASS,
    Case,
    Ended,
    assert_ended_well,
    play_all,
)

if TYPE_CHECKING:
    from tests.broken_targets.proxy import Talk

MAY_PASS = (PASS, INCONCLUSIVE)
HINT = "Set both clocks by NTP and run again."


async def right(talk: Talk) -> bool:
    """Return the right answer."""
    await talk.stream.send_all(await talk.real())
    return True


def off(seconds: float, codes: tuple[int, ...], *says: str) -> Case:
    """A server whose wall clock is off from the start."""
    judged = "judged answers were right"
    return Case(f"{seconds:+g} s off", right, Moment.CHECK, codes, (*says, judged), clock=WrongClock(seconds))


def leaping(
    name: str, moment: Moment, codes: tuple[int, ...], *says: str, wall: float = 0, monotonic: float = 0
) -> Case:
    """A server one of whose clocks is moved on at a moment of the run."""
    clock = WrongClock(wall_jump_seconds=wall, monotonic_jump_seconds=monotonic)

    async def fault(talk: Talk) -> bool:
        if not talk.memory:
            talk.memory["leapt"] = True
            clock.jump()
        return await right(talk)

    return Case(name, fault, moment, codes, says, clock=clock)


CASES = {
    case.name: case
    for case in (
        off(0, MAY_PASS, "The target's clock agrees with this machine's."),
        off(20, MAY_PASS, "The target's clock is 20 s ahead of this machine's; machines went by the target's."),
        off(-80, MAY_PASS, "The target's clock is 80 s behind this machine's; machines went by the target's."),
        off(
            600, (INCONCLUSIVE,), "The target's clock is 600 s ahead of this machine's", HINT, "so that the rest could"
        ),
        off(-600, (INCONCLUSIVE,), "The target's clock is 600 s behind this machine's", HINT),
        off(1e9, (INCONCLUSIVE,), "The target's clock is 1000000000 s ahead of this machine's", HINT),
        leaping("set ahead", Moment.RUNNING, (INCONCLUSIVE,), "was set ahead by about 600 s during", HINT, wall=600),
        leaping("set back", Moment.RUNNING, (INCONCLUSIVE,), "was set back by about 600 s during", HINT, wall=-600),
        leaping("set in attacks", Moment.ATTACKS, (INCONCLUSIVE,), "was set ahead by about 600 s", wall=600),
        leaping("leaps", Moment.RUNNING, (FAIL,), "the server's monotonic clock leapt", monotonic=600),
    )
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended | BaseException]:
    """What came of every case."""
    return play_all(list(CASES.values()), tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", CASES)
def test_a_difference_is_told_in_plain_words_and_accuses_nobody(
    ended: dict[str, Ended | BaseException], name: str
) -> None:
    assert_ended_well(CASES[name], ended[name])


@pytest.mark.parametrize("name", [name for name in CASES if name.endswith("off")])
def test_machines_and_attackers_go_by_the_targets_clock_so_that_it_is_judged_all_the_same(
    ended: dict[str, Ended | BaseException], name: str
) -> None:
    """Heartbeats are accepted, attacks with wrong timestamps refused, and figures possible, as at any right server."""
    result = ended[name]
    assert isinstance(result, Ended)
    assert result.verdict is not None
    checkers = {one["name"]: one for one in result.verdict["checkers"]}
    assert checkers["answers"]["status"] == checkers["alerts"]["status"] == "pass"
