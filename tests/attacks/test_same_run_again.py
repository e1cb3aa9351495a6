"""A deployment that has seen a run before is told nothing else by the same run again: a seed makes the same draws."""

from __future__ import annotations

from decimal import Decimal

import pytest

from simulator.attacks import CATALOGUE
from simulator.attacks.agents.accounts import AccountAttack
from tests.attacks.playing import World

SETTINGS = {"wallet_dev_credit_usdt": Decimal(1000), "withdrawal_cooldown_seconds": 2}


@pytest.mark.parametrize("name", [name for name, one in CATALOGUE.items() if issubclass(one, AccountAttack)])
def test_an_attack_of_the_same_seed_passes_a_second_time(name: str) -> None:
    first, second = World(SETTINGS), World(SETTINGS)
    first.play(name)
    second.api, second.now_ns = first.api, first.now_ns
    second.context.now, second.context.owner_prefix = (lambda: second.now_ns), "owners-of-a-later-run"
    performance = second.play(name)
    assert performance.unsettled == ""
    assert not performance.wrong
    assert all(one.held is True for one in performance.stated), performance.stated
