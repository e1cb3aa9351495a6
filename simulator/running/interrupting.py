"""Handling a stop signal during a run: it ends the work, and the run's state says so."""

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
    """End the work at the first signal, and at the second all waiting for a graceful end. Later signals change nothing.

    `held` is for the caller that holds the signals around the run: it records that one came.
    """
    async for number in signals:
        again = work.cancel_called
        held.number = held.number or number
        view.acknowledge(signal.Signals(number).name, again=again)
        if again:
            outcome.progress.ending.give_up()
        interrupt(number, outcome, work)


def interrupt(number: int, outcome: RunState, work: trio.CancelScope) -> None:
    """Cancel the work because of a signal, and note the signal unless another reason ended the run before."""
    if outcome.interrupted is None:
        outcome.interrupted = f"{signal.Signals(number).name} after {outcome.progress.elapsed_ns / SECOND_NS:.1f}s"
    work.cancel()
