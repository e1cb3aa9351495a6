"""The shard of a virtual world: thousands of machines as events of one clock, without a task of their own."""

from __future__ import annotations

from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.answers import WholeAnswers
from simulator.client.link import Link, LinkState
from simulator.history.losses import Loss
from simulator.limits import ANSWER_TIMEOUT_SECONDS
from simulator.worlds.carrying import Carrying
from simulator.worlds.virtual.end_stream import READ
from simulator.worlds.virtual.rounds import FleetRounds
from simulator.worlds.virtual.tls_end import TlsEnd

if TYPE_CHECKING:
    import socket

    from simulator.worlds.playing import Turn
    from simulator.worlds.virtual.network import MemoryNetwork
    from simulator.worlds.virtual.scheduling import JumpingClock

READ_BYTES = 65_536
SWEEP_NS = SECOND_NS
PATIENCE_NS = int(ANSWER_TIMEOUT_SECONDS * SECOND_NS)
LOOK_SECONDS = 0.01


class VirtualShard(Carrying):
    """Carries requests over a network in memory: each turn and each arrival is an event of the clock."""

    def __init__(self, clock: JumpingClock, network: MemoryNetwork, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock = clock
        self._network = network
        self._running = False
        self._began_ns = 0
        """The clock's time at the start of the run."""
        self._taken = False
        self._answers = WholeAnswers()
        self._turn = self._come_to
        """A single bound method, by which the clock recognises turns."""

    async def run(self) -> None:
        """Have the machines act until cancelled."""
        self._running = True
        self._began_ns = self._clock.now_ns - self._now()
        waiting, self.playing.due = self.playing.due, []
        self.playing.plan = self._plan
        rounds = FleetRounds(self._clock, self.playing, self._progress, self._began_ns, self._wall, self._take_whole)
        self._clock.play_together(self._turn, rounds)
        for due_ns, _, turn in sorted(waiting, key=itemgetter(0, 1)):
            self._plan(due_ns, turn)
        self._sweep()
        try:
            await trio.sleep_forever()
        finally:
            self._running = False
            self._clock.play_together(self._turn, None)

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

    def _plan(self, due_ns: int, turn: Turn) -> None:
        """Plan a turn as an event: a separate heap of turns beside the events would cost as much again."""
        self._clock.at(due_ns + self._began_ns, self._turn, turn, due_ns)

    def _come_to(self, turn: Turn, due_ns: int) -> None:
        if self._running:
            self._take_turn(turn, due_ns, self._clock.now_ns - self._began_ns)

    def _sweep(self) -> None:
        """Give up on overdue answers, and sweep again at the first whole second at which any can be overdue."""
        if self._running:
            now_ns = self._now()
            for link in self.playing.overdue(now_ns, PATIENCE_NS):
                self._lost(link, f"no whole answer within {ANSWER_TIMEOUT_SECONDS:g} s", Loss.TIMED_OUT)
            looks = max(0, self.playing.oldest_ns(now_ns) + PATIENCE_NS - now_ns) // SWEEP_NS + 1
            self._clock.at(self._clock.now_ns + looks * SWEEP_NS, self._sweep)

    def _look(self, link: Link, _events: int) -> None:
        self._ready(link)

    def _take_whole(self, link: Link, data: bytes) -> bool:
        """Process an answer that came whole, as nearly all do; return whether it did."""
        if link.state is not LinkState.WAITING or link.reader is not None:
            return False
        answer = self._answers.read(data)
        if answer is None:
            return False
        if not self.playing.answered(link, answer, self._clock.now_ns - self._began_ns):
            self._drop(link)
        return True

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
        if link.state is LinkState.CONNECTING:
            if link.machine is not None:
                self._progress.connect()
            end.look = partial(self._look, link)
            end.watch(READ)
            if self._target.tls is None:
                end.take = partial(self._take_whole, link)
            else:
                inside: Any = TlsEnd(end, self._target.tls, self._target.host)
                link.sock = end = inside
                link.state = LinkState.HANDSHAKING
        if link.state is LinkState.HANDSHAKING and not end.shake_hands():
            return False
        link.state = LinkState.READY
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
