"""64 withdrawals at a time, asked of servers killed with SIGKILL: none is paid twice, none lost, sums are zero."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from tests.payouts.paying_server import paying_server
from tests.payouts.withdrawing import Withdrawing, settings_of
from tests.shared_state.instances import shared_settings
from tests.support.redis_servers import redis_server
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 1_000 if SOAK else 30
SHARED_ROUNDS = 300 if SOAK else 4
"""Three have to look at all that the others do."""
JOURNAL_BYTES = 1 << 14
"""So that snapshots take the journal's place again and again, and some kills hit them."""


async def test_no_kill_has_a_withdrawal_paid_twice_or_lost(tmp_path: Path) -> None:
    settings = {
        **settings_of(tmp_path),
        "HATCHFARM_STATE_FILE": str(tmp_path / "state.json"),
        "HATCHFARM_JOURNAL_BYTES": str(JOURNAL_BYTES),
    }
    async with paying_server(settings) as server:
        withdrawing = Withdrawing([server], tmp_path, ROUNDS, seed=1)
        for _ in range(ROUNDS):
            await withdrawing.round()
        await withdrawing.settle()
        assert await withdrawing.problems() == []
    assert withdrawing.granted
    assert withdrawing.refused


async def test_nor_has_any_of_three_that_share_their_state(tmp_path: Path) -> None:
    """Each asks the gateway by itself, and any of them may be asked again for what another granted."""
    async with redis_server() as redis, AsyncExitStack() as stack:
        settings = {**settings_of(tmp_path), **shared_settings(redis.port, tmp_path)}
        servers = [await stack.enter_async_context(paying_server(settings)) for _ in range(3)]
        withdrawing = Withdrawing(servers, tmp_path, SHARED_ROUNDS, seed=2)
        for _ in range(SHARED_ROUNDS):
            await withdrawing.round()
        await withdrawing.settle()
        assert await withdrawing.problems() == []
    assert withdrawing.granted


async def test_a_server_that_keeps_its_state_in_memory_is_found_out(tmp_path: Path) -> None:
    """Its first kill has it forget what was granted and paid; else this file would prove nothing."""
    async with paying_server(settings_of(tmp_path)) as server:
        withdrawing = Withdrawing([server], tmp_path, 2, seed=3)
        await withdrawing.round()
        assert withdrawing.granted
        problems = await withdrawing.problems()
        assert len([one for one in problems if "never paid" in one or "is unknown" in one]) >= len(withdrawing.granted)
