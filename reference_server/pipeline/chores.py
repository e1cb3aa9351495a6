"""What the server does by itself on the market: what has become due, and money that is on its way out.

Both are decided as requests are, one after the other with them, and on what is shared where the state is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from reference_server.core.attending import do_what_is_due, take_payouts
from reference_server.core.market.payouts import PayoutQueue
from reference_server.core.market.working import next_due
from reference_server.limits import MARKET_LOOK_SECONDS, PAYOUT_ANSWER_SECONDS, PAYOUTS_AT_ONCE
from reference_server.operations.outcomes import Chore, defer
from reference_server.pipeline.answering import internal_error
from reference_server.ports import Payout, PayoutOutcome
from reference_server.wire.values import succeeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reference_server.core.state import State
    from reference_server.operations.api import Api
    from reference_server.ports import Clock, PayoutGateway
    from reference_server.wire.values import Instant, Reply

    Resolve = Callable[[Reply], Awaitable[Reply]]


class Chores:
    """Does them for an API. `run` has to run while it is served; `resolve` waits for what is deferred."""

    def __init__(self, api: Api, clock: Clock, resolve: Resolve) -> None:
        self._api = api
        self._clock = clock
        self._resolve = resolve
        self._queue = PayoutQueue()
        self._some_pending = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look now and then what there is to do, until cancelled.

        A gateway that says nothing delays only payouts, and what is due delays none.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pay_on)
            task_status.started()
            while True:
                await trio.sleep(MARKET_LOOK_SECONDS)
                self._look_at_payouts()
                # Of what is due at once only some is done at a time: others are answered in between.
                while self._is_due() and await self._do(do_what_is_due):
                    self._look_at_payouts()
                    await trio.lowlevel.checkpoint()

    def _look_at_payouts(self) -> None:
        if self._api.payouts is not None and self._api.state.market.withdrawals.pending:
            self._some_pending.set()

    def _is_due(self) -> bool:
        now = self._clock.now()
        due_ns = next_due(self._api.state.market, now)
        return due_ns is not None and due_ns <= now.monotonic_ns

    async def _pay_on(self) -> None:
        """Ask about what is pending, once after each look that found any: mostly nothing is."""
        while True:
            await self._some_pending.wait()
            if self._api.payouts is not None:
                await self._pay(self._api.payouts)
            self._some_pending = trio.Event()

    async def _do(self, decide: Callable[[State, Instant], object]) -> bool:
        """Decide something; return whether that was done, and is durable and shared."""
        return succeeded(await self._resolve(defer(Chore(decide), None)))

    async def _pay(self, gateway: PayoutGateway) -> None:
        """Ask about withdrawals that are pending. They are durable once a decision has seen them, and that is out."""
        asked: list[Payout] = []

        def choose(state: State, now: Instant) -> None:
            due = self._queue.due(state.market.withdrawals, now.monotonic_ns, PAYOUTS_AT_ONCE)
            asked.extend(Payout(one.id, one.asset, one.amount, one.address) for one in due)

        if not await self._do(choose) or not asked:
            return
        outcomes: dict[str, PayoutOutcome] = {}
        async with trio.open_nursery() as nursery:
            for payout in asked:
                nursery.start_soon(self._ask, gateway, payout, outcomes)
        if outcomes:
            await self._do(lambda state, now: take_payouts(state, now, outcomes))

    async def _ask(self, gateway: PayoutGateway, payout: Payout, outcomes: dict[str, PayoutOutcome]) -> None:
        """Ask about one; without an answer in time nothing is known of it."""
        try:
            with trio.move_on_after(PAYOUT_ANSWER_SECONDS):
                outcome = await gateway.pay_out(payout)
                if outcome is not PayoutOutcome.UNKNOWN:
                    outcomes[payout.id] = outcome
        except Exception:  # noqa: BLE001 - a fault of ours says nothing of the payout, which is asked about again
            internal_error("a payout asked about")
