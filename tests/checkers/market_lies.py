"""Lies about a market day: each is a change of what a right server showed, by which one rule is broken."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

from simulator.contract.answers import Operation
from tests.checkers.lies_of_markets import (
    MarketLie,
    entries,
    exchange,
    is_billed,
    jobs_shown,
    last,
    plus,
    replace,
    set_each,
)
from tests.checkers.matching_lies import MATCHING_LIES
from tests.core.market_server import BITCOIN, TRON

if TYPE_CHECKING:
    from simulator.history.market_records import MarketExchange
    from tests.checkers.market_play import Play

# --- the ledger


def scraped(play: Play) -> None:
    play.history.scrapes[-1].samples["hatchfarm_ledger_imbalance"] = 1.0


def after(play: Play) -> None:
    one = entries(play, 0, "escrow_hold")[0]
    one["balance_after"] = plus(one["balance_after"])


def balance(play: Play) -> None:
    shown = last(play, 0).balances[0]
    shown["available"] = plus(shown["available"])


def negative(play: Play) -> None:
    last(play, 0).balances[0]["pending"] = "-0.000001"


def rewritten(play: Play) -> None:
    first = next(one for one in play.history.accounts_shown if len(one.transactions) > 2)
    first.transactions[0]["created_at"] = "x"
    first.transactions[0]["type"] = "platform_fee"


def other_amount(play: Play) -> None:
    exchange(play, Operation.WITHDRAW, 202).data["withdrawal"]["amount"] = "1.000000"


def no_amount(play: Play) -> None:
    for one in play.history.market_exchanges:
        if one.operation == Operation.WITHDRAW:
            one.asked["amount"] = "1e-1"


def gone(play: Play) -> None:
    job_id = last(play, 0).jobs[0]["id"]
    for shown in play.history.accounts_shown:
        shown.transactions[:] = [one for one in shown.transactions if one["reference"] != job_id]


def not_found(play: Play) -> None:
    own = exchange(play, Operation.WALLET_READ, 200)
    replace(play, own, status=404, data={"message": "withdrawal not found"})


def never_asked(play: Play) -> None:
    job_id = exchange(play, Operation.JOB_CREATE, 201).data["job"]["id"]
    table = play.history.market_exchanges
    table[:] = [
        one for one in table if one.data.get("job", {}).get("id") != job_id or one.operation != Operation.JOB_CREATE
    ]


def twice_out(play: Play) -> None:
    account = last(play, 0)
    twice = [dict(one, id=one["id"] + "2") for one in account.transactions if one["type"] == "withdrawal"]
    account.transactions[:0] = twice


def both_ends(play: Play) -> None:
    shown = next(one for one in last(play, 0).withdrawals if one["state"] == "settled")
    shown["state"] = "returned"


def not_paid(play: Play) -> None:
    account = last(play, 0)
    account.transactions[:] = [one for one in account.transactions if one["type"] != "withdrawal_settled"]
    for one in play.history.market_exchanges:
        one.data.pop("withdrawal", None) if one.operation == Operation.WALLET_READ else None
    account.withdrawals.clear()


def released_again(play: Play) -> None:
    account = last(play, 0)
    account.transactions[:0] = [dict(one, id=one["id"] + "2") for one in entries(play, 0, "escrow_release")[:2]]


def still_held(play: Play) -> None:
    account = last(play, 0)
    released = entries(play, 0, "escrow_release")[0]["reference"]
    account.transactions[:] = [
        one for one in account.transactions if one["reference"] != released or one["type"] != "escrow_release"
    ]


def billed_more(play: Play) -> None:
    set_each(play, is_billed, billed=plus)


def earned_more(play: Play) -> None:
    earning = entries(play, 2, "job_earning")[0]
    earning["amount"] = plus(earning["amount"])


def credited_again(play: Play) -> None:
    credit = entries(play, 0, "credit")[0]
    last(play, 0).transactions.append(dict(credit, id="txn_again"))


def keyed(play: Play) -> MarketExchange:
    return next(one for one in play.history.market_exchanges if one.replayed)


def never_credited(play: Play) -> None:
    account = last(play, 0)
    account.transactions[:] = [one for one in account.transactions if one["type"] != "credit"]


def surplus_of_an_owner(play: Play) -> None:
    shown = last(play, 2).balances[0]
    shown["available"] = plus(shown["available"], 999_999)


def poor_for_a_job(play: Play) -> None:
    one = exchange(play, Operation.JOB_CREATE, 201)
    replace(play, one, status=402, data={"message": "insufficient balance"})


def two_of_a_key(play: Play) -> None:
    one = keyed(play)
    shown = next(iter(one.data.values()))
    replace(play, one, data={name: dict(shown, id=shown["id"][:-1] + "x") for name in one.data})


def another_answer(play: Play) -> None:
    one = keyed(play)
    replace(play, one, data={name: dict(shown, created_at="later") for name, shown in one.data.items()})


def refused_again(play: Play) -> None:
    replace(play, keyed(play), status=402, data={"message": "insufficient balance"}, replayed=False)


def other_body(play: Play) -> None:
    one = keyed(play)
    replace(play, one, asked={**one.asked, "address": "T", "max_price_usdt": "7"})


def cooled_down(play: Play) -> None:
    one = exchange(play, Operation.WITHDRAW, 403)
    replace(play, one, status=402, data={"message": "insufficient balance"})


def capital_letters(play: Play) -> None:
    asked = [one for one in play.history.market_exchanges if one.asked.get("address") == BITCOIN.upper()]
    replace(play, asked[-1], status=403, data={"message": "address in cooldown"})


def many(play: Play) -> None:
    one = exchange(play, Operation.WITHDRAW, 429)
    shown = {"id": "wdr_0000000000000009", "asset": one.asked["asset"], "amount": "0.123456", "address": TRON}
    replace(play, one, status=202, data={"withdrawal": shown}, asked={**one.asked, "amount": "0.123456"})


def limited(play: Play) -> None:
    one = [one for one in play.history.market_exchanges if one.operation == Operation.WITHDRAW][-1]
    replace(play, one, status=429, data={"message": "withdrawal limit exceeded"})


# --- metering


def billed_nothing(play: Play) -> None:
    set_each(play, is_billed, billed="0.000000")


def above(play: Play) -> None:
    set_each(play, is_billed, billed="9.000000")


def dearer(play: Play) -> None:
    set_each(play, lambda job: job["price_per_hour"] is not None, price_per_hour=lambda old: plus(old, 20))


def changed_price(play: Play) -> None:
    shown = [job for job, _ in jobs_shown(play) if job["price_per_hour"] is not None]
    shown[-1]["price_per_hour"] = plus(shown[-1]["price_per_hour"])


# --- isolation


def others_job(play: Play) -> None:
    mine, others = last(play, 0), last(play, 1)
    mine.jobs.append(deepcopy(others.jobs[0]))


def others_entry(play: Play) -> None:
    mine, others = last(play, 0), last(play, 1)
    mine.transactions.append(deepcopy(others.transactions[0]))


def granted_another(play: Play) -> None:
    replace(play, exchange(play, Operation.JOB_READ, 404), status=200, data={})


def forbidden(play: Play) -> None:
    replace(play, exchange(play, Operation.JOB_READ, 404), status=403, data={"message": "forbidden"})


def owner_shown(play: Play) -> None:
    play.history.resources_shown[0].resources.append({"worker_id": "wrk_0000000000000001", "owner_id": "mia"})


def listed_as_idle(play: Play) -> None:
    prices = {"cpu-hour": "0.005000", "memory-gb-hour": "0.000500", "gpu-hour": "0.250000"}
    for row in exchange(play, Operation.PRICES_READ).data["prices"]:
        row |= {"price": prices[row["resource"]], "utilisation": "0.0000"}


LIES = (
    MarketLie("busy", "ledger.imbalance", scraped),
    MarketLie("quiet", "ledger.chain", after),
    MarketLie("quiet", "ledger.sum", balance),
    MarketLie("quiet", "ledger.negative", negative),
    MarketLie("quiet", "ledger.rewritten", rewritten),
    MarketLie("busy", "ledger.amount", other_amount),
    MarketLie("busy", "ledger.amount", no_amount),
    MarketLie("quiet", "ledger.missing", gone),
    MarketLie("busy", "ledger.missing", not_found),
    MarketLie("quiet", "ledger.unexplained", never_asked),
    MarketLie("busy", "ledger.withdrawal", twice_out),
    MarketLie("busy", "ledger.state", both_ends),
    MarketLie("busy", "ledger.stuck", not_paid),
    MarketLie("quiet", "ledger.escrow", released_again),
    MarketLie("quiet", "ledger.escrow", still_held),
    MarketLie("quiet", "ledger.billed", billed_more),
    MarketLie("quiet", "ledger.fee", earned_more),
    MarketLie("quiet", "ledger.credit", credited_again),
    MarketLie("quiet", "ledger.credit", never_credited),
    MarketLie("quiet", "ledger.sum", surplus_of_an_owner),
    MarketLie("quiet", "ledger.refused", poor_for_a_job),
    MarketLie("busy", "ledger.key-twice", two_of_a_key),
    MarketLie("busy", "ledger.key-answer", another_answer),
    MarketLie("busy", "ledger.key-answer", refused_again),
    MarketLie("busy", "ledger.key-answer", other_body),
    MarketLie("strict", "ledger.cooldown", cooled_down),
    MarketLie("strict", "ledger.refused", capital_letters),
    MarketLie("strict", "ledger.limit", many),
    MarketLie("strict", "ledger.refused", limited),
    MarketLie("quiet", "metering.billed", billed_nothing),
    MarketLie("quiet", "metering.billed", billed_more),
    MarketLie("quiet", "metering.escrow", above),
    MarketLie("quiet", "metering.price", dearer),
    MarketLie("quiet", "metering.price-changed", changed_price),
    MarketLie("crowded", "metering.listed", listed_as_idle),
    MarketLie("quiet", "isolation.foreign", others_job),
    MarketLie("quiet", "isolation.foreign", others_entry),
    MarketLie("busy", "isolation.foreign", granted_another),
    MarketLie("busy", "isolation.refusal", forbidden),
    MarketLie("queue", "isolation.owner-shown", owner_shown),
    *MATCHING_LIES,
)
