"""Requests of agents and owners to the market, as values (contract: Agents, Jobs, Wallet, Forum). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import base58
import msgspec

from simulator.contract.answers import Operation
from simulator.fleet.requests import ApiCall, owner_headers

if TYPE_CHECKING:
    from collections.abc import Mapping

USDT, BTC = ASSETS = ("USDT-TRC20", "BTC")
PAGE = 500
"""The largest page of a list (contract §1)."""
TRON_PREFIX = b"\x41"
"""The first byte of a TRC-20 address, before its 20 bytes and the checksum."""


class Caller(msgspec.Struct, frozen=True):
    """A caller: its account's name in the history, empty before registration, and the headers that prove it."""

    account: str
    credentials: Mapping[str, str] = {}

    def __repr__(self) -> str:
        """Show the caller without its credentials."""
        return f"Caller({self.account!r})"


STRANGER = Caller("")
"""A caller without an account, for registering."""


def agent_caller(agent_id: str, api_key: str) -> Caller:
    """Return an agent as a caller."""
    return Caller(f"agent:{agent_id}", {"Authorization": f"Bearer {api_key}"})


def owner_caller(token: str, owner_id: str) -> Caller:
    """Return an owner as a caller."""
    return Caller(f"owner:{owner_id}", owner_headers(token, owner_id))


def register_agent_call(body: Mapping[str, Any]) -> ApiCall:
    """Register an agent: `name` and its optional fields."""
    return ApiCall(Operation.AGENT_REGISTER, "POST", "/agents/register", {}, body)


def update_agent_call(caller: Caller, body: Mapping[str, Any]) -> ApiCall:
    """Change an agent's own data, or its key."""
    return ApiCall(Operation.AGENT_UPDATE, "PUT", "/agents/me", caller.credentials, body)


def resources_call(caller: Caller, **query: Any) -> ApiCall:
    """List offered resources, cheapest first."""
    return _read(Operation.RESOURCES_READ, caller, "/resources", query)


def prices_call(caller: Caller) -> ApiCall:
    """Read the prices."""
    return _read(Operation.PRICES_READ, caller, "/resources/prices")


def post_job_call(caller: Caller, body: Mapping[str, Any], key: str = "") -> ApiCall:
    """Post a job, once for each idempotency key where there is one."""
    return ApiCall(Operation.JOB_CREATE, "POST", "/jobs", _with_key(caller, key), body)


def read_job_call(caller: Caller, job_id: str) -> ApiCall:
    """Read one job."""
    return _read(Operation.JOB_READ, caller, f"/jobs/{job_id}")


def jobs_call(caller: Caller, **query: Any) -> ApiCall:
    """List the caller's jobs, newest first."""
    return _read(Operation.JOB_READ, caller, "/jobs", query)


def cancel_job_call(caller: Caller, job_id: str) -> ApiCall:
    """Cancel a job."""
    return ApiCall(Operation.JOB_CANCEL, "DELETE", f"/jobs/{job_id}", caller.credentials)


def balance_call(caller: Caller) -> ApiCall:
    """Read the caller's balances."""
    return _read(Operation.WALLET_READ, caller, "/wallet/balance")


def transactions_call(caller: Caller, **query: Any) -> ApiCall:
    """List the caller's transactions, newest first."""
    return _read(Operation.WALLET_READ, caller, "/wallet/transactions", query)


def withdraw_call(caller: Caller, body: Mapping[str, Any], key: str) -> ApiCall:
    """Withdraw money, once for each idempotency key."""
    return ApiCall(Operation.WITHDRAW, "POST", "/wallet/withdraw", _with_key(caller, key), body)


def read_withdrawal_call(caller: Caller, withdrawal_id: str) -> ApiCall:
    """Read a withdrawal."""
    return _read(Operation.WALLET_READ, caller, f"/wallet/withdrawals/{withdrawal_id}")


def posts_call(caller: Caller, **query: Any) -> ApiCall:
    """List the forum's posts, newest first."""
    return _read(Operation.FORUM_READ, caller, "/forum/posts", query)


def read_post_call(caller: Caller, post_id: str, **query: Any) -> ApiCall:
    """Read a post and its comments."""
    return _read(Operation.FORUM_READ, caller, f"/forum/posts/{post_id}", query)


def write_post_call(caller: Caller, body: Mapping[str, Any]) -> ApiCall:
    """Write a post."""
    return ApiCall(Operation.FORUM_WRITE, "POST", "/forum/posts", caller.credentials, body)


def write_comment_call(caller: Caller, post_id: str, text: str) -> ApiCall:
    """Comment on a post."""
    path = f"/forum/posts/{post_id}/comments"
    return ApiCall(Operation.FORUM_WRITE, "POST", path, caller.credentials, {"body": text})


def tron_address(account: bytes) -> str:
    """Return the TRC-20 address of an account's 20 bytes: base58check behind 0x41."""
    address: str = base58.b58encode_check(TRON_PREFIX + account).decode()
    return address


def _read(operation: Operation, caller: Caller, path: str, query: Mapping[str, Any] | None = None) -> ApiCall:
    asked = f"?{urlencode(query)}" if query else ""
    return ApiCall(operation, "GET", f"{path}{asked}", caller.credentials)


def _with_key(caller: Caller, key: str) -> dict[str, str]:
    return {**caller.credentials, **({"Idempotency-Key": key} if key else {})}
