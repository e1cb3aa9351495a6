"""The rival on Quart-Trio: a plain application, with the routes, the request and the response that Quart has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request
from quart_trio import QuartTrio

from benchmarks.rivals.decisions import AUTHORIZATION, CERTIFICATE, OWNER_ID, TOKEN, WORKERS

if TYPE_CHECKING:
    from benchmarks.rivals.decisions import Decisions
    from reference_server.wire.values import Reply


def _respond(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


def make_quart(decisions: Decisions) -> QuartTrio:
    """Make the application."""

    async def heartbeat(worker_id: str) -> Response:
        headers = request.headers
        body = await request.get_data(cache=False, as_text=False, parse_form_data=False)
        token, certificate_id = headers.get(TOKEN, ""), headers.get(CERTIFICATE, "")
        return _respond(decisions.heartbeat(worker_id, token, certificate_id, body))

    async def policy(worker_id: str) -> Response:
        headers = request.headers
        return _respond(decisions.policy(worker_id, headers.get(TOKEN, ""), headers.get(CERTIFICATE, "")))

    async def status(worker_id: str) -> Response:
        headers = request.headers
        return _respond(decisions.status(worker_id, headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, "")))

    async def statuses() -> Response:
        headers = request.headers
        query = request.query_string.decode("ascii", "replace")
        return _respond(decisions.statuses(query, headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, "")))

    app = QuartTrio(__name__, static_folder=None)
    app.add_url_rule(f"{WORKERS}/<worker_id>/heartbeat", view_func=heartbeat, methods=["POST"])
    app.add_url_rule(f"{WORKERS}/statuses", view_func=statuses)
    app.add_url_rule(f"{WORKERS}/<worker_id>/status", view_func=status)
    app.add_url_rule(f"{WORKERS}/<worker_id>/policy", view_func=policy)
    return app
