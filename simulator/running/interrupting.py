"""What a signal does to a run that is under way: it ends the work, and what is known of the run says so."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio

    from simulator.platform.interruptions import HeldSignal
    from simulator.running.run_state import RunState
    from simulator.view.showing import View


async def watch_signals(
    signals: AsyncIterator[int], held: HeldSignal, outcome: RunState, view: View, work: trio.CancelScope
) -> None:
    """End the work at the first signal, and at the second what is awaited still. Later ones change nothing.

    Whoever holds the signals around the run reads in `held` that one came.
    """
    async for number in signals:
        again = work.cancel_called
        held.number = held.number or number
        view.acknowledge(signal.Signals(number).name, again=again)
        if again:
            outcome.progress.ending.give_up()
        interrupt(number, outcome, work)


def interrupt(number: int, outcome: RunState, work: trio.CancelScope) -> None:
    """End the work for a signal; what has ended the run before stays why it ended."""
    if outcome.interrupted is None:
        outcome.interrupted = f"{signal.Signals(number).name} after {outcome.progress.elapsed_ns / SECOND_NS:.1f}s"
    work.cancel()
