"""What every rival asks: this project's decisions on a state in memory, without its transports and its table.

A rival routes, reads headers and writes answers itself, with what its framework has for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core import heartbeats, views
from reference_server.core.calls import PAGING, Call, Caller
from reference_server.operations.callers import MACHINE, OWNER
from reference_server.wire.replies import UNAUTHORIZED
from reference_server.wire.values import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.core.state import State
    from reference_server.operations.callers import Principal
    from reference_server.ports import Clock

WORKERS = "/api/v1/workers"
"""Where the routes of all rivals are."""
TOKEN, CERTIFICATE = "x-machine-token", "x-machine-certificate-id"
AUTHORIZATION, OWNER_ID = "authorization", "x-owner-id"


class Decisions:
    """The decisions on one state. A header that was not sent is empty; every request is decided at once."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    def heartbeat(self, worker_id: str, token: str, certificate_id: str, body: bytes) -> Reply:
        """`POST /workers/{id}/heartbeat`."""
        reply = heartbeats.heartbeat(self._state, self._clock.now(), worker_id, token, certificate_id, body)
        if not isinstance(reply, Reply):
            raise TypeError("rivals keep their nonces in memory")
        return reply

    def policy(self, worker_id: str, token: str, certificate_id: str) -> Reply:
        """`GET /workers/{id}/policy`."""
        headers = {TOKEN: token, CERTIFICATE: certificate_id}
        return self._ask(MACHINE, views.worker_policy, (worker_id,), headers)

    def status(self, worker_id: str, authorization: str, owner_id: str) -> Reply:
        """`GET /workers/{id}/status`."""
        headers = {AUTHORIZATION: authorization, OWNER_ID: owner_id}
        return self._ask(OWNER, views.worker_status, (worker_id,), headers)

    def statuses(self, query: str, authorization: str, owner_id: str) -> Reply:
        """`GET /workers/statuses`; `query` as it was sent."""
        headers = {AUTHORIZATION: authorization, OWNER_ID: owner_id}
        return self._ask(OWNER, views.workers_statuses, (), headers, query)

    def _ask(
        self,
        principal: Principal,
        decide: Callable[[State, Call[bytes]], Reply],
        ids: tuple[str, ...],
        headers: dict[str, str],
        query: str = "",
    ) -> Reply:
        now = self._clock.now()
        caller = principal.admit(self._state, headers)
        if isinstance(caller, Reply):
            return caller
        if principal.prove is not None:
            proven = principal.prove(self._state, now, caller, headers)
            if not isinstance(proven, Caller):
                return proven if isinstance(proven, Reply) else UNAUTHORIZED
            caller = proven
        return decide(self._state, Call(Request("GET", "", query), b"", now, ids, headers, caller, PAGING))
