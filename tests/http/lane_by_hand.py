"""An express lane whose rounds a test plays by hand, with its clients in the same process."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from reference_server.adapters.memory.clocks import SetClock
from reference_server.http.admission import Admission
from reference_server.http.express_lane import ExpressLane
from reference_server.pipeline.resolving import Resolver
from tests.http.twins import make_api

if TYPE_CHECKING:
    from reference_server.operations.api import Api

MEBIBYTE = 1024 * 1024


class Lane:
    """A lane whose rounds are played by hand, and clients at the other ends of its connections."""

    def __init__(self, per_address_max: int = 999, *, api: Api | None = None, **settings: float) -> None:
        self.api = make_api(**settings) if api is None else api
        self.admission = Admission(999, per_address_max, 64 * MEBIBYTE)
        clock = SetClock()
        self.lane = ExpressLane(self.api, clock, self.api.settings, self.admission, Resolver(self.api, clock))
        self.clients: list[socket.socket] = []

    def connect(self, address: str) -> socket.socket:
        """Connect from an address."""
        near, far = socket.socketpair()
        near.setblocking(False)  # noqa: FBT003 - the socket API's own flag
        far.setblocking(False)  # noqa: FBT003 - the same
        self.lane.welcome(far, address)
        self.clients.append(near)
        return near

    async def play(self) -> None:
        """Play one round."""
        await self.lane._queue.serve_round(self.lane._go_on, self.lane._resume, self.lane._answer_alone)

    def close(self) -> None:
        """Close everything."""
        self.lane.close()
        for client in self.clients:
            client.close()


def statuses(client: socket.socket) -> list[int]:
    """Take the answers that are there."""
    taken = b""
    with suppress(BlockingIOError):
        while part := client.recv(65_536):
            taken += part
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3})", taken)]
