"""A payout gateway that only acts as one: each payout is settled after a while, or fails when it is told so."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING
from zlib import crc32

import trio

from reference_server.limits import WITHDRAWALS_PENDING_MAX
from reference_server.ports import Payout, PayoutOutcome
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.ports import Clock


def _never(_payout: Payout) -> bool:
    return False


def fails_by_its_id(share: float, payout: Payout) -> bool:
    """Return whether a payout is of the share that comes to nothing: the same whenever, and wherever, it is asked."""
    return crc32(payout.id.encode()) < share * (1 << 32)


class SimulatedPayouts:
    """Settles each payout so many seconds after it was first asked for, once for each id.

    `fails` says which payouts come to nothing, `loses` which answers are lost on their way.
    """

    def __init__(
        self,
        clock: Clock,
        seconds: float,
        fails: Callable[[Payout], bool] = _never,
        loses: Callable[[Payout], bool] = _never,
    ) -> None:
        self._clock = clock
        self._wait_ns = round(seconds * SECOND_NS)
        self._fails = fails
        self._loses = loses
        self._begun: OrderedDict[str, tuple[int, PayoutOutcome]] = OrderedDict()
        """When each was first asked for (monotonic ns), and what comes of it."""

    async def pay_out(self, payout: Payout) -> PayoutOutcome:
        """Begin a payout, or say what came of it."""
        await trio.lowlevel.checkpoint()
        now_ns = self._clock.now().monotonic_ns
        begun = self._begun.get(payout.id)
        if begun is None:
            outcome = PayoutOutcome.RETURNED if self._fails(payout) else PayoutOutcome.SETTLED
            begun = self._begun[payout.id] = now_ns, outcome
            if len(self._begun) > WITHDRAWALS_PENDING_MAX:
                self._begun.popitem(last=False)
        since_ns, outcome = begun
        return PayoutOutcome.UNKNOWN if now_ns - since_ns < self._wait_ns or self._loses(payout) else outcome
