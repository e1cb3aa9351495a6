"""Accounts with their balances and entries in files, and what the market counts (contract: Wallet)."""

from __future__ import annotations

from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from reference_server.core.market.ledger import FUNDING, PARTS, TYPES, Account, Entry
from reference_server.core.market.money import ASSETS
from reference_server.core.table import Table
from reference_server.limits import AMOUNT_UNITS_MAX, MARKET_ACCOUNTS_MAX, OWNERS_MAX, TRANSACTIONS_AN_ACCOUNT_MAX
from reference_server.wire.exposition import Figure
from reference_server.wire.sections import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reference_server.core.state import State
    from reference_server.wire.sections import Reading
    from reference_server.wire.state_file import StateFile
    from reference_server.wire.values import Instant

_COUNTERS = "counters"
_KINDS = ("owner:", "agent:", "platform:")
_OF_PLATFORM = 3
"""Accounts of the platform's own, beside those of callers."""


class AccountRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account: units by asset and part, and its newest entries, oldest first; older ones are in `openings`."""

    name: str
    begun: bool
    balances: dict[str, dict[str, int]]
    entries: list[Entry]
    openings: list[Entry]


class CountersRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Counters: transactions, jobs created, outcomes of jobs and withdrawals, ignored reports."""

    id: str
    transactions: int
    jobs: int
    transitions: dict[str, int]
    withdrawals: dict[str, int]
    ignored: dict[str, int]


def _keep(state: State) -> Iterator[tuple[str, AccountRecord]]:
    for account in state.market.ledger.accounts.values():
        balances: dict[str, dict[str, int]] = {}
        for (asset, part), units in account.balances.items():
            balances.setdefault(asset, {})[part] = units
        yield (
            account.name,
            AccountRecord(
                account.name, account.begun, balances, list(account.entries), list(account.openings.values())
            ),
        )


def _restore(state: State, file: StateFile, _now: Instant) -> None:
    for one in SECTION.of(file.sections).values():
        balances = {(asset, part): units for asset, parts in one.balances.items() for part, units in parts.items()}
        openings = {(entry.asset, entry.part): entry for entry in one.openings}
        state.market.ledger.restore(Account(one.name, balances, deque(one.entries), openings, one.begun))


def _check(reading: Reading, place: str, _key: str, one: AccountRecord) -> None:
    reading.require(place, "its name is no account's", right=one.name.startswith(_KINDS))
    if reading.is_first("the sums of accounts"):
        _check_sums(reading)
    for asset, parts in one.balances.items():
        known = asset in ASSETS and all(part in PARTS for part in parts)
        reading.require(place, "a balance of it is of no asset or part there is", right=known)
        least = -AMOUNT_UNITS_MAX if one.name == FUNDING else 0
        within = all(least <= units <= AMOUNT_UNITS_MAX for units in parts.values())
        reading.require(place, "a balance of it is below zero, or too large", right=within)
    few = len(one.entries) <= TRANSACTIONS_AN_ACCOUNT_MAX
    reading.require(place, f"it has more than {TRANSACTIONS_AN_ACCOUNT_MAX} entries", right=few)
    for entry in (*one.entries, *one.openings):
        known = entry.asset in ASSETS and entry.part in PARTS and entry.type in TYPES
        within = abs(entry.amount) <= AMOUNT_UNITS_MAX and abs(entry.balance_after) <= AMOUNT_UNITS_MAX
        reading.require(place, f"its entry {entry.id} is none there can be", right=known and within)


def _check_sums(reading: Reading) -> None:
    for asset in ASSETS:
        accounts = SECTION.of(reading.sections).values()
        total = sum(sum(one.balances.get(asset, {}).values()) for one in accounts)
        reading.require(SECTION.name, f"all balances of {asset} come to {total}, and not to zero", right=total == 0)


def _figures(state: State) -> Sequence[Figure]:
    imbalance = state.market.ledger.imbalance()
    return (Figure("hatchfarm_ledger_imbalance", "By how much all balances are off zero: always 0.", imbalance),)


def _keep_counters(state: State) -> Iterator[tuple[str, CountersRecord]]:
    market = state.market
    if market.ledger.sequence or market.job_number or any(market.ignored.values()):
        yield (
            _COUNTERS,
            CountersRecord(
                _COUNTERS,
                market.ledger.sequence,
                market.job_number,
                dict(market.transitions),
                dict(market.withdrawals.count_by_state),
                dict(market.ignored),
            ),
        )


def _restore_counters(state: State, file: StateFile, _now: Instant) -> None:
    market, counters = state.market, COUNTERS.of(file.sections).get(_COUNTERS)
    if counters is not None:
        market.ledger.sequence, market.job_number = counters.transactions, max(market.job_number, counters.jobs)
        market.transitions |= counters.transitions
        market.withdrawals.count_by_state |= counters.withdrawals
        market.ignored |= counters.ignored


def _check_counters(reading: Reading, place: str, key: str, one: CountersRecord) -> None:
    counts = (one.transactions, one.jobs, *one.transitions.values(), *one.withdrawals.values(), *one.ignored.values())
    reading.require(place, "a count of it is below zero", right=min(counts) >= 0)
    reading.require(place, f"only {_COUNTERS} stands here", right=key == _COUNTERS)


SECTION = Section(
    name="accounts",
    record=AccountRecord,
    most=MARKET_ACCOUNTS_MAX + OWNERS_MAX + _OF_PLATFORM,  # owners that only earn are beyond those that begin
    key=attrgetter("name"),
    check=_check,
    hidden=frozenset(),
)
TABLE: Table[Any, AccountRecord] = Table(section=SECTION, keep=_keep, restore=_restore, figures=_figures)
COUNTERS = Section(name="market", record=CountersRecord, most=1, check=_check_counters, hidden=frozenset())
COUNTERS_TABLE: Table[Any, CountersRecord] = Table(section=COUNTERS, keep=_keep_counters, restore=_restore_counters)
"""After jobs and withdrawals, which count themselves when they are restored."""
