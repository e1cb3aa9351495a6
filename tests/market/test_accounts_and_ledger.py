"""Accounts and their ledger: what is shown of it, how many there may be, and that each transaction is whole."""

from __future__ import annotations

import pytest

from reference_server.core.market.conditions import Conditions
from reference_server.core.market.ledger import AVAILABLE, FUNDING, HELD, Ledger, LedgerError, Leg, show_balances
from reference_server.core.market.money import BTC, USDT
from reference_server.core.market.wallet import apply_payout, ensure_account, transactions
from reference_server.ports import PayoutOutcome
from tests.market.small_market import (
    assert_sound,
    at,
    data_of,
    error_of,
    make_market,
    post,
    rich,
    take_out,
)


def test_an_accounts_transactions_are_its_entries() -> None:
    market = rich()
    post(market, "job_1", max_price_usdt="2.5")
    take_out(market, "1.5", id="wdr_1")
    apply_payout(market, at(0), "wdr_1", PayoutOutcome.RETURNED)
    page = data_of(transactions(market, "agent:a", USDT, 4, 0))
    assert page["total"] == 7
    rows = [(row["type"], row["account"], row["amount"], row["reference"]) for row in page["transactions"]]
    assert rows == [
        ("withdrawal_returned", "available", "1.500000", "wdr_1"),
        ("withdrawal_returned", "pending", "-1.500000", "wdr_1"),
        ("withdrawal", "pending", "1.500000", "wdr_1"),
        ("withdrawal", "available", "-1.500000", "wdr_1"),
    ]
    everything = data_of(transactions(market, "agent:a", "", 100, 0))["transactions"]
    assert len({row["id"] for row in everything}) == len(everything) == 8
    assert data_of(transactions(market, "agent:z", "", 100, 0))["total"] == 0
    assert error_of(transactions(market, "agent:a", "EUR", 100, 0)) == (400, "invalid asset")


def test_old_entries_are_folded_and_balances_stay() -> None:
    market = rich({"transactions_an_account_max": 3})
    for number in range(4):
        post(market, f"job_{number}", max_price_usdt="1")
    page = data_of(transactions(market, "agent:a", USDT, 100, 0))
    rows = [(row["type"], row["account"], row["amount"], row["balance_after"]) for row in page["transactions"]]
    assert rows == [
        ("escrow_hold", "held", "1.000000", "4.000000"),
        ("escrow_hold", "available", "-1.000000", "99996.000000"),
        ("escrow_hold", "held", "1.000000", "3.000000"),
        ("opening", "held", "2.000000", "2.000000"),
        ("opening", "available", "99997.000000", "99997.000000"),
    ]
    assert_sound(market)


def test_an_account_is_credited_once_also_if_it_earned_before() -> None:
    market = make_market(Conditions(dev_credit=5))
    market.ledger.post(0, "x", [Leg("credit", FUNDING, AVAILABLE, USDT, -3), Leg("x", "owner:o", AVAILABLE, USDT, 3)])
    for _ in range(3):
        assert ensure_account(market, at(0), "owner:o") is None
    assert market.ledger.balance("owner:o", USDT, AVAILABLE) == 8


def test_accounts_are_bounded() -> None:
    market = rich({"accounts_max": 2})
    legs = (Leg("credit", FUNDING, AVAILABLE, USDT, -3), Leg("x", "owner:earns", AVAILABLE, USDT, 3))
    market.ledger.post(0, "x", legs)
    assert ensure_account(market, at(0), "agent:second") is None  # who only earns takes nobody's place
    refusal = ensure_account(market, at(0), "agent:new")
    assert refusal is not None
    assert error_of(refusal) == (503, "capacity reached")
    assert ensure_account(market, at(0), "agent:a") is None


def test_a_transaction_is_whole_or_not_at_all() -> None:
    ledger = Ledger()
    ledger.begin(0, "agent:a", 10)
    before = show_balances(ledger, "agent:a"), ledger.sequence
    for legs in (
        [Leg("x", "agent:a", AVAILABLE, USDT, -1)],
        [Leg("x", "agent:a", AVAILABLE, USDT, -11), Leg("x", "agent:b", AVAILABLE, USDT, 11)],
        [Leg("x", "agent:a", AVAILABLE, USDT, -1), Leg("x", "agent:a", HELD, BTC, 1)],
        [Leg("x", "agent:b", AVAILABLE, USDT, -1), Leg("x", "agent:a", HELD, USDT, 1)],
    ):
        with pytest.raises(LedgerError):
            ledger.post(0, "r", legs)
    assert (show_balances(ledger, "agent:a"), ledger.sequence) == before
    assert set(ledger.accounts) == {"agent:a", FUNDING}
