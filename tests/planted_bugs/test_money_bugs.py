"""Each bug that loses money, or makes some, is proven by the checker that is meant to; the server without it passes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from simulator.checkers.verdict import Status
from simulator.judging.rules import known_rules
from tests.checkers.market_days import DAYS
from tests.checkers.market_play import as_json
from tests.planted_bugs.faulty_server import edited, planted
from tests.planted_bugs.money_faults import MONEY_FAULTS

if TYPE_CHECKING:
    from tests.planted_bugs.faults import Fault


@pytest.mark.parametrize("day", DAYS)
def test_the_server_as_it_is_passes(day: str) -> None:
    verdicts = DAYS[day]().judge()
    assert {one.summary for one in verdicts.values() if one.status.is_problem} == set()
    assert verdicts["ledger"].status is Status.PASS


@pytest.mark.parametrize("fault", MONEY_FAULTS, ids=[fault.name for fault in MONEY_FAULTS])
def test_a_money_bug_is_caught_and_the_evidence_shows_it(fault: Fault) -> None:
    with planted(fault.edits):
        play = DAYS[fault.scenario]()
    (name,) = fault.caught_by
    verdict = play.judge()[name]
    assert verdict.status is Status.FAIL, verdict.summary
    assert re.search(fault.evidence, as_json(verdict)), verdict.findings
    assert {f"checker/{one.rule}" for one in verdict.findings} <= set(known_rules())


def test_there_are_fourteen_at_least_and_all_are_different() -> None:
    assert len(MONEY_FAULTS) >= 14
    assert (
        len({fault.edits for fault in MONEY_FAULTS}) == len({fault.name for fault in MONEY_FAULTS}) == len(MONEY_FAULTS)
    )
    assert {name for fault in MONEY_FAULTS for name in fault.caught_by} == {
        "ledger",
        "metering",
        "matching",
        "isolation",
    }


@pytest.mark.parametrize("fault", MONEY_FAULTS, ids=[fault.name for fault in MONEY_FAULTS])
def test_each_fault_still_has_its_place(fault: Fault) -> None:
    assert edited(fault.edits)
