"""Which withdrawals the payout gateway is to be asked about now (contract: Wallet, `PayoutGateway`).

The gateway is asked only for withdrawals that are durable, each with its id as its idempotency key, so asking again
pays nothing twice. When to ask is not kept: after a restart all pending ones are asked about at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.core.market.withdrawals import Withdrawal, Withdrawals

FIRST_PAUSE_NS, PAUSE_MAX_NS = SECOND_NS, 60 * SECOND_NS
"""How long it waits until it asks again about what it does not know: twice as long each time, up to a minute."""


class PayoutQueue:
    """When each pending withdrawal is asked about next (monotonic ns)."""

    def __init__(self) -> None:
        self._next: dict[str, tuple[int, int]] = {}

    def due(self, withdrawals: Withdrawals, now_ns: int, most: int) -> list[Withdrawal]:
        """Return up to `most` pending withdrawals to ask about now, the oldest first; each is put off for its pause."""
        for withdrawal_id in [one for one in self._next if one not in withdrawals.pending]:
            del self._next[withdrawal_id]
        taken: list[Withdrawal] = []
        for withdrawal in withdrawals.pending.values():
            if len(taken) == most:
                break
            at_ns, pause_ns = self._next.get(withdrawal.id, (now_ns, FIRST_PAUSE_NS))
            if at_ns <= now_ns:
                self._next[withdrawal.id] = now_ns + pause_ns, min(2 * pause_ns, PAUSE_MAX_NS)
                taken.append(withdrawal)
        return taken
