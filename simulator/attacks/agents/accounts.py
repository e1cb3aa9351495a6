"""Accounts of a script: owners and agents of its own, what they have, and addresses that money can go to."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

import base58
import bech32m
import msgspec

from reference_server.wire.units import SECOND_NS
from simulator.attacks.acting import CREATED, OK, answered, ask, items_of, part_of, require
from simulator.attacks.catalogue import random_hex
from simulator.attacks.parties import PAGE, WatchedAttack
from simulator.attacks.routes import PREFIXES
from simulator.attacks.script import (
    Expect,
    NotTriedError,
    Outcome,
    Pause,
    PrerequisiteError,
    Script,
    ScriptContext,
    Send,
    granted,
)
from simulator.contract.answers import Answer, Operation
from simulator.contract.features import Feature
from simulator.contract.profiles import Basis
from simulator.contract.reading import retry_after_ns
from simulator.fleet.requests import ApiCall, owner_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from simulator.attacks.parties import Addresses

USDT, BTC = "USDT-TRC20", "BTC"
UNIT = Decimal("0.000001")
"""The smallest amount of USDT."""
TRON_PREFIX = b"\x41"
HASH_BYTES = 20
NOWHERE = base58.b58encode_check(TRON_PREFIX + bytes(HASH_BYTES)).decode()
"""An address of which nobody has the key."""
COOLDOWN_PATIENCE_NS = 10 * SECOND_NS
"""How long a script waits for an address to cool down: a scenario sets seconds, a target mostly a day."""
RETRY_MARGIN_NS = SECOND_NS // 2
"""By how much later than told it is tried again: the answer was made before it was read, and replays are less exact."""
TOO_OFTEN = "withdrawal limit exceeded"
JOB = {
    "type": "attack",
    "resources": {"cpu_cores": 1, "memory_gb": 1},
    "duration_minutes": 1,
    "max_price_usdt": "0.000001",
}
"""A job, as it is asked for."""
POST = {"title": "t", "body": "b"}
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND


class AccountRoute(msgspec.Struct, frozen=True):
    """What whoever has an account may ask for; `body` is one that is right."""

    feature: Feature
    method: str
    path: str
    body: dict[str, Any] | None = None


ACCOUNT_ROUTES = (
    AccountRoute(Feature.AGENTS, "GET", "/agents/me"),
    AccountRoute(Feature.AGENTS, "PUT", "/agents/me", {"description": "d"}),
    AccountRoute(Feature.JOBS, "GET", "/jobs"),
    AccountRoute(Feature.JOBS, "POST", "/jobs", JOB),
    AccountRoute(Feature.JOBS, "GET", "/jobs/job_0000000000000000"),
    AccountRoute(Feature.JOBS, "DELETE", "/jobs/job_0000000000000000"),
    AccountRoute(Feature.JOBS, "GET", "/resources"),
    AccountRoute(Feature.JOBS, "GET", "/resources/prices"),
    AccountRoute(Feature.WALLET, "GET", "/wallet/balance"),
    AccountRoute(Feature.WALLET, "GET", "/wallet/transactions"),
    AccountRoute(Feature.WALLET, "GET", "/wallet/withdrawals/wdr_0000000000000000"),
    AccountRoute(Feature.WALLET, "POST", "/wallet/withdraw", {"asset": USDT, "amount": "0.000001", "address": NOWHERE}),
    AccountRoute(Feature.FORUM, "GET", "/forum/posts"),
    AccountRoute(Feature.FORUM, "POST", "/forum/posts", POST),
    AccountRoute(Feature.FORUM, "GET", "/forum/posts/post_0000000000000000"),
    AccountRoute(Feature.FORUM, "POST", "/forum/posts/post_0000000000000000/comments", {"body": "b"}),
)
"""Every route of accounts (contract: Principals and accounts); ids are nobody's."""


def account_routes(context: ScriptContext) -> tuple[AccountRoute, ...]:
    """Return the routes of accounts that the target has."""
    return tuple(one for one in ACCOUNT_ROUTES if one.feature not in context.lacks)


def ask_as(
    context: ScriptContext,
    route: AccountRoute,
    headers: Mapping[str, str],
    expect: Expect,
    client: int,
    *,
    method: str = "",
    prefix: str = PREFIXES[0],
) -> Send:
    """Make the step of a request to a route that is right but for who makes it, under a new idempotency key."""
    key = {"Idempotency-Key": random_hex(context.rng, 32)} if route.body else {}
    path = prefix + route.path
    wanted = ApiCall(Operation.OTHER, method or route.method, path, {**headers, **key}, route.body, rooted=True)
    return Send(wanted.message(context.host), expect, client=client)


class AccountAttack(WatchedAttack):
    """An attack through what has an account."""

    basis: ClassVar[Basis] = Basis.HARDENED


class Account(msgspec.Struct, frozen=True):
    """Somebody with an account: what proves who calls. `id` is an owner's or an agent's, `key` an agent's."""

    id: str
    headers: Mapping[str, str]
    key: str = ""


class Balance(msgspec.Struct, frozen=True):
    """What an account has of an asset."""

    available: Decimal
    held: Decimal
    pending: Decimal


def new_owner(context: ScriptContext) -> Account:
    """Make an owner up, whose account begins when it is first seen."""
    owner_id = context.new_owner()
    return Account(owner_id, owner_headers(context.token, owner_id))


def bearer(key: str) -> dict[str, str]:
    """Return the headers by which an agent's key is shown."""
    return {"Authorization": f"Bearer {key}"}


def new_name(context: ScriptContext) -> str:
    """Make up a name of an agent: a target that has seen a run of the same seed before knows another one."""
    made_of = f"{context.owner_prefix} {random_hex(context.rng, 16)}"
    return f"attacker {sha256(made_of.encode()).hexdigest()[:24]}"


def register_agent(context: ScriptContext, client: int, **fields: Any) -> Script[Account]:
    """Register an agent of a new name. Raises NotTriedError where strangers may not, and PrerequisiteError."""
    body = {"name": new_name(context), **fields}
    expect = Expect(
        Answer.MAY_BE_REFUSED,
        (CREATED, UNAUTHORIZED, FORBIDDEN),
        "",
        "a target says who may register (contract: Agents)",
    )
    send = ask(context, "POST", "/agents/register", {}, expect, body, client=client)
    outcome = yield from require(send, "register an agent")
    if outcome.status != CREATED:
        raise NotTriedError(f"nobody can register as an agent just so: it got HTTP {outcome.status}")
    key, agent_id = outcome.data().get("api_key"), part_of(outcome, "agent").get("id")
    if not (isinstance(key, str) and key and isinstance(agent_id, str)):
        raise PrerequisiteError("register an agent: it was given no key or no id")
    return Account(agent_id, bearer(key), key)


def read_amount(text: Any) -> Decimal:
    """Read an amount as an answer shows it. Raises PrerequisiteError for what is none."""
    try:
        value = Decimal(text) if isinstance(text, str) else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        raise PrerequisiteError(f"{text!r} is no amount")
    return value


def read_balance(context: ScriptContext, account: Account, client: int, asset: str = USDT) -> Script[Balance]:
    """Read what an account has. Raises PrerequisiteError."""
    send = ask(context, "GET", "/wallet/balance", account.headers, granted(OK, "it is its own"), client=client)
    outcome = yield from require(send, "read a balance")
    for one in items_of(outcome, "balances"):
        if one.get("asset") == asset:
            return Balance(*(read_amount(one.get(name)) for name in Balance.__struct_fields__))
    raise PrerequisiteError(f"the balance shows no {asset}")


def funded(context: ScriptContext, account: Account, client: int, least: Decimal = UNIT) -> Script[Balance]:
    """Read what an account was credited with. Raises NotTriedError where that is too little, and PrerequisiteError."""
    balance = yield from read_balance(context, account, client)
    if balance.available < least:
        raise NotTriedError(
            f"a new account has {balance.available} {USDT}, and it needs {least} (WALLET_DEV_CREDIT_USDT gives some)"
        )
    return balance


def transactions(context: ScriptContext, account: Account, client: int) -> Script[list[dict[str, Any]]]:
    """Read an account's newest entries, oldest first. Raises PrerequisiteError."""
    path = f"/wallet/transactions?asset={USDT}&limit={PAGE}"
    send = ask(context, "GET", path, account.headers, granted(OK, "it is its own"), client=client)
    outcome = yield from require(send, "read the transactions")
    return items_of(outcome, "transactions")[::-1]


def withdrawal(
    context: ScriptContext,
    account: Account,
    amount: Any,
    address: Any,
    expect: Expect,
    *,
    key: str | None = None,
    asset: str = USDT,
    client: int = 0,
) -> Send:
    """Make the step of a withdrawal, under a new idempotency key unless given; none where that is empty."""
    key = random_hex(context.rng, 32) if key is None else key
    headers = {**account.headers, **({"Idempotency-Key": key} if key else {})}
    body = {"asset": asset, "amount": amount, "address": address}
    return ask(context, "POST", "/wallet/withdraw", headers, expect, body, client=client)


def tron_address(context: ScriptContext) -> str:
    """Make up an address that USDT can be sent to."""
    return base58.b58encode_check(TRON_PREFIX + context.rng.bytes(HASH_BYTES)).decode()


def bitcoin_address(context: ScriptContext) -> str:
    """Make up an address that bitcoins can be sent to: bech32, of version 0."""
    return str(bech32m.encode("bc", 0, context.rng.bytes(HASH_BYTES)))


def cooled_address(context: ScriptContext, account: Account, clients: Addresses, address: str = "") -> Script[str]:
    """Return an address, a new one unless given, that an account may send USDT to, once it has waited for that.

    Raises NotTriedError where that takes too long, and PrerequisiteError.

    To use it for the first time, more is asked for than there is.
    """
    address = address or tron_address(context)
    balance = yield from read_balance(context, account, clients.take())
    why = "the account has less, and its first use of an address begins a cooldown"
    expect = Expect(Answer.REFUSED, (HTTPStatus.PAYMENT_REQUIRED, FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS), "", why)
    outcome: Outcome = yield withdrawal(
        context, account, shown(balance.available + UNIT), address, expect, client=clients.take()
    )
    # Who was over the rate limit has not used it: that limit's 429 says something else.
    busy = outcome.status == HTTPStatus.TOO_MANY_REQUESTS and TOO_OFTEN.encode() not in outcome.body
    if outcome.got is not Answer.REFUSED or busy:
        raise PrerequisiteError(f"use an address: {answered(outcome)}")
    if outcome.status == FORBIDDEN:
        wait_ns = retry_after_ns(outcome.head)
        if not 0 < wait_ns <= COOLDOWN_PATIENCE_NS:
            raise NotTriedError(f"a new address has to cool down for {wait_ns // SECOND_NS:,} s first")
        yield Pause(outcome.answered_ns + wait_ns + RETRY_MARGIN_NS)
    return address


def shown(amount: Decimal) -> str:
    """Write an amount of USDT as the contract has it."""
    return f"{amount:.6f}"
