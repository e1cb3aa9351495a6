"""What the network does, at this moment, to bytes between a run's clients and one of its servers, in every world.

Live a proxy asks it (`network_proxy`), in virtual time the ends of connections do (`worlds.virtual.network_faults`).
Moments are Trio's, which every world has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from reference_server.wire.units import SECOND_NS
from simulator.scenario.values import PARTITION

if TYPE_CHECKING:
    import numpy as np

    from simulator.client.answers import HttpAnswer
    from simulator.scenario.values import FaultOptions

ACCEPTED = b"HTTP/1.1 200"
POSTED = b"POST "


class Recorder(Protocol):
    """Who is told of the copies that a network made."""

    def begin(self, request: bytes, client: str) -> Copied | None:
        """Take it that a request is sent again; None for one that is no whole heartbeat of a machine of the fleet."""


class Copied(Protocol):
    """A copy that is under way."""

    def ended(self, answer: HttpAnswer | None) -> None:
        """Note what it was answered; None for nothing."""


class Conditions:
    """The fault that the network before one server has now, if any: at most one at a time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._fault: FaultOptions | None = None
        self._over_at = 0.0
        self.recorder: Recorder | None = None

    def begin(self, fault: FaultOptions) -> None:
        """Begin a fault."""
        self._over_at = trio.current_time() + fault.duration_ns / SECOND_NS
        self._fault = fault

    def end(self) -> None:
        """Be as networks should be."""
        self._fault = None

    @property
    def calm(self) -> bool:
        """Return whether everything passes at once."""
        return self._fault is None

    @property
    def holds(self) -> bool:
        """Return whether nothing passes for now, and a client may give up meanwhile.

        What is still held of one that has hung up never arrives: the client has asked again by then, and takes what it
        is answered then for the last word.
        """
        return self._fault is not None and self._fault.kind == PARTITION

    def delay_seconds(self, *, request: bool) -> float:
        """Return how long what is sent now is held: bytes of a client, or of the server."""
        fault = self._fault
        if fault is None:
            return 0.0
        latency = fault.latency_ns / SECOND_NS
        if fault.kind == "network.latency":
            return latency + fault.jitter_ns / SECOND_NS * (2 * self._rng.random() - 1)
        if fault.kind == PARTITION:
            return max(0.0, self._over_at - trio.current_time())
        if fault.kind == "network.reordering" and request and self._happens(fault):
            return float(latency * self._rng.random())
        return 0.0

    def loses(self) -> bool:
        """Return whether a request is lost, and its connection with it."""
        return self._is_now("network.loss")

    def cuts(self) -> bool:
        """Return whether an answer is cut in its middle."""
        return self._is_now("network.cut")

    def doubles(self, request: bytes, answer: bytes, client: str) -> Copied | None:
        """Return the copy of a request that was just answered, where it is to be sent again."""
        if self.recorder is None or not (answer.startswith(ACCEPTED) and request.startswith(POSTED)):
            return None
        return self.recorder.begin(request, client) if self._is_now("network.duplication") else None

    def _is_now(self, kind: str) -> bool:
        return self._fault is not None and self._fault.kind == kind and self._happens(self._fault)

    def _happens(self, fault: FaultOptions) -> bool:
        return bool(self._rng.random() < fault.share)
