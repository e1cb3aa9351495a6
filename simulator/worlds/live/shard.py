"""The shard: thousands of heartbeat connections in one Trio task.

Like the server's express lane it waits on one nested selector and uses non-blocking sockets directly: without a task, a
stream or a wake-up per machine. `Playing` decides what to send when, and what an answer means.
"""

from __future__ import annotations

import heapq
import selectors
import ssl
from typing import TYPE_CHECKING, Any

import trio

from reference_server.wire.units import SECOND_NS
from simulator.client.link import Link, LinkState
from simulator.history.losses import Loss
from simulator.worlds.carrying import Carrying
from simulator.worlds.live.dialling import dial, shake_hands

if TYPE_CHECKING:
    import socket

READ_BYTES = 65_536
READ_TOGETHER = 32
"""How many answers are received before they are processed: less than a millisecond's work."""
IDLE_WAKE_SECONDS = 0.05


class Shard(Carrying):
    """Carries requests over sockets in real time."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._selector = selectors.DefaultSelector()

    async def run(self) -> None:
        """Work until cancelled or `finish` is called."""
        playing, selector = self.playing, self._selector
        due, fileno = playing.due, selector.fileno()
        answer_seconds = self._target.patience.answer_seconds
        while not playing.ended:
            now_ns = self._now()
            wait_seconds = min(IDLE_WAKE_SECONDS, (due[0][0] - now_ns) / 1e9) if due else IDLE_WAKE_SECONDS
            if wait_seconds > 0:
                with trio.move_on_after(wait_seconds):
                    await trio.lowlevel.wait_readable(fileno)
            else:
                await trio.lowlevel.checkpoint()
            self._look()
            now_ns = self._now()
            while due and due[0][0] <= now_ns:
                planned_ns, _, turn = heapq.heappop(due)
                self._take_turn(turn, planned_ns, now_ns)
                now_ns = self._now()
            if now_ns >= playing.next_sweep_ns:
                for link in playing.overdue(now_ns, int(answer_seconds * SECOND_NS)):
                    self._lost(link, f"no whole answer within {answer_seconds:g} s", Loss.TIMED_OUT)

    async def finish(self, patience_seconds: float) -> None:
        """Stop sending, wait for the answers that are due for a moment, and count the rest as lost."""
        self.playing.end(self._now())
        try:
            with trio.move_on_after(patience_seconds):
                while any(link.state is LinkState.WAITING for link in self.playing.links()):
                    await trio.lowlevel.wait_readable(self._selector.fileno())
                    self._look()
        finally:
            self._give_up()
            self._selector.close()

    def _look(self) -> None:
        """Receive several answers before processing the first, which costs less than doing both in turn."""
        ready = [key.data for key, _ in self._selector.select(0)]
        for begin in range(0, len(ready), READ_TOGETHER):
            came = [(link, self._read(link), self._now()) for link in ready[begin : begin + READ_TOGETHER]]
            for link, data, now_ns in came:
                if data is not None:
                    self._take(link, data, now_ns)

    def _dial(self, link: Link) -> None:
        dial(link, self._target, self._selector)

    def _shake_hands(self, link: Link) -> bool:
        return shake_hands(link, self._target, self._selector, self._progress)

    def _receive(self, sock: socket.socket) -> bytes | None:
        try:
            data = sock.recv(READ_BYTES)
            while isinstance(sock, ssl.SSLSocket) and sock.pending():
                data += sock.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        except OSError:
            return b""
        return data

    def _forget(self, sock: socket.socket) -> bool:
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            return False
        return True
