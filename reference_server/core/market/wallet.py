"""Accounts and withdrawals: balances, transactions, pending withdrawals and the payout gateway's outcomes.

Contract: Wallet. Decisions are atomic: two requests with one key cannot both be undecided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.core.changes import change
from reference_server.core.market.addresses import normal_address
from reference_server.core.market.idempotency import KEY_REQUIRED, KeptAnswer, digest_of, valid_key
from reference_server.core.market.ledger import (
    AVAILABLE,
    PAYOUTS,
    Leg,
    list_transactions,
    show_balances,
)
from reference_server.core.market.ledger import (
    PENDING as ON_ITS_WAY,
)
from reference_server.core.market.market import Happening
from reference_server.core.market.money import ASSETS, parse_amount
from reference_server.core.market.withdrawals import (
    PENDING,
    SETTLED,
    AddressUse,
    Withdrawal,
    show_withdrawal,
)
from reference_server.limits import WITHDRAWALS_PENDING_MAX
from reference_server.ports import PayoutOutcome
from reference_server.wire.replies import FULL, INVALID_REQUEST, failure, retry_after, success

if TYPE_CHECKING:
    from reference_server.core.market.market import HasMarket, Market
    from reference_server.wire.values import Instant, Reply

WITHDRAW_ROUTE = "POST /wallet/withdraw"
INVALID_ASSET = failure(400, "invalid asset")
INVALID_AMOUNT = failure(400, "invalid amount")
INVALID_ADDRESS = failure(400, "invalid address")
LIMIT_EXCEEDED = failure(429, "withdrawal limit exceeded")
IN_COOLDOWN = failure(403, "address in cooldown")
INSUFFICIENT_BALANCE = failure(402, "insufficient balance")
WITHDRAWAL_NOT_FOUND = failure(404, "withdrawal not found")


class WithdrawalBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of `POST /wallet/withdraw`. A JSON number as amount is decoded, and refused later as an amount."""

    asset: str
    amount: str | int | float
    address: str


_decode = msgspec.json.Decoder(WithdrawalBody).decode


@change("answer_kept")
def keep_answer(
    state: HasMarket, at: Instant, account: str, route: str, key: str, digest: bytes, status: int, body: bytes
) -> None:
    """Store the first answer to an idempotency key."""
    market = state.market
    market.answers.keep(KeptAnswer(account, route, key, bytes(digest), status, bytes(body), at))


@change("address_used")
def use_address(state: HasMarket, at: Instant, account: str, asset: str, address: str) -> None:
    """Begin the cooldown of an address, in its normal spelling."""
    market = state.market
    market.withdrawals.use_address(AddressUse(account, asset, address, at))


@change("withdrawal_requested")
def add_withdrawal(
    state: HasMarket, at: Instant, withdrawal_id: str, account: str, asset: str, amount: int, address: str
) -> None:
    """Add a pending withdrawal, and take its money from the account."""
    market = state.market
    legs = (
        Leg("withdrawal", account, AVAILABLE, asset, -amount),
        Leg("withdrawal", account, ON_ITS_WAY, asset, amount),
    )
    market.ledger.post(at.wall_ns, withdrawal_id, legs)
    market.withdrawals.add(Withdrawal(withdrawal_id, account, asset, amount, address, at, at))


@change("withdrawal_finished")
def finish_withdrawal(state: HasMarket, at: Instant, withdrawal_id: str, outcome: str) -> None:
    """Settle a pending withdrawal, or return its money, by `outcome`."""
    market = state.market
    withdrawal = market.withdrawals.pending[withdrawal_id]
    account, asset, amount = withdrawal.account, withdrawal.asset, withdrawal.amount
    kind = "withdrawal_settled" if outcome == SETTLED else "withdrawal_returned"
    to = PAYOUTS if outcome == SETTLED else account
    legs = (Leg(kind, account, ON_ITS_WAY, asset, -amount), Leg(kind, to, AVAILABLE, asset, amount))
    market.ledger.post(at.wall_ns, withdrawal_id, legs)
    market.withdrawals.finish(withdrawal, outcome, at)


@change("account_opened")
def open_account(state: HasMarket, at: Instant, account: str, credit: int) -> None:
    """Open an account with a credit in micro-USDT. Called once for each account."""
    market = state.market
    market.ledger.begin(at.wall_ns, account, credit)


def ensure_account(market: Market, now: Instant, account: str) -> Reply | None:
    """Open the account of a caller with valid credentials at its first request, and credit it once.

    Return a refusal if there is no room for it, else None.
    """
    known = market.ledger.accounts.get(account)
    if known is not None and known.begun:
        return None
    if market.ledger.begun >= market.bounds.accounts_max:
        return FULL
    open_account(market, now, account, market.conditions.dev_credit)
    return None


def withdraw(market: Market, now: Instant, account: str, key: str, body: bytes, withdrawal_id: str) -> Reply:
    """`POST /wallet/withdraw`, checked in the contract's order; `key` is empty if none was sent."""
    try:
        body.decode("utf-8")
        read = _decode(body)  # nothing in what it reads is nested
        digest = digest_of(body)
    except (ValueError, RecursionError):
        return INVALID_REQUEST
    if not valid_key(key):
        return KEY_REQUIRED
    replayed = market.answers.find(account, WITHDRAW_ROUTE, key, digest, now)
    if replayed is not None:
        return replayed
    asset, conditions = read.asset, market.conditions
    if asset not in ASSETS:
        return INVALID_ASSET
    amount = parse_amount(read.amount, asset) if isinstance(read.amount, str) else None
    if amount is None:
        return INVALID_AMOUNT
    address = normal_address(asset, read.address)
    if address is None:
        return INVALID_ADDRESS
    refusal = _cooldown(market, now, account, asset, address)
    if refusal is not None:
        return refusal
    if market.withdrawals.exceeds(conditions, now, account, asset, amount):
        return LIMIT_EXCEEDED
    if amount > market.ledger.balance(account, asset, AVAILABLE):
        return INSUFFICIENT_BALANCE
    if len(market.withdrawals.pending) >= WITHDRAWALS_PENDING_MAX or not market.answers.has_room(
        account, len(body), now
    ):
        return FULL
    add_withdrawal(market, now, withdrawal_id, account, asset, amount, read.address)
    reply = success({"withdrawal": show_withdrawal(market.withdrawals.all[withdrawal_id])}, 202)
    keep_answer(market, now, account, WITHDRAW_ROUTE, key, digest, reply.status, reply.body)
    market.happened.append(
        Happening("withdrawal_requested", account, withdrawal_id, {"asset": asset, "state": PENDING}, account)
    )
    return reply


def _cooldown(market: Market, now: Instant, account: str, asset: str, address: str) -> Reply | None:
    """Return the refusal of an address that is still cooling down, or None. The first use starts the cooldown."""
    wait_ns = market.withdrawals.cooldown_ns(market.conditions, now, account, asset, address)
    if not wait_ns:
        return None
    refusal = begin_cooldown(market, now, account, asset, address)
    if refusal is not None:
        return refusal
    return retry_after(IN_COOLDOWN, wait_ns)


def begin_cooldown(market: Market, now: Instant, account: str, asset: str, address: str) -> Reply | None:
    """Start the cooldown of an address (in its normal spelling) unless it has started. Return a refusal, or None."""
    if (account, asset, address) in market.withdrawals.addresses or not market.conditions.cooldown_ns:
        return None
    if not market.withdrawals.has_room_for_address(account):
        return FULL
    use_address(market, now, account, asset, address)
    return None


def apply_payout(market: Market, now: Instant, withdrawal_id: str, outcome: PayoutOutcome) -> bool:
    """Apply the payout gateway's outcome of a withdrawal; return whether that finished it.

    A withdrawal stays pending while the outcome is unknown. Outcomes of finished withdrawals are ignored.
    """
    withdrawal = market.withdrawals.pending.get(withdrawal_id)
    if withdrawal is None or outcome is PayoutOutcome.UNKNOWN:
        return False
    finish_withdrawal(market, now, withdrawal_id, outcome.value)
    kind = "withdrawal_settled" if outcome is PayoutOutcome.SETTLED else "withdrawal_returned"
    market.happened.append(Happening(kind, "system", withdrawal_id, {"asset": withdrawal.asset}, withdrawal.account))
    return True


def balance(market: Market, account: str) -> Reply:
    """`GET /wallet/balance`."""
    return success({"balances": show_balances(market.ledger, account)})


def transactions(market: Market, account: str, asset: str, limit: int, offset: int) -> Reply:
    """`GET /wallet/transactions`; an empty `asset` selects both."""
    if asset not in {"", *ASSETS}:
        return INVALID_ASSET
    shown, total = list_transactions(market.ledger, account, asset, limit, offset)
    return success({"transactions": shown, "total": total, "limit": limit, "offset": offset})


def read_withdrawal(market: Market, account: str, withdrawal_id: str) -> Reply:
    """`GET /wallet/withdrawals/{id}`. Another account's withdrawal is not found."""
    withdrawal = market.withdrawals.all.get(withdrawal_id)
    if withdrawal is None or withdrawal.account != account:
        return WITHDRAWAL_NOT_FOUND
    return success({"withdrawal": show_withdrawal(withdrawal)})
