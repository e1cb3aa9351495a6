"""The common part of all shards: sending, reading and giving up. A subclass decides how bytes travel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from simulator.client.answers import AnswerReader, GarbageError, whole_answer
from simulator.client.connection import cause_of
from simulator.client.link import BUSY, Link, LinkState
from simulator.client.witness import Witness
from simulator.fleet.machine import Machine
from simulator.history.losses import Loss
from simulator.history.rows import NEVER_NS
from simulator.limits import HEARTBEAT_ANSWER_MAX_BYTES
from simulator.worlds.playing import Playing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    import numpy as np

    from simulator.client.target import Target
    from simulator.fleet.work import MachineWork
    from simulator.history.rows import History
    from simulator.traces.tape import Tape
    from simulator.worlds.plan import Campaign
    from simulator.worlds.playing import Turn
    from simulator.worlds.progress import Progress


class Carrying(ABC):
    """Drives machines and attackers against one target.

    `now` returns nanoseconds since the start of the run, `wall` Unix nanoseconds, `metrics_of` a machine's hardware
    report as JSON. `call` starts a control-plane action of a machine, which ends with `resume`. `tape` records every
    exchange. `work` has the machines' market work.
    """

    def __init__(
        self,
        target: Target,
        history: History,
        progress: Progress,
        rng: np.random.Generator,
        now: Callable[[], int],
        wall: Callable[[], int],
        metrics_of: Callable[[int], str],
        call: Callable[[Machine], None],
        jitter: float,
        tape: Tape | None = None,
        *,
        work: Mapping[int, MachineWork] | None = None,
    ) -> None:
        self._target = target
        self._progress = progress
        self._now = now
        self._wall = wall
        witness = Witness(history, now)
        self.playing = Playing(target, history, progress, rng, witness, metrics_of, call, jitter, tape, work=work)

    # --- for subclasses

    @abstractmethod
    def _dial(self, link: Link) -> None:
        """Start connecting a link. Raises OSError."""

    @abstractmethod
    def _shake_hands(self, link: Link) -> bool:
        """Continue connecting; return whether the connection is up. Raises OSError."""

    @abstractmethod
    def _receive(self, sock: socket.socket) -> bytes | None:
        """Return the received bytes, None if there are none yet, or no bytes if the connection was closed."""

    @abstractmethod
    def _forget(self, sock: socket.socket) -> bool:
        """Stop waiting for a connection; return whether it was waited for."""

    # --- the schedule

    def resume(self, machine: Machine, given_up_ns: int = NEVER_NS) -> None:
        """Schedule a machine at its `due_ns`; `given_up_ns` is a planned start that it missed."""
        self.playing.resume(machine, self._now(), given_up_ns)

    def stop_machine(self, machine: Machine) -> None:
        """Remove a machine from the fleet. It keeps its registration, and a pending answer still counts."""
        link = self.playing.stop_machine(machine)
        if link is None:
            return
        if link.state in BUSY:
            self._lost(link, "", Loss.ENDED)
        else:
            self._drop(link)

    def launch(self, campaign: Campaign) -> None:
        """Start a campaign's schedule."""
        self.playing.launch(campaign, self._now())

    def _take_turn(self, turn: Turn, planned_ns: int, now_ns: int) -> None:
        """Send the request of a machine or a campaign whose turn it is."""
        if type(turn) is Machine:
            link = self.playing.next_heartbeat(turn, planned_ns, now_ns, self._wall())
        else:
            link = self.playing.next_shot(turn, planned_ns, now_ns, self._wall())  # type: ignore[arg-type]
        if link is not None:
            self._send(link)

    def _give_up(self) -> None:
        """Count answers that are pending at the end of the run as lost, and close all connections."""
        for link in self.playing.links():
            if link.state in BUSY:
                self._lost(link, "no whole answer by the end of the run", Loss.ENDED)
            self._drop(link)

    # --- sending

    def _send(self, link: Link) -> None:
        """Send a link's request, connecting first if needed."""
        if link.state is not LinkState.READY:
            self._connect(link)
            return
        link.sent_ns = self._now()
        link.rested_ns = link.sent_ns - link.free_ns
        link.state = LinkState.WAITING
        self._progress.sent += 1
        why = "the connection takes no more"  # a heartbeat fits any socket buffer
        front = self._target.front
        message = link.request if front is None else front.written(link.request)
        try:
            sent = link.sock.send(message)  # type: ignore[union-attr]
        except OSError as error:
            sent, why = -1, cause_of(error, self._target)
        if sent != len(message):
            self._lost(link, why, Loss.UNSENT)

    def _connect(self, link: Link) -> None:
        link.sent_ns = self._now()
        try:
            self._dial(link)
        except OSError as error:
            self._unreached(link, cause_of(error, self._target))

    # --- receiving

    def _ready(self, link: Link) -> None:
        """Continue with a connection that is ready."""
        data = self._read(link)
        if data is not None:
            self._take(link, data, self._now())

    def _read(self, link: Link) -> bytes | None:
        """Return the bytes received on a connection, or continue connecting; return None if nothing came."""
        sock = link.sock
        if sock is None:
            return None
        if link.state is LinkState.CONNECTING or link.state is LinkState.HANDSHAKING:
            self._go_on_connecting(link)
            return None
        return self._receive(sock)

    def _take(self, link: Link, data: bytes, now_ns: int) -> None:
        """Process received bytes; no bytes mean that the connection was closed."""
        if link.state is not LinkState.WAITING:
            self.playing.unasked(link, now_ns, data)
            self._drop(link)  # closed by the server while idle, or unsolicited bytes
            return
        ended = not data
        fresh = link.reader is None
        reader, link.reader = link.reader, None
        try:
            answer = whole_answer(data) if fresh else None
            if answer is None:
                reader = reader or AnswerReader(HEARTBEAT_ANSWER_MAX_BYTES)
                answer = reader.feed(data, ended=ended)
        except GarbageError as error:
            self._lost(link, cause_of(error, self._target), Loss.GARBAGE)
            return
        if answer is not None:
            if not self.playing.answered(link, answer, now_ns):
                self._drop(link)
        elif ended:
            self._lost(link, "no HTTP answer: closed before the answer was whole", nothing_came=fresh)
        else:
            link.reader = reader

    def _go_on_connecting(self, link: Link) -> None:
        try:
            if not self._shake_hands(link):
                return
        except OSError as error:
            self._unreached(link, cause_of(error, self._target))
            return
        self.playing.connected(link, self._now())
        self._send(link)

    def _unreached(self, link: Link, why: str) -> None:
        """Try the target's next address, if any is untried."""
        if link.all_refused(self._target):
            self._lost(link, why)
        else:
            self._drop(link)
            self._connect(link)

    def _lost(self, link: Link, why: str, loss: Loss | None = None, *, nothing_came: bool = True) -> None:
        """Give up on an answer and its connection, and record the loss."""
        sent = link.state is LinkState.WAITING
        self._drop(link)
        self.playing.lost(link, self._now(), why, loss, sent=sent, nothing_came=nothing_came)

    def _drop(self, link: Link) -> None:
        sock, link.sock = link.sock, None
        link.reader = None
        if sock is not None:
            if self._forget(sock):
                up = link.state in {LinkState.HANDSHAKING, LinkState.READY, LinkState.WAITING}
                self._progress.connected -= up and link.machine is not None
            sock.close()
        link.state = LinkState.CLOSED
