"""Every request of the corpus, whole or in two pieces: the lane answers both alike, and keeps nothing of either."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import pytest

from reference_server.http.ready_queue import EpollReadiness
from tests.http.corpus import make_world
from tests.http.corpus_framing import FRAMING_CASES
from tests.http.corpus_routes import ROUTE_CASES
from tests.http.lane_by_hand import Lane
from tests.support.tiers import SOAK

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from tests.http.corpus import Case

SENT_MAX_BYTES = 60_000
"""As much as a pair of sockets holds for certain, of which nothing is read meanwhile."""
QUIET_ROUNDS = 3
EVERY = 1 if SOAK else 6
CASES = [case for case in (*ROUTE_CASES, *FRAMING_CASES) if 1 < len(case.sent) <= SENT_MAX_BYTES][::EVERY]
_FINAL = re.compile(rb"HTTP/1\.1 [2-5]")
_REQUEST_ID = re.compile(rb"x-request-id: [0-9a-f]{16}")


class Served(NamedTuple):
    """What a client got, without what is never the same, and whether it was hung up on."""

    answers: bytes
    closed: bool


async def serve(pieces: Sequence[bytes]) -> Served:
    """Serve one connection on which these pieces come, each after the lane has done all it can, and see it go."""
    lane = Lane(api=make_world()[0])
    client = lane.connect("192.0.2.7")
    got, closed = b"", False
    for piece in pieces:
        if closed:
            break
        assert client.send(piece) == len(piece)
        quiet = 0
        while quiet < QUIET_ROUNDS and not closed:
            await lane.play()
            part = taken(client)
            closed, quiet = part == b"", quiet + 1 if part is None else 0
            got += part or b""
    client.close()
    for _ in range(QUIET_ROUNDS):
        await lane.play()
    readiness = lane.lane._queue._readiness
    assert isinstance(readiness, EpollReadiness)
    left = lane.admission.connections, lane.admission.waiting_bytes, len(readiness._connections)
    lane.close()
    assert left == (0, 0, 0), "connections, bytes that wait, and sockets that are watched"
    return Served(_REQUEST_ID.sub(b"", got), closed)


def taken(client: socket.socket) -> bytes | None:
    """Take the answers that are there: None where there are none, nothing where the lane has hung up."""
    try:
        return client.recv(1 << 20)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_request_in_two_pieces_is_answered_as_if_it_had_come_whole(case: Case) -> None:
    """So it does not matter whether it was read at a glance or went the long way."""
    middle = len(case.sent) // 2
    whole = await serve([case.sent])
    assert (len(_FINAL.findall(whole.answers)), whole.closed) == (len(case.meant), case.closes)
    assert whole == await serve([case.sent[:middle], case.sent[middle:]])
