"""Ends of connections in a network with faults, with the behaviour of the live run's proxy."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from reference_server.wire.units import SECOND_NS
from simulator.client.answers import AnswerReader, GarbageError, HttpAnswer
from simulator.limits import COPY_SECONDS, PROXY_HELD_MAX_BYTES
from simulator.worlds.virtual.end_stream import READ, WRITE
from simulator.worlds.virtual.network import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from simulator.deployment.conditions import Conditions, Copied
    from simulator.worlds.virtual.network import MemoryNetwork, Way
    from simulator.worlds.virtual.scheduling import JumpingClock

COPY_READ_BYTES = 65_536


class TroubledEnd(End):
    """An end whose bytes are delayed, lost, cut or doubled by the network's conditions. `peer` is one as well."""

    __slots__ = ("_asked", "_conditions", "_held", "_hung_up", "_network", "_of_client", "_port", "_window")

    def __init__(
        self, clock: JumpingClock, way: Way, number: int, client: str, window: int,
        *, network: MemoryNetwork, conditions: Conditions, port: int, of_client: bool,
    ) -> None:  # fmt: skip
        super().__init__(clock, way, number, client, window)
        self._network = network
        self._conditions = conditions
        self._port = port
        self._of_client = of_client
        self._asked = b""
        """For a client's end: the last bytes it sent."""
        self._held: list[tuple[Callable[..., object], tuple[object, ...]]] | None = None
        """Deliveries that wait until a copy is answered; None if there is no copy."""
        self._hung_up = False
        """For a client's end: whether it has closed or half-closed."""

    @property
    def window(self) -> int:
        """How many bytes sent from this end may be unread at once: more during a network fault."""
        return self._window if self._conditions.calm else self._window + PROXY_HELD_MAX_BYTES

    @window.setter
    def window(self, size: int) -> None:
        self._window = size

    def send(self, data: bytes | memoryview) -> int:
        """Send as many bytes as fit, under the current conditions; return their number. Raises OSError."""
        if self.closed or self.shut or self.reset:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        room = self.window - self.unread
        if room <= 0:
            raise BlockingIOError
        part = bytes(data[:room])
        self.unread += len(part)
        if self._of_client:
            self._asked = part
            if self._conditions.loses():
                self._break_off()
                return len(part)
        elif not self._conditions.calm:
            self._trouble(part)
            return len(part)
        self._deliver(self.peer.arrive, part)
        return len(part)

    def _took(self, size: int) -> None:
        """Record that `size` bytes were read, and wake the sender: its window may have grown meanwhile."""
        peer = self.peer
        peer.unread -= size
        if peer.events & WRITE:
            self._deliver(peer._look_again, WRITE)  # noqa: SLF001 - its own other end

    def shutdown(self, how: int) -> None:
        """Send no more; bytes that a partition holds never arrive."""
        self._hung_up = True
        super().shutdown(how)

    def close(self) -> None:
        """Close the end; bytes that a partition holds never arrive."""
        self._hung_up = True
        super().close()

    def _pass_on(self, call: Callable[..., object], *arguments: object) -> None:
        """Deliver what a partition held, unless the sender has closed."""
        if not self._hung_up or call != self.peer.arrive:
            call(*arguments)

    def _trouble(self, part: bytes) -> None:
        """Send a part of an answer under the current conditions."""
        asked = self.peer._asked if isinstance(self.peer, TroubledEnd) else b""  # noqa: SLF001 - its own other end
        if self._held is None and (copied := self._conditions.doubles(asked, part, self.client)) is not None:
            self._held = [(self.peer.arrive, (part,))]
            _Copy(self._clock, self._network, self._port, self.client, asked, partial_end(self, copied))
        elif self._held is None and self._conditions.cuts():
            self._deliver(self.peer.arrive, part[: len(part) // 2])
            self._deliver(self.peer.end)
            self._clock.at(self._arrived_ns, self.be_reset)
        else:
            self._deliver(self.peer.arrive, part)

    def _break_off(self) -> None:
        """Reset both ends; bytes on their way are lost."""
        self._deliver(self.peer.be_reset)
        self._clock.at(self._arrived_ns, self.be_reset)

    def _deliver(self, call: Callable[..., object], *arguments: object) -> None:
        if self._held is not None:
            self._held.append((call, arguments))
            return
        delay_ns = round(self._conditions.delay_seconds(request=self._of_client) * SECOND_NS)
        arrives_ns = self._clock.now_ns + self._way.delay_ns() + delay_ns
        self._arrived_ns = arrives_ns = max(arrives_ns, self._arrived_ns)
        if self._of_client and self._conditions.holds:
            self._clock.at(arrives_ns, self._pass_on, call, *arguments)
        else:
            self._clock.at(arrives_ns, call, *arguments)

    def release(self) -> None:
        """Deliver what waited for a copy's answer."""
        held, self._held = self._held or [], None
        for call, arguments in held:
            self._deliver(call, *arguments)


def partial_end(end: TroubledEnd, copied: Copied) -> Callable[[HttpAnswer | None], None]:
    """Return a callback for a copy's answer, which records it and releases the original's answer."""

    def ended(answer: HttpAnswer | None) -> None:
        copied.ended(answer)
        end.release()

    return ended


class _Copy:
    """A copy of a request, sent on a connection of its own."""

    def __init__(
        self, clock: JumpingClock, network: MemoryNetwork, port: int, client: str, request: bytes,
        ended: Callable[[HttpAnswer | None], None],
    ) -> None:  # fmt: skip
        self._request = request
        self._ended: Callable[[HttpAnswer | None], None] | None = ended
        self._reader = AnswerReader()
        self._end = network.dial(client, port, self._up, apart=True)
        clock.at(clock.now_ns + int(COPY_SECONDS * SECOND_NS), self._finish, None)

    def _up(self, taken: bool) -> None:  # noqa: FBT001 - as a callback it has no names
        if not taken:
            self._finish(None)
            return
        self._end.look = self._look
        self._end.send(self._request)
        self._end.watch(READ)

    def _look(self, _events: int) -> None:
        try:
            part = self._end.recv(COPY_READ_BYTES)
            answer = self._reader.feed(part, ended=not part)
        except BlockingIOError:
            return
        except (OSError, GarbageError):
            self._finish(None)
            return
        if answer is not None or not part:
            self._finish(answer)

    def _finish(self, answer: HttpAnswer | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self._end.close()
            ended(answer)
