"""What the express lane answers at a glance: requests that have come whole, without a `Conversation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reference_server.core.rate_limit import client_key
from reference_server.http.conversation import Answer
from reference_server.http.whole_requests import whole_request
from reference_server.operations.outcomes import Admitted
from reference_server.pipeline.answering import internal_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reference_server.core.heartbeats import Refused, Verified
    from reference_server.http.lane_clients import Connection
    from reference_server.http.plain_heads import PlainHead
    from reference_server.operations.api import Api
    from reference_server.pipeline.answering import Answerer
    from reference_server.wire.values import Instant, Reply


def answer_heartbeat(api: Api, connection: Connection, head: PlainHead, body: bytes, now: Instant) -> Reply:
    """Answer a plain heartbeat. The reply may be `Deferred`."""
    return _settle(api, _verify(api, connection, head, body, now), now)


def answer_heartbeats(api: Api, alone: Iterable[tuple[Connection, PlainHead, bytes]], now: Instant) -> list[Reply]:
    """Answer plain heartbeats, each with its body: all are verified before the first is settled."""
    verified = [_verify(api, connection, head, body, now) for connection, head, body in alone]
    return [_settle(api, one, now) for one in verified]


def _verify(api: Api, connection: Connection, head: PlainHead, body: bytes, now: Instant) -> Reply | Verified | Refused:
    address, secure = connection.address, connection.secure
    try:
        if head.forwarded_proto:
            secure = secure or api.believes_https(head.forwarded_proto, proxied=not address)
        if not address:  # a trusted proxy's
            address = client_key(api.proxies.client_of(connection.client, head.forwarded_for))
        return api.verify_heartbeat(head.worker_id, head.token, head.certificate_id, body, address, now, secure)
    except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
        return internal_error("a heartbeat")


def _settle(api: Api, verified: Reply | Verified | Refused, now: Instant) -> Reply:
    try:
        return api.settle_heartbeat(verified, now)
    except Exception:  # noqa: BLE001 - the same
        return internal_error("a heartbeat")


def answer_whole(answerer: Answerer, connection: Connection, data: bytes) -> Answer | None:
    """Answer any request that is all there is in these bytes, and ends nothing; None where that is not to be seen."""
    read = whole_request(data, connection.client, "https" if connection.secure else "http")
    if read is None:
        return None
    request, body = read
    bodiless = request.method == "HEAD"
    outcome = answerer.admit(request)
    if isinstance(outcome, Admitted):
        return Answer(answerer.complete(outcome, body), bodiless, proves=outcome.proves, size=len(body))
    return Answer(outcome, bodiless, proves=False)
