"""Reading everything that an account can see of its money and jobs, after all other requests of the run have ended.

Scripts of acts: no I/O, no clock. The result is an `AccountShown`; only readings of unfinished withdrawals also become
a `MarketExchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reference_server.wire.units import SECOND_NS
from simulator.contract.answers import Answer
from simulator.contract.reading import retry_after_ns
from simulator.fleet import market_requests as requests
from simulator.fleet.acts import Sleep
from simulator.fleet.agents import UNSETTLED
from simulator.history.market_records import AccountShown, ResourcesShown
from simulator.limits import ACCOUNT_PAGES_MAX, ACCOUNT_TRIES_MAX, ACCOUNT_WITHDRAWALS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.fleet.acts import Act
    from simulator.fleet.market_acts import MarketActs, MarketReply
    from simulator.fleet.market_requests import Caller
    from simulator.fleet.requests import ApiCall

ACCOUNTS, WITHDRAWALS = "accounts", "withdrawals"
"""Subjects of troubles: accounts that could not be read, and withdrawals that are not finished."""
PACED_AFTER_REQUESTS = 12
PACE_SECONDS = 0.25
"""The requests that a new address makes at once, and the pause between later ones, for the rate limit (contract §6)."""
REST_LOOKS_MAX = 8
REST_SECONDS = 0.5
"""How often an unfinished withdrawal is read, and the pause between readings."""


class AccountReader:
    """Reads one account. `withdrawals` has the last shown state of each withdrawal by id, and is updated."""

    def __init__(self, acts: MarketActs, caller: Caller, withdrawals: dict[str, dict[str, Any]]) -> None:
        self._acts = acts
        self._caller = caller
        self._withdrawals = withdrawals
        self._asked = 0
        self._looked_at: set[str] = set()
        self._waiting: list[str] = []
        self._complete = True
        self._first_ns: int | None = None
        self._last_ns = 0

    def script(self) -> Act[AccountShown | None]:
        """Read the account; return None if nothing of it was shown."""
        yield from self._wait_for_rest()
        balances = yield from self._one(requests.balance_call(self._caller), "balances")
        transactions, transactions_total = yield from self._list(requests.transactions_call, "transactions")
        jobs, jobs_total = yield from self._list(requests.jobs_call, "jobs")
        if self._first_ns is None:
            return None
        return AccountShown(
            self._caller.account,
            self._first_ns,
            self._last_ns,
            balances,
            transactions,
            transactions_total,
            jobs,
            jobs_total,
            [shown for one, shown in self._withdrawals.items() if self._is_known(one, shown)],
            self._complete,
        )

    @property
    def unrested(self) -> int:
        """The number of awaited withdrawals that did not finish."""
        return len(self._waiting)

    def _is_known(self, withdrawal_id: str, shown: Mapping[str, Any]) -> bool:
        """Return whether a withdrawal's known state is current: it was finished before, or was read again."""
        return shown.get("state") != UNSETTLED or withdrawal_id in self._looked_at

    def _wait_for_rest(self) -> Act[None]:
        """Read withdrawals (the latest, if they are too many) until each is settled or returned, within bounds."""
        pending = [one for one, shown in self._withdrawals.items() if shown.get("state") == UNSETTLED]
        self._waiting = pending[-ACCOUNT_WITHDRAWALS_MAX:]
        for attempt in range(REST_LOOKS_MAX):
            if not self._waiting or self._asked > ACCOUNT_WITHDRAWALS_MAX * 2:
                break
            if attempt and self._asked <= PACED_AFTER_REQUESTS:
                yield Sleep(REST_SECONDS)
            for withdrawal_id in self._waiting:
                call = requests.read_withdrawal_call(self._caller, withdrawal_id)
                answer = yield from self._ask(call, object_id=withdrawal_id, kept=True)
                shown = answer.data.get("withdrawal")
                if answer.done and isinstance(shown, dict):
                    self._withdrawals[withdrawal_id] = shown
                    self._looked_at.add(withdrawal_id)
            self._waiting = [one for one in self._waiting if self._withdrawals[one].get("state") == UNSETTLED]

    def _one(self, call: ApiCall, name: str) -> Act[list[dict[str, Any]]]:
        answer = yield from self._ask(call)
        return self._shown(answer, name)

    def _list(self, call: Callable[..., ApiCall], name: str) -> Act[tuple[list[dict[str, Any]], int]]:
        """Read all pages of a list, within bounds; return its items and the last page's total, or -1."""
        items: list[dict[str, Any]] = []
        total = -1
        for _ in range(ACCOUNT_PAGES_MAX):
            answer = yield from self._ask(call(self._caller, limit=requests.PAGE, offset=len(items)))
            found = self._shown(answer, name)
            items += found
            total = _total(answer.data, total)
            if not found or len(items) >= total:
                break
        self._complete = self._complete and len(items) >= total
        return items, total

    def _shown(self, answer: MarketReply, name: str) -> list[dict[str, Any]]:
        found = answer.data.get(name)
        if answer.done and isinstance(found, list) and all(isinstance(one, dict) for one in found):
            self._last_ns = answer.reply.ended_ns
            self._first_ns = answer.reply.sent_ns if self._first_ns is None else self._first_ns
            return found
        self._complete = False
        return []

    def _ask(self, call: ApiCall, *, object_id: str = "", kept: bool = False) -> Act[MarketReply]:
        """Send a request, and repeat it after a 429."""
        for _ in range(ACCOUNT_TRIES_MAX):
            self._asked += 1
            if self._asked > PACED_AFTER_REQUESTS:
                yield Sleep(PACE_SECONDS)
            answer = yield from self._acts.exchange(self._caller, call, object_id=object_id, kept=kept)
            if answer.got is not Answer.RATE_LIMITED:
                break
            yield Sleep(retry_after_ns(answer.reply.head) / SECOND_NS or PACE_SECONDS)
        return answer


def read_resources(acts: MarketActs, caller: Caller) -> Act[ResourcesShown | None]:
    """Read all offers, page by page; return None if nothing was shown."""
    offered: list[dict[str, Any]] = []
    first_ns = last_ns = total = -1
    for _ in range(ACCOUNT_PAGES_MAX):
        call = requests.resources_call(caller, limit=requests.PAGE, offset=len(offered))
        answer = yield from acts.exchange(caller, call, kept=False)
        found = answer.data.get("resources")
        if not answer.done or not isinstance(found, list):
            break
        first_ns, last_ns = (answer.reply.sent_ns if first_ns < 0 else first_ns), answer.reply.ended_ns
        offered += [one for one in found if isinstance(one, dict)]
        total = _total(answer.data, total)
        if not found or len(offered) >= total:
            break
    if first_ns < 0:
        return None
    return ResourcesShown(first_ns, last_ns, offered, complete=len(offered) >= total)


def _total(data: Mapping[str, Any], otherwise: int) -> int:
    total = data.get("total")
    return total if isinstance(total, int) and not isinstance(total, bool) else otherwise
