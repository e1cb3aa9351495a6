"""The server, its payout gateway with a ledger of its own in a file, in processes that are forked and killed."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import trio

from reference_server import __main__, app
from reference_server.pipeline import chores
from reference_server.ports import Payout, PayoutOutcome
from tests.http.twins import API_TOKEN
from tests.support.environment import without_settings
from tests.support.forked import ForkedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from reference_server.ports import Clock

LEDGER = "HATCHFARM_TEST_PAYOUTS"
"""Names the gateway's file: a line for each time that it is asked."""
_OUTCOMES_OF = 8
LOOK_SECONDS = 0.05
"""How often the servers look whether they have payouts to ask about: ten times as often as otherwise, so that kills hit
more of them, and what is left in the end is soon decided."""


def outcome_of(withdrawal_id: str) -> PayoutOutcome:
    """Return what comes of a payout, the same at each instance and each time: one in eight comes to nothing."""
    returned = sha256(withdrawal_id.encode()).digest()[0] % _OUTCOMES_OF == 0
    return PayoutOutcome.RETURNED if returned else PayoutOutcome.SETTLED


class KeptPayouts:
    """Pays at once, once for each id, and writes that down first. Of the answers to first questions half are lost."""

    def __init__(self, _clock: Clock, _seconds: float, _fails: object) -> None:
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


def serve() -> int:
    """Serve with such payouts, as the composition root makes them."""
    setattr(app, "SimulatedPayouts", KeptPayouts)  # noqa: B010 - in a process of its own
    setattr(chores, "MARKET_LOOK_SECONDS", LOOK_SECONDS)  # noqa: B010
    return __main__.main()


class PayingServer:
    """A server that may be killed, and starts again: on another port, as anybody may have taken the one that it had.

    What it knows then is what it was set to keep.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._environ = without_settings(
            **{"HATCHFARM_API_TOKEN": API_TOKEN, "HOST": "127.0.0.1", "PORT": "0", **settings}
        )
        self.url = ""

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = ForkedServer(serve, ["--until-stdin-closes"], self._environ)
        line = await self._process.line()
        assert "http://" in line, line
        self.url = line.split()[-1]

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        await self._process.kill()


@asynccontextmanager
async def paying_server(settings: Mapping[str, str]) -> AsyncIterator[PayingServer]:
    """Start one, and kill it in the end."""
    server = PayingServer(settings)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()
