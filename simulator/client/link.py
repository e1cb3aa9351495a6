"""One connection of a shard, and the request it carries."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from simulator.client.target import port_of, source_number
from simulator.contract.answers import Answer
from simulator.fleet.clocks import PERFECT, expected_answer
from simulator.history.rows import NEVER_NS, NO_MACHINE, NONE

if TYPE_CHECKING:
    import socket

    from simulator.client.answers import AnswerReader
    from simulator.client.target import Target
    from simulator.fleet.machine import Machine


class LinkState(Enum):
    """Where a connection stands."""

    CLOSED = 0
    CONNECTING = 1
    HANDSHAKING = 2
    READY = 3
    WAITING = 4


RESTING = (LinkState.READY, LinkState.CLOSED)
"""Where a connection has nothing to send, and nothing to be answered: as nearly all are at any moment."""
BUSY = frozenset(LinkState) - frozenset(RESTING)
"""Where it has."""


class Link:
    """One long-lived connection and the request it waits for: a machine's own, or an attacker's.

    `number` is its address's in the history; `certificate` and `consent` are those of the request. `turn` says which of
    several instances it goes to next, `address` which of several addresses of the target, and `refusals` how many of
    them have not taken its connection. `free_ns` is since when the connection rests, `NEVER_NS` for a new one;
    `rested_ns` is how long it had rested when the request left, negative for a new one.
    """

    __slots__ = (
        "address", "answers", "campaign", "certificate", "consent", "expected", "free_ns", "head", "head_of", "machine",
        "made_ns", "nonce", "number", "planned_ns", "reader", "refusals", "request", "rested_ns", "right_body",
        "sent_ns", "sock", "source", "state", "subject", "turn",
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
        self.head, self.head_of = b"", ""
        """What its heartbeats begin with, and with which certificate: one that is its machine's alone."""
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
        self.address = 0
        self.refusals = 0
        self.answers = 0
        self.right_body = b""
        """The body of an acceptance that was found right for this machine."""

    def next_place(self, target: Target) -> tuple[str, int]:
        """Return where to connect to: the address that took the last connection, the next one of several instances."""
        self.turn += 1
        return target.addresses[self.address % len(target.addresses)], port_of(target, self.turn)

    def all_refused(self, target: Target) -> bool:
        """Count that an address took no connection; returns whether none is left to be tried at once."""
        self.refusals += 1
        all_refused = self.refusals % len(target.addresses) == 0
        self.address += not all_refused  # where all have, whoever counts it as lost moves on
        return all_refused

    def expects(self, now_ns: int) -> Answer:
        """Return what a correct server answers to the request by now."""
        if self.machine is None:
            return self.expected
        clock = self.machine.clock
        if clock is PERFECT:
            return Answer.ACCEPTED
        return expected_answer(clock.at(self.made_ns), now_ns - self.made_ns)
