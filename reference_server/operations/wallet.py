"""The operations on a caller's money (contract: Wallet)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.calls import PAGING, Parameter, page_of
from reference_server.core.market import wallet
from reference_server.core.market.idempotency import KEY_REQUIRED, KEY_REUSED
from reference_server.core.market.money import ASSETS
from reference_server.operations.accounts import IDEMPOTENCY_KEY, audited, idempotency_key
from reference_server.operations.callers import ACCOUNT
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import WITHDRAWAL_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State


class Balance(msgspec.Struct, frozen=True):
    """What an account has of an asset: to spend, in escrow, and on its way out."""

    asset: str
    available: str
    held: str
    pending: str


class Balances(msgspec.Struct, frozen=True):
    """The caller's balances, of all assets."""

    balances: list[Balance]


class Transaction(msgspec.Struct, frozen=True):
    """One entry of the caller's own; entries of one transaction share their `reference`."""

    id: str
    type: str
    asset: str
    amount: str
    account: str
    balance_after: str
    reference: str
    created_at: str


class Transactions(msgspec.Struct, frozen=True):
    """One page of the caller's entries, newest first."""

    transactions: list[Transaction]
    total: int
    limit: int
    offset: int


class ShownWithdrawal(msgspec.Struct, frozen=True):
    """Money on its way out; `state` is `pending`, `settled` or `returned`."""

    id: str
    asset: str
    amount: str
    address: str
    state: str
    created_at: str
    updated_at: str


class OneWithdrawal(msgspec.Struct, frozen=True):
    """One of the caller's withdrawals."""

    withdrawal: ShownWithdrawal


def show_balance(state: State, call: Call[bytes]) -> Reply:
    """`GET /wallet/balance`."""
    return wallet.balance(state.market, call.account)


def show_transactions(state: State, call: Call[bytes]) -> Reply:
    """`GET /wallet/transactions`."""
    page = page_of(call)
    if isinstance(page, Reply):
        return page
    return wallet.transactions(state.market, call.account, page.asked[ASSET.name], page.limit, page.offset)


@audited
def withdraw(state: State, call: Call[bytes]) -> Reply:
    """`POST /wallet/withdraw`."""
    key, withdrawal_id = idempotency_key(call) or "", state.new_id(WITHDRAWAL_ID)
    return wallet.withdraw(state.market, call.now, call.account, key, call.body, withdrawal_id)


def show_withdrawal(state: State, call: Call[bytes]) -> Reply:
    """`GET /wallet/withdrawals/{id}`."""
    return wallet.read_withdrawal(state.market, call.account, call.ids[0])


ASSET = Parameter("asset", str, "", {"type": "string", "enum": list(ASSETS)}, "Only entries of this asset.")
OPERATIONS = (
    Operation(
        "GET",
        "/wallet/balance",
        ACCOUNT,
        show_balance,
        answers=(Answer(HTTPStatus.OK, Balances),),
        summary="Show the caller's balances.",
    ),
    Operation(
        "GET",
        "/wallet/transactions",
        ACCOUNT,
        show_transactions,
        query=(*PAGING, ASSET),
        answers=(Answer(HTTPStatus.OK, Transactions), wallet.INVALID_ASSET),
        summary="List the entries behind the caller's balances, newest first.",
    ),
    Operation(
        "POST",
        "/wallet/withdraw",
        ACCOUNT,
        withdraw,
        body=wallet.WithdrawalBody,
        read=bytes,
        headers=(IDEMPOTENCY_KEY,),
        answers=(
            Answer(HTTPStatus.ACCEPTED, OneWithdrawal),
            INVALID_REQUEST,
            KEY_REQUIRED,
            KEY_REUSED,
            wallet.INVALID_ASSET,
            wallet.INVALID_AMOUNT,
            wallet.INVALID_ADDRESS,
            wallet.IN_COOLDOWN,
            wallet.LIMIT_EXCEEDED,
            wallet.INSUFFICIENT_BALANCE,
            FULL,
        ),
        summary="Send money to an address, once for each idempotency key.",
    ),
    Operation(
        "GET",
        "/wallet/withdrawals/{id}",
        ACCOUNT,
        show_withdrawal,
        answers=(Answer(HTTPStatus.OK, OneWithdrawal), wallet.WITHDRAWAL_NOT_FOUND),
        summary="Show what became of one of the caller's withdrawals.",
    ),
)
