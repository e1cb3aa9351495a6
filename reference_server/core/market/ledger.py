"""A double-entry ledger: balances, and the entries that led to them (contract: Wallet)."""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds
from reference_server.core.market.money import ASSETS, USDT, format_amount
from reference_server.wire.timestamps import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable

AVAILABLE, HELD, PENDING = "available", "held", "pending"
PARTS = (AVAILABLE, HELD, PENDING)
"""The parts of a principal's balance of an asset: spendable, in escrow, and in pending withdrawals."""
FUNDING, FEES, PAYOUTS = "platform:funding", "platform:fees", "platform:payouts"
"""The accounts of credits, of fees, and of settled withdrawals. Only the first may be below zero."""
OPENING = "opening"
TYPES = (
    "credit",
    "escrow_hold",
    "escrow_release",
    "job_charge",
    "job_earning",
    "platform_fee",
    "withdrawal",
    "withdrawal_settled",
    "withdrawal_returned",
    OPENING,
)
_ID_DIGITS = 16


class LedgerError(Exception):
    """Raised for a transaction whose sum is not zero, or that would leave an account below zero: a bug here."""


class Leg(NamedTuple):
    """One side of a transaction: `amount` units come to a part of an account, or leave it when negative."""

    type: str
    account: str
    part: str
    asset: str
    amount: int


class Entry(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One leg as it is kept for its account; all entries of a transaction have its `reference`."""

    id: str
    type: str
    asset: str
    part: str
    amount: int
    balance_after: int
    reference: str
    created_ns: int


class Account(msgspec.Struct, gc=False):
    """One principal's balances by (asset, part), its newest entries, and older ones folded by (asset, part)."""

    name: str
    balances: dict[tuple[str, str], int]
    entries: deque[Entry]
    openings: dict[tuple[str, str], Entry]
    begun: bool = False
    """Whether its holder made a request and was credited; other accounts have only earned so far."""

    def balance(self, asset: str, part: str) -> int:
        """Return units of an asset."""
        return self.balances.get((asset, part), 0)


class Ledger:
    """All accounts. `sequence` counts transactions; `sums` is what all balances of an asset come to: always zero."""

    def __init__(self, bounds: MarketBounds = MARKET_BOUNDS) -> None:
        self._bounds = bounds
        self.accounts: dict[str, Account] = {}
        self.begun = 0
        """The number of begun accounts; owners that only earn are bounded with their machines."""
        self.sequence = 0
        self.sums = dict.fromkeys(ASSETS, 0)

    def open(self, name: str) -> Account:
        """Return an account, made when it is not there."""
        account = self.accounts.get(name)
        if account is None:
            account = self.accounts[name] = Account(name, {}, deque(), {})
        return account

    def restore(self, account: Account) -> None:
        """Add an account from a snapshot. `sequence` has to be restored beside it: ids of entries follow from it."""
        self.accounts[account.name] = account
        self.begun += account.begun
        for (asset, _), units in account.balances.items():
            self.sums[asset] += units

    def begin(self, created_ns: int, name: str, credit: int) -> None:
        """Begin an account with a credit in micro-USDT."""
        account = self.open(name)
        self.begun += not account.begun
        account.begun = True
        legs = (Leg("credit", FUNDING, AVAILABLE, USDT, -credit), Leg("credit", name, AVAILABLE, USDT, credit))
        self.post(created_ns, name, legs)

    def balance(self, name: str, asset: str, part: str) -> int:
        """Return units of an asset; 0 if the account does not exist."""
        account = self.accounts.get(name)
        return 0 if account is None else account.balance(asset, part)

    def post(self, created_ns: int, reference: str, legs: Iterable[Leg]) -> None:
        """Make one transaction, completely or not at all. Legs with amount 0 are left out.

        Raises LedgerError when its legs do not sum to zero in each asset, or would leave an account below zero.
        """
        legs = [leg for leg in legs if leg.amount]
        sums = dict.fromkeys(ASSETS, 0)
        after: dict[tuple[str, str, str], int] = {}
        for leg in legs:
            sums[leg.asset] += leg.amount
            place = leg.account, leg.asset, leg.part
            after[place] = after.get(place, self.balance(*place)) + leg.amount
        if any(sums.values()):
            raise LedgerError(f"the legs for {reference} do not sum to zero")
        if any(units < 0 and account != FUNDING for (account, _, _), units in after.items()):
            raise LedgerError(f"{reference} would leave an account below zero")
        self.sequence += 1
        for number, leg in enumerate(legs):
            self._enter(leg, created_ns, reference, number)

    def _enter(self, leg: Leg, created_ns: int, reference: str, number: int) -> None:
        account = self.open(leg.account)
        place = leg.asset, leg.part
        balance = account.balances[place] = account.balance(*place) + leg.amount
        self.sums[leg.asset] += leg.amount
        # Only the account's holder sees the id, and its reference is from a cryptographic source.
        name = sha256(f"{reference}|{self.sequence}|{number}".encode()).hexdigest()[:_ID_DIGITS]
        account.entries.append(
            Entry("txn_" + name, leg.type, leg.asset, leg.part, leg.amount, balance, reference, created_ns)
        )
        while len(account.entries) > self._bounds.transactions_an_account_max:
            _fold(account)

    def imbalance(self) -> int:
        """Return the absolute deviation of all sums from zero; anything but 0 is a bug that should page someone."""
        return sum(map(abs, self.sums.values()))


def _fold(account: Account) -> None:
    """Fold the oldest entry into the opening one of its asset and part, which takes its id and its time."""
    oldest = account.entries.popleft()
    account.openings[oldest.asset, oldest.part] = msgspec.structs.replace(
        oldest, type=OPENING, amount=oldest.balance_after, reference=OPENING
    )


def show_balances(ledger: Ledger, name: str) -> list[dict[str, str]]:
    """Shape an account's balances: both assets always."""
    return [
        {"asset": asset, **{part: format_amount(ledger.balance(name, asset, part), asset) for part in PARTS}}
        for asset in ASSETS
    ]


def _show_entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "type": entry.type,
        "asset": entry.asset,
        "amount": format_amount(entry.amount, entry.asset),
        "account": entry.part,
        "balance_after": format_amount(entry.balance_after, entry.asset),
        "reference": entry.reference,
        "created_at": format_timestamp(entry.created_ns),
    }


def list_transactions(
    ledger: Ledger, name: str, asset: str, limit: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """Return one page of an account's entries, newest first and opening ones last, and how many there are.

    `asset` is empty for both.
    """
    account = ledger.accounts.get(name)
    if account is None:
        return [], 0
    folded = sorted(account.openings.values(), key=lambda entry: entry.created_ns)
    entries = [entry for entry in (*folded, *account.entries) if asset in {"", entry.asset}]
    entries.reverse()
    return [_show_entry(entry) for entry in entries[offset : offset + limit]], len(entries)
