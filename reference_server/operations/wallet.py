"""The operations on a caller's money (contract: Wallet)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from reference_server.core.calls import PAGING, Parameter, page_of
from reference_server.core.market import wallet
from reference_server.core.market.idempotency import KEY_REQUIRED, KEY_REUSED
from reference_server.core.market.money import ASSETS
from reference_server.operations.accounts import IDEMPOTENCY_KEY, audited, idempotency_key
from reference_server.operations.callers import ACCOUNT
from reference_server.operations.fields import Count, Timestamp  # noqa: TC001 - msgspec reads a struct's types later
from reference_server.operations.market_fields import (  # noqa: TC001 - msgspec reads a struct's types later
    Address,
    Amount,
    Asset,
    SignedAmount,
    WithdrawalId,
)
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.ids import WITHDRAWAL_ID
from reference_server.wire.replies import FULL, INVALID_REQUEST
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from reference_server.core.calls import Call
    from reference_server.core.state import State


class WithdrawalToMake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much goes where."""

    asset: Asset
    amount: Amount
    address: Address


class Balance(msgspec.Struct, frozen=True):
    """What an account has of an asset: to spend, in escrow, and on its way out."""

    asset: Asset
    available: Amount
    held: Amount
    pending: Amount


class Balances(msgspec.Struct, frozen=True):
    """The caller's balances, of all assets."""

    balances: list[Balance]


class Transaction(msgspec.Struct, frozen=True):
    """One entry of the caller's own; entries of one transaction share their `reference`."""

    id: Annotated[str, msgspec.Meta(examples=["txn_0123456789abcdef"])]
    type: Annotated[str, msgspec.Meta(examples=["escrow_hold"])]
    asset: Asset
    amount: SignedAmount
    account: Literal["available", "held", "pending"]
    balance_after: SignedAmount
    reference: Annotated[str, msgspec.Meta(examples=["job_0123456789abcdef"])]
    created_at: Timestamp


class Transactions(msgspec.Struct, frozen=True):
    """One page of the caller's entries, newest first."""

    transactions: list[Transaction]
    total: Count
    limit: Count
    offset: Count


class ShownWithdrawal(msgspec.Struct, frozen=True):
    """Money on its way out; `state` is `pending`, `settled` or `returned`."""

    id: WithdrawalId
    asset: Asset
    amount: Amount
    address: Address
    state: Literal["pending", "settled", "returned"]
    created_at: Timestamp
    updated_at: Timestamp


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
        described=WithdrawalToMake,
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
