"""The rival on Starlette: handlers that take a request and return a response, as its pages show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - beside those that are needed when it runs
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.rivals.decisions import AUTHORIZATION, CERTIFICATE, OWNER_ID, TOKEN, WORKERS

if TYPE_CHECKING:
    from benchmarks.rivals.decisions import Decisions
    from reference_server.wire.values import Reply

ACCEPTED = b'{"success":true,"data":{"worker_id":"%s","accepted":true}}'


def respond(reply: Reply) -> Response:
    """Return an answer as Starlette sends it, and FastAPI, whose response it is too."""
    return Response(reply.body, reply.status, dict(reply.headers))


def make_starlette(decisions: Decisions) -> Starlette:
    """Make the application."""

    async def heartbeat(request: Request) -> Response:
        headers = request.headers
        token, certificate_id = headers.get(TOKEN, ""), headers.get(CERTIFICATE, "")
        return respond(decisions.heartbeat(request.path_params["id"], token, certificate_id, await request.body()))

    async def policy(request: Request) -> Response:
        headers = request.headers
        return respond(
            decisions.policy(request.path_params["id"], headers.get(TOKEN, ""), headers.get(CERTIFICATE, ""))
        )

    async def status(request: Request) -> Response:
        headers = request.headers
        return respond(
            decisions.status(request.path_params["id"], headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, ""))
        )

    async def statuses(request: Request) -> Response:
        headers = request.headers
        return respond(decisions.statuses(request.url.query, headers.get(AUTHORIZATION, ""), headers.get(OWNER_ID, "")))

    return Starlette(
        routes=[
            Route(f"{WORKERS}/{{id}}/heartbeat", heartbeat, methods=["POST"]),
            Route(f"{WORKERS}/statuses", statuses),
            Route(f"{WORKERS}/{{id}}/status", status),
            Route(f"{WORKERS}/{{id}}/policy", policy),
        ]
    )


def make_ceiling() -> Starlette:
    """Make an application that accepts every heartbeat and decides nothing: no decision could be faster."""

    async def heartbeat(request: Request) -> Response:
        await request.body()
        worker_id = request.path_params["id"].encode()
        return Response(ACCEPTED % worker_id, 200, {"content-type": "application/json"})

    return Starlette(routes=[Route(f"{WORKERS}/{{id}}/heartbeat", heartbeat, methods=["POST"])])
