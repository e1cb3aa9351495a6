"""The shard of a virtual world: thousands of machines as events of one clock, without a task of their own."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.link import Link, LinkState
from simulator.history.losses import Loss
from simulator.history.rows import NEVER_NS
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.worlds.carrying import Carrying
from simulator.worlds.virtual.network import READ

if TYPE_CHECKING:
    import socket

    from simulator.fleet.machine import Machine
    from simulator.worlds.plan import Campaign
    from simulator.worlds.virtual.network import MemoryNetwork
    from simulator.worlds.virtual.scheduling import JumpingClock

READ_BYTES = 65_536
SWEEP_NS = SECOND_NS
LOOK_SECONDS = 0.01


class VirtualShard(Carrying):
    """Carries over a network in memory: each turn, each arrival is an event of the clock."""

    def __init__(self, clock: JumpingClock, network: MemoryNetwork, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock = clock
        self._network = network
        self._running = False
        self._began_ns = 0
        """What the clock showed when the run began."""
        self._armed_ns = NEVER_NS
        """When the next turns are planned, in nanoseconds of the run."""
        self._taken = False

    def resume(self, machine: Machine, given_up_ns: int = NEVER_NS) -> None:
        """Take a machine (back) into the schedule."""
        super().resume(machine, given_up_ns)
        self._arm()

    def launch(self, campaign: Campaign) -> None:
        """Begin a campaign's schedule."""
        super().launch(campaign)
        self._arm()

    async def run(self) -> None:
        """Have the machines act until cancelled."""
        self._running = True
        self._began_ns = self._clock.now_ns - self._now()
        self._armed_ns = NEVER_NS
        self._arm()
        try:
            while True:
                await trio.sleep(SWEEP_NS / SECOND_NS)
                for link in self.playing.overdue(self._now(), int(ANSWER_TIMEOUT_SECONDS * SECOND_NS)):
                    self._lost(link, f"no whole answer within {ANSWER_TIMEOUT_SECONDS:g} s", Loss.TIMED_OUT)
                self._arm()
        finally:
            self._running = False

    async def finish(self, patience_seconds: float) -> None:
        """Stop sending, wait for the answers that are due for a moment, and count the rest as lost."""
        self.playing.end(self._now())
        try:
            with trio.move_on_after(patience_seconds):
                while any(link.state is LinkState.WAITING for link in self.playing.links()):  # noqa: ASYNC110 - events answer
                    await trio.sleep(LOOK_SECONDS)
        finally:
            self._give_up()

    # --- events

    def _arm(self) -> None:
        """Plan the next turns, unless they are planned."""
        due = self.playing.due
        if due and self._running:
            due_ns = due[0][0]
            if due_ns < self._armed_ns:
                self._armed_ns = due_ns
                self._clock.at(due_ns + self._began_ns, self._take_turns, due_ns)

    def _take_turns(self, planned_for_ns: int) -> None:
        if planned_for_ns != self._armed_ns or not self._running:
            return  # something came up before it, and was planned instead
        self._armed_ns = NEVER_NS
        due, now_ns = self.playing.due, self._now()
        while due and due[0][0] <= now_ns:
            planned_ns, _, turn = heapq.heappop(due)
            self._take_turn(turn, planned_ns, now_ns)
        self._arm()

    def _look(self, link: Link, _events: int) -> None:
        self._ready(link)
        self._arm()

    # --- connections

    def _dial(self, link: Link) -> None:
        _, port = link.next_place(self._target)

        def up(taken: bool) -> None:  # noqa: FBT001 - as a callback it has no names
            if link.sock is end:
                self._taken = taken
                self._look(link, 0)

        end: Any = self._network.dial(link.source, port, up)
        link.sock, link.state = end, LinkState.CONNECTING

    def _shake_hands(self, link: Link) -> bool:
        if not self._taken:
            raise ConnectionRefusedError("nobody listens there")
        end: Any = link.sock
        end.look = partial(self._look, link)
        end.watch(READ)
        link.state = LinkState.READY
        self._progress.connected += link.machine is not None
        return True

    def _receive(self, sock: socket.socket) -> bytes | None:
        try:
            return sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _forget(self, _sock: socket.socket) -> bool:
        return True
