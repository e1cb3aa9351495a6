"""Who may be connected, and how much may wait in connections, before anybody has proven anything (contract §6).

A connection is proven once a heartbeat on it was accepted, or a right credential got what it asked for. One that is not
makes room: for new connections of its own address, for any when there are too many in all, and for bytes when too many
wait. The one that has waited longest goes first. So a stranger drives out strangers only, and whoever proves itself at
once, as a machine does, is hardly ever among them.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from reference_server.core.rate_limit import client_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.trusted_proxies import TrustedProxies

CONNECTION: ContextVar[Callable[[bool], None] | None] = ContextVar("CONNECTION", default=None)
"""What notes that the connection whose request is being answered was, and whether somebody has proven who they are."""


CLIENT: ContextVar[str] = ContextVar("CLIENT", default="")
"""The address of whoever opened the connection whose request is being answered; empty where nobody noted it."""


class Guest(Protocol):
    """One connection. Its fields are kept by `Admission`; `address` names the client as the rate limit does.

    It is empty for a connection of a trusted proxy, which brings many clients: no bound of one address is for it.
    """

    address: str
    proven: bool
    waiting_bytes: int

    def evict(self) -> None:
        """Close at once, and leave."""
        ...


def learn_nothing(_proven: bool) -> None:  # noqa: FBT001 - as a callback it has no names
    """Stand in for what notes that a connection was answered, where nobody keeps that."""


def shared_or_own(client: str, proxies: TrustedProxies) -> str:
    """Return the address that a connection is counted for; empty where a trusted proxy brings many clients on it."""
    return "" if proxies.trusts(client) else client_key(client)


def account_nothing() -> None:
    """Stand in for what counts the bytes that wait in a connection, where nobody does."""


class Admission:
    """Counts all connections of a server, whatever serves them, and the bytes that wait in them."""

    def __init__(self, connections_max: int, unproven_per_address_max: int, waiting_bytes_max: int) -> None:
        self._connections_max = connections_max
        self._unproven_per_address_max = unproven_per_address_max
        self._waiting_bytes_max = waiting_bytes_max
        self._unproven: OrderedDict[Guest, None] = OrderedDict()
        self._unproven_of: dict[str, OrderedDict[Guest, None]] = {}
        self._holding_unproven: OrderedDict[Guest, None] = OrderedDict()
        self._holding_proven: OrderedDict[Guest, None] = OrderedDict()
        self.connections = 0
        self.waiting_bytes = 0

    @property
    def full(self) -> bool:
        """Return whether nobody may come in, because nobody who is here may be sent away."""
        return self.connections >= self._connections_max and not self._unproven

    def enter(self, guest: Guest) -> None:
        """Admit a connection that has proven nothing yet. Call only while it is not `full`."""
        self._make_room_at(guest.address)
        if self.connections >= self._connections_max:
            self._evict(self._unproven)
        self.connections += 1
        self._add_unproven(guest)

    def move(self, guest: Guest, address: str) -> None:
        """Count a connection that has proven nothing yet for another address: it has turned out whose it is."""
        self._drop_unproven(guest)
        self._make_room_at(address)
        guest.address = address
        self._add_unproven(guest)

    def leave(self, guest: Guest) -> None:
        """Forget a connection that has ended."""
        self.connections -= 1
        self.note_waiting(guest, 0)
        if not guest.proven:
            self._drop_unproven(guest)

    def prove(self, guest: Guest) -> None:
        """Note that a connection is known to be somebody's."""
        if guest.proven:
            return
        self._drop_unproven(guest)
        guest.proven = True
        if guest.waiting_bytes:
            del self._holding_unproven[guest]
            self._holding_proven[guest] = None

    def answered(self, guest: Guest, *, proves: bool) -> None:
        """Note that a connection has been answered, and whether that proves whose it is."""
        if proves:
            self.prove(guest)
        else:
            self.progress(guest)

    def progress(self, guest: Guest) -> None:
        """Note that a connection has been answered: it has waited less long than those that were not."""
        if not guest.proven:
            self._unproven.move_to_end(guest)
            if guest.address:
                self._unproven_of[guest.address].move_to_end(guest)

    def note_waiting(self, guest: Guest, waiting_bytes: int) -> None:
        """Note how many bytes wait in a connection now. May evict connections, this one too."""
        before, guest.waiting_bytes = guest.waiting_bytes, waiting_bytes
        self.waiting_bytes += waiting_bytes - before
        holding = self._holding_proven if guest.proven else self._holding_unproven
        if waiting_bytes and not before:
            holding[guest] = None
        elif before and not waiting_bytes:
            del holding[guest]
        while self.waiting_bytes > self._waiting_bytes_max:
            self._evict(self._holding_unproven or self._holding_proven)

    def _evict(self, among: OrderedDict[Guest, None]) -> None:
        next(iter(among)).evict()

    def _make_room_at(self, address: str) -> None:
        mates = self._unproven_of.get(address)
        if mates is not None and len(mates) >= self._unproven_per_address_max:
            self._evict(mates)

    def _add_unproven(self, guest: Guest) -> None:
        self._unproven[guest] = None
        if guest.address:
            self._unproven_of.setdefault(guest.address, OrderedDict())[guest] = None

    def _drop_unproven(self, guest: Guest) -> None:
        del self._unproven[guest]
        if not guest.address:
            return
        mates = self._unproven_of[guest.address]
        del mates[guest]
        if not mates:
            del self._unproven_of[guest.address]
