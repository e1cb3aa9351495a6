"""The server, its payout gateway with a ledger of its own in a file: `python -m tests.payouts.paying_server`."""

from __future__ import annotations

import os
import sys
from hashlib import sha256
from typing import TYPE_CHECKING

import trio

from reference_server import __main__, app
from reference_server.ports import Payout, PayoutOutcome

if TYPE_CHECKING:
    from reference_server.ports import Clock

LEDGER = "HATCHFARM_TEST_PAYOUTS"
"""Names the gateway's file: a line for each time that it is asked."""
_OUTCOMES_OF = 8


def outcome_of(withdrawal_id: str) -> PayoutOutcome:
    """Return what comes of a payout, the same at each instance and each time: one in eight comes to nothing."""
    returned = sha256(withdrawal_id.encode()).digest()[0] % _OUTCOMES_OF == 0
    return PayoutOutcome.RETURNED if returned else PayoutOutcome.SETTLED


class KeptPayouts:
    """Pays at once, once for each id, and writes that down first. Of the answers to first questions half are lost."""

    def __init__(self, _clock: Clock, _seconds: float) -> None:
        self._ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._asked: set[str] = set()

    async def pay_out(self, payout: Payout) -> PayoutOutcome:
        """Pay, or find that it is paid."""
        await trio.lowlevel.checkpoint()
        os.write(self._ledger, f"{payout.id} {payout.asset} {payout.amount} {payout.address}\n".encode())
        first = payout.id not in self._asked
        self._asked.add(payout.id)
        lost = first and sha256(payout.id.encode()).digest()[1] % 2 == 0
        return PayoutOutcome.UNKNOWN if lost else outcome_of(payout.id)


if __name__ == "__main__":
    setattr(app, "SimulatedPayouts", KeptPayouts)  # noqa: B010 - what the composition root makes
    sys.exit(__main__.main())
