"""Which withdrawals the payout gateway is to be asked about now (contract: Wallet, `PayoutGateway`).

The gateway is asked only for withdrawals that are durable, each with its id as its idempotency key, so asking again
pays nothing twice. When to ask is not kept: after a restart all pending ones are asked about at once.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.core.market.withdrawals import Withdrawal, Withdrawals

FIRST_PAUSE_NS, PAUSE_MAX_NS = SECOND_NS, 60 * SECOND_NS
"""How long it waits until it asks again about what it does not know: twice as long each time, up to a minute."""


class PayoutQueue:
    """When each pending withdrawal is asked about next (monotonic ns): whichever has waited longest first.

    So what the gateway says nothing of, however much that is, keeps nothing new from being asked about.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: list[tuple[int, int, str, int]] = []
        """A heap of moments, numbers in the order in which they came, ids, and pauses after the next asking."""
        self._number = 0

    def due(self, withdrawals: Withdrawals, now_ns: int, most: int) -> list[Withdrawal]:
        """Return up to `most` pending withdrawals to ask about now; each is put off for its pause."""
        for withdrawal_id in withdrawals.pending:
            if withdrawal_id not in self._known:
                self._known.add(withdrawal_id)
                self._number += 1
                heapq.heappush(self._waiting, (now_ns, self._number, withdrawal_id, FIRST_PAUSE_NS))
        taken: list[Withdrawal] = []
        while self._waiting and self._waiting[0][0] <= now_ns and len(taken) < most:
            _, number, withdrawal_id, pause_ns = heapq.heappop(self._waiting)
            withdrawal = withdrawals.pending.get(withdrawal_id)
            if withdrawal is None:
                self._known.remove(withdrawal_id)
                continue
            again = (now_ns + pause_ns, number, withdrawal_id, min(2 * pause_ns, PAUSE_MAX_NS))
            heapq.heappush(self._waiting, again)
            taken.append(withdrawal)
        return taken
