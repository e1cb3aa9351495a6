"""Which withdrawals the payout gateway is to be asked about now (contract: Wallet, `PayoutGateway`).

The gateway is asked only about durable withdrawals, each with its id as idempotency key, so asking again pays nothing
twice. The schedule is not stored: after a restart, the gateway is asked about all pending withdrawals at once.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.core.market.withdrawals import Withdrawal, Withdrawals

FIRST_PAUSE_NS, PAUSE_MAX_NS = SECOND_NS, 60 * SECOND_NS
"""The pause before asking again about an unknown outcome: doubled each time, up to a minute."""


class PayoutQueue:
    """The next time at which the gateway is asked about each pending withdrawal (monotonic ns), earliest first.

    So withdrawals that the gateway does not answer, however many, do not delay new ones.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: list[tuple[int, int, str, int]] = []
        """A heap of (due time, sequence number, withdrawal id, pause after the next question)."""
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
