"""Which withdrawals are granted and refused: amounts, cooldowns of addresses, limits, balances (contract: Wallet)."""

from __future__ import annotations

from collections import defaultdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.checkers.bounds import slack_ns_of
from simulator.checkers.market_view import granted, may_have_been_granted, message_of, seconds
from simulator.checkers.verdict import Finding
from simulator.contract.answers import Operation
from simulator.contract.pricing import BTC, DAY_NS, HOUR_NS, USDT, asked_units, normal_address, units
from simulator.history.rows import NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from simulator.checkers.facts import MarketFacts
    from simulator.history.market_records import AccountShown, MarketExchange
    from simulator.history.rows import History

COOLDOWN, LIMIT = "address in cooldown", "withdrawal limit exceeded"
INSUFFICIENT = "insufficient balance"


def wrong_amounts(history: History) -> Iterator[Finding]:
    """Find withdrawals that were granted otherwise than they were asked for, or that had to be refused."""
    for one in history.market_exchanges:
        if one.operation != Operation.WITHDRAW or not granted(one):
            continue
        shown = one.data.get("withdrawal")
        shown = shown if isinstance(shown, dict) else {}
        asset = str(one.asked.get("asset"))
        amount = asked_units(one.asked.get("amount"), asset)
        evidence = {"account": one.account, "asked": one.asked, "shown": shown}
        if amount is None:
            message = f"a withdrawal of {one.asked.get('amount')!r} {asset} was granted, which is no amount"
            yield Finding("ledger.amount", message, one.sent_ns, evidence)
        elif units(shown.get("amount"), asset) != amount or any(
            shown.get(name) != one.asked.get(name) for name in ("asset", "address")
        ):
            message = (
                f"{one.account} asked to withdraw {one.asked.get('amount')} {asset}, and got {shown.get('amount')}"
            )
            yield Finding("ledger.amount", message, one.sent_ns, evidence)


def wrong_limits(history: History, market: MarketFacts) -> Iterator[Finding]:
    """Find withdrawals past a limit or within a cooldown, and refusals of them or of jobs that nothing can explain."""
    withdrawals: dict[str, list[MarketExchange]] = defaultdict(list)
    others: dict[str, list[MarketExchange]] = defaultdict(list)
    for one in history.market_exchanges:
        (withdrawals if one.operation == Operation.WITHDRAW else others)[_account(one)].append(one)
    credited = _credited(history.accounts_shown)
    for account in [*withdrawals, *(one for one in others if one not in withdrawals)]:
        asked = withdrawals.get(account, [])
        asked.sort(key=lambda one: one.sent_ns)
        yield from _cooldowns(account, asked, others.get(account, []), market)
        made = _made(asked)
        yield from _past_limits(account, made, market)
        own, credit = [*asked, *others.get(account, ())], credited.get(account, 0)
        for one in asked:
            yield from _wrongly_limited(one, asked, market)
        for one in own:
            if one.status == HTTPStatus.PAYMENT_REQUIRED and message_of(one) == INSUFFICIENT:
                yield from _wrongly_poor(one, own, credit)


def _account(one: MarketExchange) -> str:
    """Return whose request it was; that of who registers is the new agent's."""
    agent = one.data.get("agent") if one.operation == Operation.AGENT_REGISTER and granted(one) else None
    return f"agent:{agent.get('id')}" if isinstance(agent, dict) else one.account


def _credited(shown: Sequence[AccountShown]) -> dict[str, int]:
    """Return what each account was credited with, as its entries show."""
    found: dict[str, int] = {}
    for one in shown:
        for entry in one.transactions:
            if entry.get("type") == "credit" and entry.get("asset") == USDT:
                found[one.account] = units(entry.get("amount")) or 0
    return found


def _made(asked: list[MarketExchange]) -> list[MarketExchange]:
    """Return the requests that made a withdrawal, each withdrawal once."""
    found: dict[str, MarketExchange] = {}
    for one in asked:
        shown = one.data.get("withdrawal") if granted(one) else None
        if isinstance(shown, dict) and not one.replayed:
            found.setdefault(str(shown.get("id")), one)
    return list(found.values())


def _place(one: MarketExchange) -> tuple[str, str]:
    return str(one.asked.get("asset")), normal_address(str(one.asked.get("address")))


def _cooldowns(
    account: str, asked: list[MarketExchange], others: list[MarketExchange], market: MarketFacts
) -> Iterator[Finding]:
    cooldown_ns = int(market.cooldown_seconds * SECOND_NS)
    used_from: dict[str, int] = {}
    used_by: dict[str, int] = {}
    for one in others:
        address = one.asked.get("wallet_address")
        if isinstance(address, str) and may_have_been_granted(one):
            used_from.setdefault(normal_address(address), one.sent_ns)
    for one in asked:
        _, address = _place(one)
        first_ns = used_from.setdefault(address, one.sent_ns)
        evidence = {"account": account, "asked": one.asked, "status": one.status, "first_use_ns": first_ns}
        if _was_let_past(one) and cooldown_ns:
            waited_ns = one.answered_ns - first_ns
            if waited_ns + slack_ns_of(waited_ns) < cooldown_ns:
                message = (
                    f"{account} was let withdraw to {address} at {seconds(one.sent_ns)}, at most "
                    f"{waited_ns / SECOND_NS:.3f} s after its first use: its cooldown is {market.cooldown_seconds:g} s"
                )
                yield Finding("ledger.cooldown", message, one.sent_ns, evidence)
        if one.status == HTTPStatus.FORBIDDEN and message_of(one) == COOLDOWN:
            known_ns = used_by.get(address, NEVER_NS)
            waited_ns = one.sent_ns - known_ns
            if not cooldown_ns or (known_ns != NEVER_NS and waited_ns - slack_ns_of(waited_ns) > cooldown_ns):
                message = f"{account} was refused {address} as in cooldown at {seconds(one.sent_ns)}, which was over"
                yield Finding("ledger.refused", message, one.sent_ns, evidence)
            used_by.setdefault(address, one.answered_ns)
        elif granted(one):
            used_by.setdefault(address, one.answered_ns)


def _was_let_past(one: MarketExchange) -> bool:
    """Return whether an answer shows that no cooldown was in the way: limits and balances are looked at after it."""
    return (granted(one) and not one.replayed) or message_of(one) in {LIMIT, INSUFFICIENT}


def _limit_of(asset: str, market: MarketFacts) -> int:
    return {USDT: market.daily_limit_usdt, BTC: market.daily_limit_btc}.get(asset, NEVER_NS)


def _past_limits(account: str, made: list[MarketExchange], market: MarketFacts) -> Iterator[Finding]:
    """Find withdrawals that were surely made within one hour and are too many, or within one day and too much."""
    for last in made:
        evidence: dict[str, Any] = {"account": account, "asked": last.asked}
        hour = [one for one in made if _surely_within(one, last, HOUR_NS)]
        if len(hour) > market.withdrawals_per_hour:
            message = f"{account} made {len(hour)} withdrawals in an hour, allowed are {market.withdrawals_per_hour}"
            yield Finding("ledger.limit", message, last.sent_ns, {**evidence, "made": len(hour)})
            return
        asset = str(last.asked.get("asset"))
        day = [one for one in made if one.asked.get("asset") == asset and _surely_within(one, last, DAY_NS)]
        amount = sum(asked_units(one.asked.get("amount"), asset) or 0 for one in day)
        if amount > _limit_of(asset, market):
            message = f"{account} withdrew more {asset} in a day than is allowed, in {len(day)} withdrawals"
            yield Finding("ledger.limit", message, last.sent_ns, {**evidence, "units": amount})
            return


def _surely_within(one: MarketExchange, last: MarketExchange, length_ns: int) -> bool:
    """Return whether a withdrawal was surely made so shortly before another one, or is it."""
    age_ns = last.answered_ns - one.sent_ns
    return one.sent_ns <= last.sent_ns and age_ns + slack_ns_of(max(0, age_ns)) < length_ns


def _wrongly_limited(one: MarketExchange, asked: list[MarketExchange], market: MarketFacts) -> Iterator[Finding]:
    """Find a refusal for a limit that cannot have been reached."""
    if one.status != HTTPStatus.TOO_MANY_REQUESTS or message_of(one) != LIMIT:
        return
    asset = str(one.asked.get("asset"))
    before = _may_be_before(one, asked)
    hour = [other for other in before if _may_be_within(other, one, HOUR_NS)]
    day = [other for other in before if _may_be_within(other, one, DAY_NS) and other.asked.get("asset") == asset]
    most = sum(asked_units(other.asked.get("amount"), asset) or 0 for other in [one, *day])
    if len(hour) < market.withdrawals_per_hour and most <= _limit_of(asset, market):
        message = (
            f"{one.account} was refused a withdrawal for its limits at {seconds(one.sent_ns)}, with at most "
            f"{len(hour)} of {market.withdrawals_per_hour} withdrawals in the hour before"
        )
        evidence = {"account": one.account, "asked": one.asked, "status": one.status}
        yield Finding("ledger.refused", message, one.sent_ns, evidence)


def _wrongly_poor(one: MarketExchange, own: list[MarketExchange], credit: int) -> Iterator[Finding]:
    """Find a job or withdrawal in USDT that was refused for lack of money that its account surely had."""
    if credit and _taken(one) and _taken(one) + sum(_taken(other) for other in _may_be_before(one, own)) <= credit:
        what = "withdrawal" if one.operation == Operation.WITHDRAW else "job"
        message = f"{one.account} was refused a {what} at {seconds(one.sent_ns)} for lack of what it surely had"
        evidence = {"account": one.account, "asked": one.asked, "status": one.status}
        yield Finding("ledger.refused", message, one.sent_ns, evidence)


def _may_be_before(one: MarketExchange, asked: list[MarketExchange]) -> list[MarketExchange]:
    """Return the requests that may have taken effect before another one was answered."""
    return [
        other
        for other in asked
        if other is not one and other.sent_ns <= one.answered_ns and may_have_been_granted(other) and not other.replayed
    ]


def _taken(one: MarketExchange) -> int:
    """Return the most that a request takes of the USDT that an account has; `NEVER_NS` where that cannot be read."""
    if one.operation == Operation.JOB_CREATE:
        return _maximum(one)
    if one.operation == Operation.WITHDRAW and one.asked.get("asset") == USDT:
        return asked_units(one.asked.get("amount"), USDT) or 0
    return 0


def _may_be_within(other: MarketExchange, one: MarketExchange, length_ns: int) -> bool:
    if other.answered_ns == NEVER_NS:
        return True
    age_ns = one.sent_ns - other.answered_ns
    return age_ns - slack_ns_of(max(0, age_ns)) < length_ns


def _maximum(one: MarketExchange) -> int:
    asked = one.asked.get("max_price_usdt")
    found = units(asked if isinstance(asked, str) else f"{asked:.6f}" if isinstance(asked, int | float) else None)
    return NEVER_NS if found is None else found
