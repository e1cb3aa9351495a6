"""Injecting a scenario's faults on time, into what the run has started."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.wire.units import SECOND_NS
from simulator.checkers.excused import FLUSHED_FOR_NS
from simulator.deployment.server_process import ServerError
from simulator.history.records import Fault
from simulator.scenario.values import DOWN_FAULTS, READING_FAULTS
from simulator.worlds.players.copies import CopyRecorder
from simulator.worlds.players.statuses import StatusReader
from simulator.worlds.progress import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.client.target import Target
    from simulator.deployment.conditions import Recorder
    from simulator.history.rows import History
    from simulator.scenario.values import FaultOptions, Scenario
    from simulator.worlds.progress import Progress


class Faulty(Protocol):
    """The target of faults: processes, or servers in memory. Both raise ServerError."""

    def record_copies(self, recorder: Recorder, /) -> None:
        """Report the copies that the network makes to `recorder`."""

    async def begin(self, fault: FaultOptions, /) -> None:
        """Begin a fault."""

    async def undo(self, fault: FaultOptions, /) -> None:
        """Undo a fault."""


class FaultPlayer:
    """Plays a scenario's faults on a deployment, those of one subject in sequence, and records each.

    After faults that a server must survive without loss, owners read what it still knows.
    """

    def __init__(
        self, scenario: Scenario, deployment: Faulty, target: Target, history: History, progress: Progress
    ) -> None:
        self._faults = sorted(scenario.faults, key=lambda fault: (fault.subject, fault.at_ns))
        server = scenario.server
        self._durable = server.durable or server.instances > 1
        self._knows_more_than_redis = server.redis and server.durable and server.instances == 1
        self._deployment = deployment
        self._target = target
        self._history = history
        self._progress = progress

    async def play(self, now: Callable[[], int]) -> None:
        """Play all faults; `now` returns nanoseconds of the run. A fault is undone even if it is cancelled.

        A process that does not come up again raises no error: the fault's record says so.
        """
        recorder = CopyRecorder(self._history, now, own_addresses=self._target.own_addresses)
        self._deployment.record_copies(recorder)
        async with trio.open_nursery() as nursery:
            for _, faults in groupby(self._faults, key=lambda fault: fault.subject):
                nursery.start_soon(self._play_in_order, list(faults), now)

    async def _play_in_order(self, faults: list[FaultOptions], now: Callable[[], int]) -> None:
        for fault in faults:
            await trio.sleep(max(0, fault.at_ns - now()) / SECOND_NS)
            await self._play_one(fault, now)
            if self._durable and fault.kind in READING_FAULTS:
                await StatusReader(self._target, self._history, now).read(self._history.owners)

    async def _play_one(self, fault: FaultOptions, now: Callable[[], int]) -> None:
        began_from_ns = now()
        problem = ""
        of = Kind.FAULT, fault.kind, fault.instance
        self._progress.begin(*of, began_from_ns)
        try:
            try:
                await self._deployment.begin(fault)
            finally:
                began_to_ns = now()
            await trio.sleep(fault.duration_ns / SECOND_NS)
        except ServerError as error:
            problem = str(error)
        finally:
            with trio.CancelScope(shield=True):
                ended_from_ns = now()
                try:
                    await self._deployment.undo(fault)
                except ServerError as error:
                    problem = problem or str(error)
                self._history.faults.append(
                    Fault(
                        fault.kind,
                        began_from_ns,
                        began_to_ns,
                        ended_from_ns,
                        now(),
                        problem,
                        *fault.clock_bounds_ns,
                        refused_for_ns=self._refused_for_ns(fault, now()),
                    )
                )
                self._progress.end(*of, now(), problem)

    def _refused_for_ns(self, fault: FaultOptions, now_ns: int) -> int:
        """Return for how long a correct server may refuse heartbeats after it runs again, in ns.

        The run's own Redis started with the run. A server that comes back with stored machines cannot know which of
        their nonces were used before that, as after a flush.
        """
        return max(0, FLUSHED_FOR_NS - now_ns) if self._knows_more_than_redis and fault.kind in DOWN_FAULTS else 0
