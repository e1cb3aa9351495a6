"""Asking the API for answers: a fault of ours becomes a 500 in the envelope and a logged line, never a lost answer."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from reference_server.operations.outcomes import BODY_TOO_LARGE, HEADERS_TOO_LARGE
from reference_server.wire.replies import INVALID_REQUEST, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from reference_server.operations.api import Api
    from reference_server.operations.outcomes import Admitted, Deferred
    from reference_server.pipeline.resolving import Resolver
    from reference_server.ports import Clock
    from reference_server.wire.values import Instant, Reply, Request

REFUSALS = {reply.status: reply for reply in (INVALID_REQUEST, BODY_TOO_LARGE, HEADERS_TOO_LARGE)}
"""What a transport refuses by itself."""
INTERNAL_ERROR = failure(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error")
_log = logging.getLogger("hatchfarm")


def internal_error(where: str) -> Reply:
    """Log the exception being handled, and return its answer. The request itself is not logged: it may hold secrets."""
    _log.exception("A fault while answering %s", where)
    return INTERNAL_ERROR


class Answerer:
    """Asks the API, now, on behalf of what serves requests. Never raises; a reply may be `Deferred`, for `defer`."""

    def __init__(self, api: Api, clock: Clock, resolver: Resolver) -> None:
        self._api = api
        self._clock = clock
        self._resolver = resolver

    async def room(self) -> None:
        """Wait until there is room for another answer."""
        await self._resolver.room()

    async def resolved(self, reply: Reply) -> Reply:
        """Wait for an answer, if it is a deferred one."""
        return await self._resolver.resolved(reply)

    def defer(self, deferred: Deferred, resolved: Callable[[Reply], None]) -> None:
        """Call `resolved` with the answer to send, once it may be sent."""
        self._resolver.defer(deferred, resolved)

    def now(self) -> Instant:
        """Return the moment it is, for the date of an answer."""
        return self._clock.now()

    def admit(self, head: Request) -> Reply | Admitted:
        """Answer a request by its head alone where that suffices."""
        try:
            return self._api.admit(head, self._clock.now())
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
            return self.fail(f"{head.method} {head.path}")

    def complete(self, admitted: Admitted, body: bytes) -> Reply:
        """Answer a request that was admitted, with its whole body."""
        try:
            return self._api.complete(admitted, body, self._clock.now())
        except Exception:  # noqa: BLE001 - the same
            return self.fail(f"{admitted.request.method} {admitted.request.path}")

    def give_up(self, admitted: Admitted, reply: Reply) -> Reply:
        """Answer a request that was admitted, and whose body cannot be had."""
        return self._api.give_up(admitted, reply)

    def refuse(self, status: int, client: str) -> Reply:
        """Answer what never became a request: a status of `REFUSALS`."""
        return self._api.refuse(REFUSALS[status], client, self._clock.now())

    def fail(self, where: str) -> Reply:
        """Log the exception being handled, and return its answer, with what every answer carries."""
        return self._api.fail(internal_error(where))
