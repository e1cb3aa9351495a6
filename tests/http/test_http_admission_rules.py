"""Who makes room for whom, against a plain model (contract §6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_server.core.trusted_proxies import TrustedProxies
from reference_server.http.admission import Admission, shared_or_own
from reference_server.http.guests import Guest
from tests.support.tiers import examples

ADDRESSES = ("", "one", "two", "three")
"""The first is a proxy's, which brings many clients."""
PER_ADDRESS_MAX, BYTES_MAX, CONNECTIONS_MAX = 2, 100, 5
NOBODY = TrustedProxies(())


@dataclass(eq=False)
class Visitor:
    """A connection that only notes what becomes of it."""

    admission: Admission
    address: str
    proven: bool = False
    waiting_bytes: int = 0
    gone: bool = False

    def evict(self) -> None:
        """Leave."""
        self.gone = True
        self.admission.leave(self)


@dataclass
class Model:
    """The rules, written down plainly: lists in order of waiting."""

    here: list[Visitor] = field(default_factory=list)
    holding: list[Visitor] = field(default_factory=list)
    bytes_of: dict[int, int] = field(default_factory=dict)

    def strangers(self, address: str | None = None) -> list[Visitor]:
        """List those who have proven nothing, the one to go first in front."""
        return [one for one in self.here if not one.proven and address in (None, one.address)]

    def drop(self, visitor: Visitor) -> None:
        """Forget somebody."""
        self.here.remove(visitor)
        self.bytes_of.pop(id(visitor), None)
        if visitor in self.holding:
            self.holding.remove(visitor)

    def enter(self, visitor: Visitor) -> None:
        """Have somebody in."""
        self.make_room_at(visitor.address)
        if len(self.here) >= CONNECTIONS_MAX:
            self.drop(self.strangers()[0])
        self.here.append(visitor)

    def make_room_at(self, address: str) -> None:
        """Have no more at an address than there may be with one more, unless it is a proxy's."""
        mates = self.strangers(address)
        if address and len(mates) >= PER_ADDRESS_MAX:
            self.drop(mates[0])

    def move(self, visitor: Visitor, address: str) -> None:
        """Learn whose a connection is, which comes last among the others then."""
        visitor.address = ""
        self.make_room_at(address)
        self.here.remove(visitor)
        self.here.append(visitor)

    def progress(self, visitor: Visitor) -> None:
        """Have somebody answered."""
        if not visitor.proven:
            self.here.remove(visitor)
            self.here.append(visitor)

    def note_waiting(self, visitor: Visitor, size: int) -> None:
        """Have bytes wait."""
        before = self.bytes_of.pop(id(visitor), 0)
        if size:
            self.bytes_of[id(visitor)] = size
        if size and not before:
            self.holding.append(visitor)
        elif before and not size:
            self.holding.remove(visitor)
        while sum(self.bytes_of.values()) > BYTES_MAX:
            strangers = [one for one in self.holding if not one.proven]
            self.drop((strangers or self.holding)[0])


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "leave", "prove", "move", "progress", "note_waiting", "note_waiting"]),
        st.integers(0, 30),
        st.integers(0, 60),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=examples(100))
@given(ACTIONS)
def test_whoever_has_to_go_is_whom_the_rules_name(actions: list[tuple[str, int, int]]) -> None:
    admission, model = Admission(CONNECTIONS_MAX, PER_ADDRESS_MAX, BYTES_MAX), Model()
    came: list[Visitor] = []
    for action, which, size in actions:
        if action == "enter":
            assert admission.full == (len(model.here) >= CONNECTIONS_MAX and not model.strangers())
            if admission.full:
                continue
            visitor = Visitor(admission, ADDRESSES[which % len(ADDRESSES)])
            came.append(visitor)
            model.enter(visitor)
            admission.enter(visitor)
        elif model.here:
            visitor = model.here[which % len(model.here)]
            if action == "leave":
                model.drop(visitor)
                visitor.evict()
            elif action == "prove":
                # Bytes of those who are known go after those of the others, in the order in which they were known.
                if visitor in model.holding and not visitor.proven:
                    model.holding.remove(visitor)
                    model.holding.append(visitor)
                admission.prove(visitor)
            elif action == "move":
                if not visitor.proven and not visitor.address:
                    model.move(visitor, ADDRESSES[size % len(ADDRESSES)])
                    admission.move(visitor, ADDRESSES[size % len(ADDRESSES)])
            elif action == "progress":
                admission.progress(visitor)
                model.progress(visitor)
            else:
                model.note_waiting(visitor, size)
                admission.note_waiting(visitor, size)
        assert [one for one in came if not one.gone] == [one for one in came if one in model.here]
        assert admission.connections == len(model.here) <= CONNECTIONS_MAX
        assert admission.waiting_bytes == sum(model.bytes_of.values()) <= BYTES_MAX
    for visitor in list(model.here):
        visitor.evict()
    assert [admission._unproven, admission._unproven_of, admission._holding_unproven, admission._holding_proven] == [
        {},
        {},
        {},
        {},
    ]


async def test_addresses_of_one_64_share_their_bound() -> None:
    """Whoever has one IPv6 address has 2^64 of them (contract §6)."""
    admission = Admission(99, 1, 99)
    clients = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "192.0.2.1")
    guests = [Guest(admission, socket(), client, shared_or_own(client, NOBODY)) for client in clients]
    for guest in guests:
        admission.enter(guest)
        guest.socket.close()
    assert [guest.scope.cancel_called for guest in guests] == [True, False, False, False]
