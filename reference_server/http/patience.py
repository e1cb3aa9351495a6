"""How long the express lane waits for each of its connections, and which have been waited for too long (§6)."""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from reference_server.http.framing import Waiting
from reference_server.limits import LINGER_SECONDS
from reference_server.wire.units import SECOND_NS

if TYPE_CHECKING:
    from reference_server.http.lane_clients import Connection
    from reference_server.settings import Settings

_LINGER_NS = int(LINGER_SECONDS * SECOND_NS)


class Patience:
    """The connections of a lane, the one longest at rest first, and the deadlines of those that are not at rest.

    Times are monotonic nanoseconds. A connection that waits for an answer of ours is never late.
    """

    def __init__(self, settings: Settings) -> None:
        self._idle_ns = int(settings.idle_timeout_seconds * SECOND_NS)
        self._body_ns = int(settings.body_timeout_seconds * SECOND_NS)
        self._patience_ns = {
            Waiting.HEAD: int(settings.header_timeout_seconds * SECOND_NS),
            Waiting.BODY: self._body_ns,
        }
        self._shortest_ns = min(self._idle_ns, _LINGER_NS, *self._patience_ns.values())
        self.connections: OrderedDict[Connection, None] = OrderedDict()
        self._deadlines: dict[Connection, tuple[Waiting | None, int]] = {}
        """What connections wait for, and until when; None for a client that is to take its answer."""

    def add(self, connection: Connection) -> None:
        """Wait for a new connection."""
        self.connections[connection] = None

    def drop(self, connection: Connection) -> None:
        """Wait no more."""
        del self.connections[connection]
        self._deadlines.pop(connection, None)

    def rested(self, connection: Connection, now_ns: int) -> None:
        """Note that a connection without a deadline has been answered, and is at rest again."""
        connection.since_ns = now_ns
        self.connections.move_to_end(connection)

    def wait_for(self, connection: Connection, waiting: Waiting, now_ns: int) -> None:
        """Begin to wait for a part of a request, or for the next one."""
        self.rested(connection, now_ns)
        if waiting is Waiting.REQUEST:
            self._deadlines.pop(connection, None)
        else:
            self._deadlines[connection] = (waiting, now_ns + self._patience_ns[waiting])

    def go_on(self, connection: Connection, waiting: Waiting, now_ns: int, *, progressed: bool) -> None:
        """Wait for what a connection waits for now; `progressed` says that it has been answered meanwhile.

        Part of a TLS record may have come. Its rest is waited for as long as for a head, without any progress: it may
        carry nothing.
        """
        part = connection.has_part_of_record
        if connection.secure and not progressed:
            self._record_came(connection, waiting, part=part)
        if connection.unsent is None and (progressed or not self._still_waits_for(connection, waiting)):
            self.wait_for(connection, waiting, now_ns)
        if part:
            self._deadlines.setdefault(connection, (Waiting.RECORD, now_ns + self._patience_ns[Waiting.HEAD]))

    def _record_came(self, connection: Connection, waiting: Waiting, *, part: bool) -> None:
        """Go on after waiting for a record: what it has begun has its time. A part of another one may be there, too."""
        known = self._deadlines.get(connection)
        if known is None or known[0] is not Waiting.RECORD:
            return
        if waiting is Waiting.HEAD:
            self._deadlines[connection] = (waiting, known[1])
        elif waiting is Waiting.REQUEST and not part:
            del self._deadlines[connection]

    def _still_waits_for(self, connection: Connection, waiting: Waiting) -> bool:
        """Return whether this is what a connection has been waited for already; a record may hold no request."""
        known = self._deadlines.get(connection)
        return waiting is (Waiting.REQUEST if known is None or known[0] is Waiting.RECORD else known[0])

    def wait_for_reader(self, connection: Connection, now_ns: int) -> None:
        """Begin to wait until a client has taken its answers."""
        self._deadlines[connection] = (None, now_ns + self._body_ns)

    def linger(self, connection: Connection, now_ns: int) -> None:
        """Wait a moment for a client to see its last answer."""
        self._deadlines[connection] = (Waiting.REQUEST, now_ns + _LINGER_NS)

    def at_rest(self, connection: Connection) -> bool:
        """Return whether nothing is under way on a connection."""
        return connection not in self._deadlines and not connection.pending

    def calm_until(self, now_ns: int) -> int:
        """Return a moment up to which no connection is late, whatever comes meanwhile; it may have passed."""
        deadlines_ns = [deadline_ns for _, deadline_ns in self._deadlines.values()]
        deadlines_ns += [one.since_ns + self._idle_ns for one in islice(self.connections, 1)]
        return min([now_ns + self._shortest_ns, *deadlines_ns])

    def late(self, now_ns: int) -> list[Connection]:
        """Return the connections whose time is over."""
        late = [one for one, (_, deadline_ns) in self._deadlines.items() if now_ns > deadline_ns and not one.pending]
        since_ns = now_ns - self._idle_ns
        resting = takewhile(lambda connection: connection.since_ns < since_ns, self.connections)
        return late + [one for one in resting if self.at_rest(one)]
