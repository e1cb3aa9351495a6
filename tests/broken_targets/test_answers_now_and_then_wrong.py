"""Targets that are right but for a heartbeat now and then, which a proxy in front of them answers otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.broken_targets import faults
from tests.broken_targets.proxy import Moment
from tests.broken_targets.runs import (
    DURATION_SECONDS,
    FAIL,
    INCONCLUSIVE,
    PASS,
    Case,
    Ended,
    assert_ended_well,
    play_all,
    scenario,
)
from tests.broken_targets.test_clocks_that_differ import right
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from tests.broken_targets.proxy import Asked, Fault, Talk

ONE_IN, SKIPPED = 50, 30
"""How many heartbeats come to one that is answered wrongly, and before the first: a run of seconds has one or two."""
FAILURE = b'{"success":false,"error":"internal error"}'
OUTAGE = b'{"success":false,"error":"nonce backend unavailable"}'


def first_done(then: Fault) -> Fault:
    """Have the real server do it, and answer otherwise."""

    async def fault(talk: Talk) -> bool:
        await talk.real()
        return await then(talk)

    return fault


class OneInMany:
    """Means one heartbeat in many."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, asked: Asked) -> bool:
        if not asked.path.endswith("/heartbeat"):
            return False
        self._seen += 1
        return self._seen % ONE_IN == SKIPPED


class Lie(NamedTuple):
    """What is answered in place of the truth, and what the run must say of it."""

    fault: Fault
    codes: tuple[int, ...]
    says: tuple[str, ...]


LIES = {
    "500 though it took effect": Lie(
        first_done(faults.status(500, FAILURE)),
        (FAIL,),
        ("expected 200 accepted, got 500 internal error, and it took effect: the audit shows", "answers.took-effect"),
    ),
    "500 and nothing was done": Lie(
        faults.status(500, FAILURE), (FAIL,), ("expected 200 accepted, got 500 internal error", "answers.failed")
    ),
    "an outage though it took effect": Lie(
        first_done(faults.status(503, OUTAGE)),
        (FAIL,),
        ("got 503 nonce backend unavailable, and it took effect", "answers.took-effect"),
    ),
    "an outage": Lie(
        faults.status(503, OUTAGE), (PASS, INCONCLUSIVE), ("refused for an outage that the contract allows to be told",)
    ),
    "403 though it took effect": Lie(
        first_done(faults.status(403, b'{"success":false,"error":"no active consent for worker/policy"}')),
        (FAIL,),
        ("expected 200 accepted, got 403 no active consent for worker/policy, and it took effect",),
    ),
    "lost once it took effect": Lie(
        first_done(faults.close_at_once),
        (FAIL,),
        ("got no whole answer: its connection was cut off", "and it took effect", "answers.lost"),
    ),
    "cut midway": Lie(
        faults.close_midway, (FAIL,), ("got no whole answer: its connection was cut off", "answers.lost")
    ),
    "never answered": Lie(first_done(faults.hang), (FAIL,), ("got no whole answer within ", "answers.lost")),
    "garbage": Lie(faults.says(b"\x00\xff"), (FAIL,), ("got what is no HTTP answer", "answers.lost")),
    "the truth": Lie(right, (PASS, INCONCLUSIVE), ("judged answers were right",)),
}
"""Each of them lets the run go on as if nothing had been, and passed without a finding once."""
CALM = scenario(())
LONGER = CALM.replace(f'"{DURATION_SECONDS}s"', f'"{2 * DURATION_SECONDS}s"')
"""So that patience ends before the run does."""
SAMPLE = ("500 though it took effect", "lost once it took effect", "never answered", "the truth")
CASES = {
    name: Case(
        name, lie.fault, Moment.CHECK, lie.codes, (), OneInMany(), scenario=LONGER if name == "never answered" else CALM
    )
    for name, lie in LIES.items()
    if SOAK or name in SAMPLE
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended | BaseException]:
    """What came of every case."""
    return play_all(list(CASES.values()), tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", CASES)
def test_one_wrong_answer_in_many_is_found_and_told_whole(ended: dict[str, Ended | BaseException], name: str) -> None:
    assert_ended_well(CASES[name], ended[name])
    result = ended[name]
    assert isinstance(result, Ended)
    assert result.verdict is not None
    (answers,) = (one for one in result.verdict["checkers"] if one["name"] == "answers")
    assert answers["status"] == ("fail" if LIES[name].codes == (FAIL,) else "pass")
    reported = " ".join([answers["summary"], *(f"{one['message']} {one['rule']}" for one in answers["findings"])])
    for words in LIES[name].says:
        assert words in reported
