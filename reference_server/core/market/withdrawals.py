"""Withdrawals: records, limits and addresses (contract: Wallet)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

import msgspec

from reference_server.core.market.bounds import MARKET_BOUNDS, MarketBounds
from reference_server.core.market.conditions import DAY_NS, HOUR_NS
from reference_server.core.market.money import BTC, USDT, format_amount
from reference_server.limits import WITHDRAWALS_FINISHED_MAX
from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.values import Instant  # noqa: TC001 - msgspec reads a struct's types when it is made

if TYPE_CHECKING:
    from reference_server.core.market.conditions import Conditions

PENDING, SETTLED, RETURNED = "pending", "settled", "returned"


class Withdrawal(msgspec.Struct, gc=False):
    """A withdrawal: `amount` in units of its asset, `address` as it was given."""

    id: str
    account: str
    asset: str
    amount: int
    address: str
    created: Instant
    updated: Instant
    state: str = PENDING


class AddressUse(msgspec.Struct, frozen=True, gc=False):
    """The first use of an address (in its normal spelling) by an account, which starts its cooldown."""

    account: str
    asset: str
    address: str
    first: Instant


def show_withdrawal(withdrawal: Withdrawal) -> dict[str, str]:
    """Return a withdrawal as the API shows it."""
    return {
        "id": withdrawal.id,
        "asset": withdrawal.asset,
        "amount": format_amount(withdrawal.amount, withdrawal.asset),
        "address": withdrawal.address,
        "state": withdrawal.state,
        "created_at": format_timestamp(withdrawal.created.wall_ns),
        "updated_at": format_timestamp(withdrawal.updated.wall_ns),
    }


class Withdrawals:
    """All withdrawals, with indexes of the pending ones and of a day's by account, and the used addresses."""

    def __init__(self, bounds: MarketBounds = MARKET_BOUNDS) -> None:
        self._bounds = bounds
        self.all: dict[str, Withdrawal] = {}
        self.pending: OrderedDict[str, Withdrawal] = OrderedDict()
        self.count_by_state = dict.fromkeys((PENDING, SETTLED, RETURNED), 0)
        """How many withdrawals ever reached each state."""
        self.addresses: dict[tuple[str, str, str], AddressUse] = {}
        self._addresses_of: dict[str, int] = {}
        self._finished: OrderedDict[str, None] = OrderedDict()
        self._lately: dict[str, deque[Withdrawal]] = {}

    def add(self, withdrawal: Withdrawal) -> None:
        """Add a withdrawal unchanged; call it in order of creation."""
        self.all[withdrawal.id] = withdrawal
        self.count_by_state[PENDING] += 1
        self._of_a_day(withdrawal.account, withdrawal.created)  # drops old ones: recovery never calls `exceeds`
        self._lately.setdefault(withdrawal.account, deque()).append(withdrawal)
        if withdrawal.state == PENDING:
            self.pending[withdrawal.id] = withdrawal
        else:
            self._finish(withdrawal)

    def order_finished(self) -> None:
        """Sort finished withdrawals by their end, after they were restored in order of creation."""
        for withdrawal_id in sorted(self._finished, key=lambda one: self.all[one].updated.wall_ns):
            self._finished.move_to_end(withdrawal_id)

    def finish(self, withdrawal: Withdrawal, state: str, at: Instant) -> None:
        """Record the final state of a pending withdrawal."""
        del self.pending[withdrawal.id]
        withdrawal.state, withdrawal.updated = state, at
        self._finish(withdrawal)

    def _finish(self, withdrawal: Withdrawal) -> None:
        self.count_by_state[withdrawal.state] += 1
        self._finished[withdrawal.id] = None
        if len(self._finished) > WITHDRAWALS_FINISHED_MAX:
            del self.all[self._finished.popitem(last=False)[0]]

    def exceeds(self, conditions: Conditions, now: Instant, account: str, asset: str, amount: int) -> bool:
        """Return whether one more withdrawal would exceed an account's sliding limits of an hour or a day.

        Returned withdrawals count, refused ones do not.
        """
        lately = self._of_a_day(account, now)
        in_an_hour = sum(now.monotonic_ns - one.created.monotonic_ns < HOUR_NS for one in lately)
        in_a_day = sum(one.amount for one in lately if one.asset == asset)
        most = {USDT: conditions.daily_limit_usdt, BTC: conditions.daily_limit_btc}[asset]
        return in_an_hour >= conditions.withdrawals_per_hour or in_a_day + amount > most

    def _of_a_day(self, account: str, now: Instant) -> deque[Withdrawal]:
        lately = self._lately.get(account)
        if lately is None:
            return deque()
        while lately and now.monotonic_ns - lately[0].created.monotonic_ns >= DAY_NS:
            lately.popleft()
        if not lately:
            del self._lately[account]
        return lately

    def cooldown_ns(self, conditions: Conditions, now: Instant, account: str, asset: str, address: str) -> int:
        """Return an address's remaining cooldown for an account in ns; the whole cooldown if it was never used."""
        use = self.addresses.get((account, asset, address))
        since_ns = 0 if use is None else now.monotonic_ns - use.first.monotonic_ns
        return max(0, conditions.cooldown_ns - since_ns)

    def has_room_for_address(self, account: str) -> bool:
        """Return whether an account may use one more address."""
        return self._addresses_of.get(account, 0) < self._bounds.addresses_an_account_max

    def use_address(self, use: AddressUse) -> None:
        """Record the first use of an address; later uses change nothing.

        If the table is full, the account with most entries loses its oldest, whose cooldown would then start again.
        """
        place = use.account, use.asset, use.address
        if place in self.addresses:
            return
        if len(self.addresses) >= self._bounds.addresses_max:
            self._forget_address()
        self.addresses[place] = use
        self._addresses_of[use.account] = self._addresses_of.get(use.account, 0) + 1

    def _forget_address(self) -> None:
        most = max(self._addresses_of, key=lambda account: (self._addresses_of[account], account))
        of_account = (use for use in self.addresses.values() if use.account == most)
        oldest = min(of_account, key=lambda use: (use.first.wall_ns, use.asset, use.address))
        del self.addresses[oldest.account, oldest.asset, oldest.address]
        self._addresses_of[most] -= 1
        if not self._addresses_of[most]:
            del self._addresses_of[most]
