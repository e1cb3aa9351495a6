"""Each lie about a market day is proven by its rule, with what shows it; and every rule of the market has a lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulator.checkers import CHECKERS
from simulator.checkers.verdict import Status
from simulator.judging.market_rules import MARKET_RULES
from tests.checkers.market_days import DAYS
from tests.checkers.market_lies import LIES

if TYPE_CHECKING:
    from tests.checkers.lies_of_markets import MarketLie

SHOWS = {"account", "job", "reference", "worker_id", "metric", "shown", "object", "key", "machine"}


@pytest.mark.parametrize("lie", LIES, ids=[f"{one.rule} {one.tell.__name__}" for one in LIES])
def test_a_lie_is_proven_by_its_rule(lie: MarketLie) -> None:
    play = DAYS[lie.day]()
    lie.tell(play)
    verdict = CHECKERS[lie.rule.partition(".")[0]](play.history, play.facts)
    assert verdict.status is Status.FAIL, verdict.summary
    found = [one for one in verdict.findings if one.rule == lie.rule]
    assert found, verdict.findings
    assert all(SHOWS & one.evidence.keys() for one in found)
    assert verdict.figures["violations"] == verdict.findings_total


def test_every_rule_of_the_market_has_a_lie() -> None:
    assert {one.rule for one in LIES} == MARKET_RULES.keys()
