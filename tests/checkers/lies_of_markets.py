"""What lies about a market day are told with: what a right server showed, found and changed in its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from simulator.contract.pricing import units

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.contract.answers import Operation
    from simulator.history.market_records import MarketExchange
    from tests.checkers.market_play import Play


class MarketLie(NamedTuple):
    """A lie: the day it is told of, the rule that proves it, and what it changes."""

    day: str
    rule: str
    tell: Callable[[Play], None]


def plus(text: str, more: int = 1) -> str:
    """Return an amount in USDT with so many units more."""
    amount = (units(text) or 0) + more
    return f"{'-' if amount < 0 else ''}{abs(amount) // 10**6}.{abs(amount) % 10**6:06d}"


def last(play: Play, account: int) -> Any:
    """Return the last reading of an account, by its place among them."""
    name = list(play.headers)[account]
    return next(one for one in reversed(play.history.accounts_shown) if one.account == name)


def entries(play: Play, account: int, kind: str) -> list[dict[str, Any]]:
    return [one for one in last(play, account).transactions if one["type"] == kind]


def jobs_shown(play: Play) -> list[tuple[dict[str, Any], Any]]:
    """Return every job that an answer shows, with the record that has it, in order."""
    found: list[tuple[dict[str, Any], Any]] = []
    for one in play.history.market_exchanges:
        found += [(job, one) for job in (*one.data.get("jobs", ()), one.data.get("job")) if job]
    for account in play.history.accounts_shown:
        found += [(job, account) for job in account.jobs]
    return sorted(found, key=lambda one: one[1].sent_ns)


def set_each(play: Play, where: Callable[[dict[str, Any]], bool], **fields: Any) -> None:
    """Change fields of every job shown that is so; a function of the old value makes the new one."""
    changed = [job for job, _ in jobs_shown(play) if where(job)]
    assert changed
    for job in changed:
        for name, value in fields.items():
            job[name] = value(job[name]) if callable(value) else value


def is_billed(job: dict[str, Any]) -> bool:
    return job["state"] in {"succeeded", "cancelled"} and job["billed"] != "0.000000"


def exchange(play: Play, operation: Operation, status: int = 0) -> MarketExchange:
    """Return the first exchange of an operation, with a status if one is given."""
    of = (one for one in play.history.market_exchanges if one.operation == operation)
    return next(one for one in of if status in {0, one.status})


def replace(play: Play, old: MarketExchange, **changed: Any) -> None:
    table = play.history.market_exchanges
    table[table.index(old)] = msgspec.structs.replace(old, **changed)
