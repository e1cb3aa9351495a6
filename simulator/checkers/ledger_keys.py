"""One effect for each idempotency key: the same request has the first answer, another body is refused (Wallet)."""

from __future__ import annotations

from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from simulator.checkers.market_view import granted, seconds
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Operation, operation_name
from simulator.contract.pricing import DAY_NS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulator.history.market_records import MarketExchange
    from simulator.history.rows import History

WITH_KEYS = {Operation.WITHDRAW: "withdrawal", Operation.JOB_CREATE: "job"}
"""The operations that keys are kept for, and what the answer of each shows."""
NOT_JUDGED = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT, HTTPStatus.UNAUTHORIZED)
"""Refusals that a key's second request may get all the same: too fast, still being decided, a key of an agent's that
has been replaced."""


def wrong_keys(history: History) -> Iterator[Finding]:
    """Find keys with two effects, and answers to a used key that are not the first one."""
    by_key: dict[tuple[str, int, str], list[MarketExchange]] = defaultdict(list)
    for one in history.market_exchanges:
        if one.key and one.operation in WITH_KEYS:
            by_key[one.account, one.operation, one.key].append(one)
    for (account, operation, key), asked in by_key.items():
        if len(asked) > 1 and max(one.sent_ns for one in asked) - min(one.sent_ns for one in asked) < DAY_NS:
            yield from _wrong_key(account, Operation(operation), key, sorted(asked, key=lambda one: one.sent_ns))


def made(one: MarketExchange) -> str:
    """Return the id of what a granted request made; empty for none."""
    shown = one.data.get(WITH_KEYS.get(Operation(one.operation), ""))
    return str(shown.get("id", "")) if granted(one) and isinstance(shown, dict) else ""


def _wrong_key(account: str, operation: Operation, key: str, asked: list[MarketExchange]) -> Iterator[Finding]:
    answered = [one for one in asked if granted(one)]
    evidence: dict[str, Any] = {"account": account, "key": key, "operation": operation_name(operation)}
    ids = sorted({made(one) for one in answered} - {""})
    if len(ids) > 1:
        message = f"{account} got {len(ids)} of one key in a {operation_name(operation)}: {', '.join(ids)}"
        yield Finding("ledger.key-twice", message, answered[0].sent_ns, {**evidence, "ids": ids})
        return
    if not answered:
        return
    first = min(answered, key=lambda one: one.answered_ns)
    for one in asked:
        wrong = _wrong_answer(first, one)
        if wrong:
            evidence |= {"asked": one.asked, "status": one.status, "first": first.data, "shown": one.data}
            message = (
                f"{account} asked for a {operation_name(operation)} at {seconds(one.sent_ns)} with a used key: {wrong}"
            )
            yield Finding("ledger.key-answer", message, one.sent_ns, evidence)
            return


def _wrong_answer(first: MarketExchange, one: MarketExchange) -> str:
    """Say what is wrong with an answer to a key that had been used, or was being used; else nothing."""
    same = one.asked == first.asked
    if granted(one):
        if not same:
            return "another body was granted"
        if one.data != first.data:
            return "the answer is not the first one"
        if one is not first and one.replayed == first.replayed and not one.replayed:
            return "both answers claim to be the first"
        return ""
    if same and one.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return "the same body was refused as another one"
    refused = HTTPStatus.BAD_REQUEST <= one.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if refused and one.sent_ns > first.answered_ns and one.status not in NOT_JUDGED:
        if same:
            return f"it was refused with {one.status}, and had been granted"
        # What is no request at all is refused before its key is looked at.
        if one.status not in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.BAD_REQUEST}:
            return f"another body was refused with {one.status}, and not as another body"
    return ""
