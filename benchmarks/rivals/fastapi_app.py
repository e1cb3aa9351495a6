"""The rival on FastAPI: handlers that take the request itself, which its pages say is the fastest.

Parameters that FastAPI reads and checks would cost more, and refuse in words of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from starlette.responses import Response  # noqa: TC002 - FastAPI reads what handlers say that they return

from benchmarks.rivals.decisions import AUTHORIZATION, CERTIFICATE, OWNER_ID, TOKEN, WORKERS
from benchmarks.rivals.starlette_app import respond

if TYPE_CHECKING:
    from benchmarks.rivals.decisions import Decisions


def make_fastapi(decisions: Decisions) -> FastAPI:
    """Make the application."""

    async def heartbeat(worker_id: str, request: Request) -> Response:
        headers = request.headers
        token, certificate_id = headers.get(TOKEN, ""), headers.get(CERTIFICATE, "")
        return respond(decisions.heartbeat(worker_id, token, certificate_id, await request.body()))

    async def policy(worker_id: str, request: Request) -> Response:
        headers = request.headers
        return respond(decisions.policy(worker_id, headers.get(TOKEN, ""), headers.get(CERTIFICATE, "")))

    async def status(worker_id: str, request: Request) -> Response:
        headers = request.headers
        return respond(decisions.status(worker_id, headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, "")))

    async def statuses(request: Request) -> Response:
        headers = request.headers
        return respond(decisions.statuses(request.url.query, headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, "")))

    app = FastAPI(openapi_url=None)
    app.add_api_route(f"{WORKERS}/{{worker_id}}/heartbeat", heartbeat, methods=["POST"])
    app.add_api_route(f"{WORKERS}/statuses", statuses)
    app.add_api_route(f"{WORKERS}/{{worker_id}}/status", status)
    app.add_api_route(f"{WORKERS}/{{worker_id}}/policy", policy)
    return app
