"""The numbers behind the report's market: jobs by state over time, money paid, and each account's sums."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reference_server.wire.units import SECOND_NS
from simulator.judging.market_shown import moment_of, unix_offset_ns
from simulator.limits import ACCOUNTS_SHOWN_MAX, PLOT_COLUMNS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from simulator.history.rows import History

    Floats = NDArray[np.float64]

STATES = ("queued", "assigned", "running")
_STEPS = (("created_at", "queued"), ("assigned_at", "assigned"), ("started_at", "running"), ("finished_at", "ended"))


class JobsOverTime(msgspec.Struct, frozen=True):
    """How many jobs were in each state that is no end, how many had ended, and what had been paid for them, in USDT.

    As their accounts were shown them at the end: of a job that was given back, its last attempt alone.
    """

    at: Floats
    in_state: dict[str, Floats]
    ended: Floats
    paid: Floats


class AccountLine(msgspec.Struct, frozen=True):
    """The sums of one account as it was shown them at the end, in USDT; jobs and withdrawals by state."""

    account: str
    available: str
    held: str
    pending: str
    billed: str
    withdrawn: str
    jobs: str
    complete: bool


def jobs_over_time(history: History, elapsed_ns: int) -> JobsOverTime | None:
    """Follow the jobs of all accounts over the run; None where no account had any, or nobody read the clock."""
    offset_ns = unix_offset_ns(history)
    jobs = {str(job.get("id")): job for account in history.accounts_shown for job in account.jobs}
    if offset_ns is None or not jobs:
        return None
    at = np.linspace(0, elapsed_ns, PLOT_COLUMNS_MAX)
    changes = {name: np.zeros(len(at) + 1) for name in (*STATES, "ended", "paid")}
    for job in jobs.values():
        previous = ""
        for column, state in _steps(job, offset_ns, at):
            changes[state][column] += 1
            if previous:
                changes[previous][column] -= 1
            previous = state
            if state == "ended":
                changes["paid"][column] += float(_amount(job.get("billed")))
    sums = {name: np.cumsum(change)[:-1] for name, change in changes.items()}
    return JobsOverTime(at / SECOND_NS, {name: sums[name] for name in STATES}, sums["ended"], sums["paid"])


def _steps(job: Mapping[str, Any], offset_ns: int, at: Floats) -> Iterator[tuple[int, str]]:
    """Return at which column a job came into each of its states, in their order."""
    column = 0
    for name, state in _STEPS:
        moment_ns = moment_of(job, name)
        if moment_ns is not None:
            column = max(column, int(np.searchsorted(at, moment_ns - offset_ns)))
            yield column, state


def account_lines(history: History) -> list[AccountLine]:
    """Sum up accounts, those that have most to show first."""
    accounts = sorted(history.accounts_shown, key=lambda one: (-len(one.jobs), -len(one.transactions), one.account))
    return [
        AccountLine(
            account=one.account,
            available=_balance(one.balances, "available"),
            held=_balance(one.balances, "held"),
            pending=_balance(one.balances, "pending"),
            billed=f"{sum((_amount(job.get('billed')) for job in one.jobs), Decimal(0)):f}",
            withdrawn=f"{sum((_withdrawn(shown) for shown in one.withdrawals), Decimal(0)):f}",
            jobs=_counted(job.get("state") for job in one.jobs),
            complete=one.complete,
        )
        for one in accounts[:ACCOUNTS_SHOWN_MAX]
    ]


def _withdrawn(shown: Mapping[str, Any]) -> Decimal:
    return _amount(shown.get("amount")) if shown.get("state") != "returned" else Decimal(0)


def _balance(balances: list[dict[str, Any]], part: str) -> str:
    return next((str(one.get(part)) for one in balances if one.get("asset") == "USDT-TRC20"), "")


def _counted(states: Iterator[Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in Counter(map(str, states)).most_common())


def _amount(shown: Any) -> Decimal:
    """Read an amount; none where it is not one."""
    try:
        found = Decimal(shown) if isinstance(shown, str) else Decimal(0)
    except InvalidOperation:
        return Decimal(0)
    return found if found.is_finite() else Decimal(0)
