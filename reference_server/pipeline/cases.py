"""One request that is decided on shared state, and what is known of its answer so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from reference_server.core.changes import Kind
from reference_server.ports import NonceRequest

if TYPE_CHECKING:
    from reference_server.core.heartbeats import Verified
    from reference_server.core.inquiry import Inquiry
    from reference_server.core.state import State
    from reference_server.operations.outcomes import Undecided
    from reference_server.ports import Reservation
    from reference_server.wire.values import Instant, Reply


class Case:
    """A request and what is known of its answer: a heartbeat that passed checks 1 to 9, or was refused by the tenth.

    One that was accepted is answered once its own change is in the state.
    """

    __slots__ = ("accepted", "refused", "reply", "request", "verified")

    def __init__(self, request: Undecided) -> None:
        self.request = request
        self.verified: Verified | None = None
        self.refused: Reservation | None = None
        self.accepted = False
        self.reply: Reply | Inquiry | None = None

    @property
    def undecided(self) -> bool:
        """Return whether it is yet to be decided, or, when it was accepted, to be answered."""
        return self.reply is None and self.refused is None and (self.accepted or self.verified is None)

    @property
    def acceptable(self) -> bool:
        """Return whether it is a heartbeat that passed checks 1 to 9, and is yet to be accepted."""
        return self.reply is None and self.refused is None and self.verified is not None and not self.accepted


def nonce_of(state: State, verified: Verified, now: Instant) -> NonceRequest:
    """Ask for a heartbeat's nonce, and say what its acceptance changes."""
    worker_id, nonce, timestamp_ns = verified.worker.id, verified.nonce, verified.timestamp_ns
    event_hex = state.entropy.hex(16)
    change = (Kind.HEARTBEAT, now.wall_ns, worker_id, verified.policy_id, nonce, timestamp_ns, event_hex)
    return NonceRequest(worker_id, nonce, timestamp_ns, now, msgspec.msgpack.encode(change))
