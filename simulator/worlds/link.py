"""One connection of a shard, and the request it carries."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from simulator.fleet.clocks import PERFECT, expected_answer
from simulator.history import NEVER_NS, NO_MACHINE, NONE, Answer
from simulator.worlds.target import source_number

if TYPE_CHECKING:
    import socket

    from simulator.fleet.machine import Machine
    from simulator.worlds.answers import AnswerReader


class LinkState(Enum):
    """Where a connection stands."""

    CLOSED = 0
    CONNECTING = 1
    HANDSHAKING = 2
    READY = 3
    WAITING = 4


BUSY = frozenset({LinkState.CONNECTING, LinkState.HANDSHAKING, LinkState.WAITING})
"""Where a connection has a request to send, or to be answered."""


class Link:
    """One long-lived connection and the request it waits for: a machine's own, or an attacker's.

    `number` is its address's in the history; `certificate` and `consent` are those of the request. `turn` says which of
    several instances it goes to next. `free_ns` is since when the connection rests, `NEVER_NS` for a new one;
    `rested_ns` is how long it had rested when the request left, negative for a new one.
    """

    __slots__ = (
        "answers", "campaign", "certificate", "consent", "expected", "free_ns", "machine", "made_ns", "nonce", "number",
        "planned_ns", "reader", "request", "rested_ns", "right_body", "sent_ns", "sock", "source", "state", "subject",
        "turn",
    )  # fmt: skip

    def __init__(self, source: str | None, machine: Machine | None, campaign: int) -> None:
        self.source = source
        self.number = source_number(source)
        self.machine = machine
        self.campaign = campaign
        self.sock: socket.socket | None = None
        self.state = LinkState.CLOSED
        self.reader: AnswerReader | None = None
        self.request = b""
        self.nonce = b""
        self.planned_ns = 0
        self.made_ns = 0
        self.sent_ns = 0
        self.free_ns = NEVER_NS
        self.rested_ns = 0
        self.expected = Answer.ACCEPTED
        self.certificate = NONE
        self.consent = NONE
        self.subject = NO_MACHINE if machine is None else machine.index
        self.turn = self.number
        self.answers = 0
        self.right_body = b""
        """The body of an acceptance that was found right for this machine."""

    def expects(self, now_ns: int) -> Answer:
        """Say what a correct server answers to the request by now."""
        if self.machine is None:
            return self.expected
        clock = self.machine.clock
        if clock is PERFECT:
            return Answer.ACCEPTED
        return expected_answer(clock.at(self.made_ns), now_ns - self.made_ns)
