"""One shard of the fleet as a process: `python -m simulator.load.shard_process`, commanded over its standard streams.

Trio and gevent never share a process, so a Locust worker has its machines played here. Commands come as frames on
standard input, reports leave on standard output, and words for people go to standard error. When standard input closes
whoever started it is gone, however it went, and so the shard goes too.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import trio

from simulator.attacks import CATALOGUE
from simulator.attacks.catalogue import ShotAttack
from simulator.client.access import AccessError, access_of
from simulator.client.patience import PATIENCE
from simulator.client.target import NO_ACCESS, TargetError
from simulator.history.rows import HONEST, History
from simulator.judging.tally import tally
from simulator.load.deltas import Cursor
from simulator.load.messages import Begin, Failed, Finish, FrameError, Frames, Launch, Message, Report, Wanted, frame
from simulator.load.ordered import scenario_of, sides_of, target_of
from simulator.scenario.loading import ScenarioError
from simulator.worlds.harness_failure import leaf_errors
from simulator.worlds.live.watching import watch_generator
from simulator.worlds.live.world import LIVE
from simulator.worlds.players.fleet_player import FleetPlayer, ShardRange
from simulator.worlds.progress import Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from numpy.typing import NDArray

    from simulator.client.access import Access

REPORT_SECONDS = 1.0
READ_BYTES = 65_536
TOKEN_VARIABLE = "HATCHFARM_API_TOKEN"  # noqa: S105 - the variable's name, not its value
ORPHANED, FAILED = 4, 1
COUNTERS = (
    "machines_wanted", "machines_running", "connected", "sent", "in_flight", "accepted", "refused", "lost",
    "connect_failures", "onboarding_failures", "dropped_starts", "held_up", "attacks_refused", "attacks_accepted",
    "attacks_other", "attempts_skipped",
)  # fmt: skip
"""What of `Progress` adds up over shards."""


class OrphanedError(Exception):
    """Nobody commands this shard any more."""


class ShardProcess:
    """Plays what its first message orders, and reports once a second. `out` takes frames."""

    def __init__(self, begin: Begin, token: str, out: trio.abc.SendStream, access: Access = NO_ACCESS) -> None:
        order = begin.order
        scenario = scenario_of(order)
        self._begin = begin
        self._out = out
        self._wanted = 0
        self._history = History()
        self._cursor = Cursor(self._history)
        self._progress = Progress()
        self._attacks = [attack.name for attack in scenario.attacks]
        self._concluding = [
            number for number, name in enumerate(self._attacks, HONEST + 1) if issubclass(CATALOGUE[name], ShotAttack)
        ]
        self._kept: list[NDArray[Any]] = []
        self._player = FleetPlayer(
            LIVE,
            scenario,
            order.seed,
            target_of(order, token, access),
            self._history,
            self._progress,
            order.prefix if order.policies is not None else f"{order.prefix}-s{begin.shard}",
            sides=sides_of(order, token, access),
            clock_offset_ns=order.clock_offset_ns,
            share=ShardRange(begin.shard, begin.first_machine, begin.machines),
        )

    async def run(self, commands: AsyncIterator[Message]) -> None:
        """Play until told to finish. Raises OrphanedError, and TargetError where the target is unusable."""
        player = self._player
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._obey, commands, nursery.cancel_scope)
            policies = self._begin.order.policies
            if policies is None:
                await player.create_policies()
            else:
                player.take_policies(policies)
            player.begin(self._begin.start_ns)
            nursery.start_soon(player.play, lambda _now_ns: self._wanted, [])
            nursery.start_soon(partial(watch_generator, self._history, self._progress, player.now, apart=True))
            nursery.start_soon(self._report)
        await player.finish(PATIENCE.last_answers_seconds)
        await self._send(last=True)

    async def _obey(self, commands: AsyncIterator[Message], playing: trio.CancelScope) -> None:
        async for command in commands:
            match command:
                case Wanted():
                    self._wanted = command.machines
                case Launch():
                    self._player.launch(command.campaign)
                case Finish():
                    playing.cancel()
                    return
        raise OrphanedError

    async def _report(self) -> None:
        due = trio.current_time()
        while True:
            due = max(due + REPORT_SECONDS, trio.current_time())
            await trio.sleep_until(due)
            with trio.CancelScope(shield=True):  # half a frame would end the conversation
                await self._send()

    async def _send(self, *, last: bool = False) -> None:
        at_ns = time.monotonic_ns()
        rows = self._cursor.rows()
        if self._concluding:
            self._kept.append(rows[np.isin(rows["campaign"], self._concluding)])
        if last:
            self._player.conclude(np.concatenate([*self._kept, rows[:0]]))
        progress = {name: getattr(self._progress, name) for name in COUNTERS}
        delta = self._cursor.delta(rows) if self._begin.order.keep_history else b""
        report = Report(at_ns, tally(rows, self._attacks), progress, delta, last, self._progress.take_changes())
        await self._out.send_all(frame(report))


async def receive(stream: trio.abc.ReceiveStream) -> AsyncIterator[Message]:
    """Read messages until the stream ends. Raises FrameError."""
    frames = Frames()
    async for data in stream:
        for message in frames.feed(bytes(data)):
            yield message


async def serve(environ: Mapping[str, str]) -> int:
    """Serve one master on the standard streams, by what the environment says of the target; returns the exit code."""
    # What anything may print must not end up between frames.
    out = trio.lowlevel.FdStream(os.dup(1))
    os.dup2(2, 1)
    commands = receive(trio.lowlevel.FdStream(os.dup(0)))
    try:
        first = await anext(commands, None)
        if first is None:
            return ORPHANED
        if not isinstance(first, Begin):
            raise FrameError(f"a shard begins with {Begin.__name__}, not with {type(first).__name__}")  # noqa: TRY301
        token, access = environ.get(TOKEN_VARIABLE, ""), access_of(environ)
        await ShardProcess(first, token, out, access).run(commands)
    except BaseException as error:
        faults = list(leaf_errors(error))
        if any(isinstance(one, OrphanedError | trio.BrokenResourceError) for one in faults):
            return ORPHANED
        if not isinstance(error, Exception):
            raise
        await out.send_all(frame(Failed(_describe(faults[0]))))
        return FAILED
    return 0


def _describe(fault: BaseException) -> str:
    if isinstance(fault, TargetError | AccessError | ScenarioError | FrameError):
        return str(fault)
    return f"the shard failed by a fault of its own, please report it: {type(fault).__name__}: {fault}"


if __name__ == "__main__":
    sys.exit(trio.run(serve, os.environ))
