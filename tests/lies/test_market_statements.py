"""Every statement of the market that a client can see is proven by rules, and a lie or a bug against each is found."""

from __future__ import annotations

import pytest

from simulator.judging.market_rules import MARKET_RULES
from simulator.judging.rules import known_rules
from tests.checkers.market_lies import LIES
from tests.lies.market_statements import MARKET_STATEMENTS, RULE
from tests.lies.statements import PLANTED, Statement
from tests.planted_bugs.money_faults import MONEY_FAULTS

BUGS = {fault.name: fault for fault in MONEY_FAULTS}


@pytest.mark.parametrize("statement", MARKET_STATEMENTS, ids=lambda one: f"{one.section} {one.says}")
def test_a_statement_has_rules_and_lies_that_break_them(statement: Statement) -> None:
    assert statement.rules
    assert set(statement.rules) <= set(known_rules())
    assert {f"checker/{lie.removeprefix(RULE)}" for lie in statement.lies if lie.startswith(RULE)} == set(
        statement.rules
    )
    assert {lie.removeprefix(RULE) for lie in statement.lies if lie.startswith(RULE)} <= {one.rule for one in LIES}
    checkers = {rule.removeprefix("checker/").partition(".")[0] for rule in statement.rules}
    for lie in statement.lies:
        if lie.startswith(PLANTED):
            # What is charged and what is metered are two sides of one statement.
            assert BUGS[lie.removeprefix(PLANTED)].caught_by <= checkers | {"metering"}


def test_every_rule_and_every_bug_of_the_market_is_about_a_statement() -> None:
    assert {rule.removeprefix("checker/") for one in MARKET_STATEMENTS for rule in one.rules} == MARKET_RULES.keys()
    planted = {lie.removeprefix(PLANTED) for one in MARKET_STATEMENTS for lie in one.lies if lie.startswith(PLANTED)}
    assert planted == BUGS.keys()
