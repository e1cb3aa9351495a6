"""The whole API as a Quart-Trio application: any ASGI server can serve it. It only translates; the table decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout

from reference_server.http.answers import internal_error
from reference_server.limits import BODY_MAX_BYTES
from reference_server.operations.table import OPERATIONS, PREFIXES
from reference_server.wire.replies import INVALID_REQUEST, failure
from reference_server.wire.values import Reply, Request

if TYPE_CHECKING:
    from reference_server.http.settling import Settler
    from reference_server.operations.api import Api
    from reference_server.ports import Clock

HEADERS_TOO_LARGE = failure(431, "request headers too large")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.headers.clear()
    for name, value in reply.headers:
        response.headers.add(name, value)
    response.headers.add("content-length", str(len(reply.body)))
    return response


async def _read_request(mark: str) -> tuple[Request, int]:
    """Translate Quart's request; the second value is the status the framing guard refuses it with, 0 for none."""
    scope = request.scope
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    refused = 0
    if headers and mark:
        refused = next((int(value) for name, value in headers if name == mark), 0)
        if refused:
            headers = tuple(header for header in headers if header[0] != mark)
    too_large = refused == RequestEntityTooLarge.code
    body: str | bytes = b""
    if not refused:
        if mark and scope["http_version"] != "2":
            # The guard has kept the deadline, and the body is whole: it is late only where this server is busy.
            request.body_timeout = None
        try:
            body = await request.get_data(cache=False, as_text=False)
        except RequestEntityTooLarge:
            too_large = True
        except RequestTimeout:
            refused = INVALID_REQUEST.status  # half of a request: only without the guard, or over HTTP/2
    client = scope.get("client") or ("", 0)
    return (
        Request(
            method=request.method,
            path=scope["raw_path"].decode("ascii", "replace"),
            query=scope["query_string"].decode("ascii", "replace"),
            headers=headers,
            body=bytes(body) if isinstance(body, bytes) else body.encode(),
            client=client[0],
            scheme=scope["scheme"],
            body_too_large=too_large,
        ),
        0 if too_large else refused,
    )


def _run_beside(app: QuartTrio, settler: Settler) -> None:
    async def start() -> None:
        await app.nursery.start(settler.run)

    app.before_serving(start)
    app.after_serving(settler.stop)


def create_app(api: Api, clock: Clock, settler: Settler, mark: str = "") -> QuartTrio:
    """Make the application. `mark` is the header with which the framing guard hands over what it refuses.

    `settler` gives out the answers that the API holds back, and runs as long as the application does.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    app.config["BODY_TIMEOUT"] = api.settings.body_timeout_seconds
    _run_beside(app, settler)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False

    async def answer(**_ids: str) -> Response:
        value, refused = await _read_request(mark)
        try:
            await settler.room()
            if refused:
                refusal = HEADERS_TOO_LARGE if refused == HEADERS_TOO_LARGE.status else INVALID_REQUEST
                reply = api.refuse(refusal, value.client, clock.now())
            else:
                reply = api.handle(value, clock.now())
            reply = await settler.settled(reply)
        except Exception:  # noqa: BLE001 - a fault of ours must not cost the caller its answer
            reply = api.fail(internal_error(f"{value.method} {value.path}"))
        return _response(reply)

    async def unrouted(_error: HTTPException) -> Response:
        return await answer()

    paths = {
        prefix + operation.path.replace("{id}", "<id>")
        for operation in OPERATIONS
        for prefix in (("",) if operation.rooted else PREFIXES)
    }
    for path in sorted(paths):
        app.add_url_rule(path, path, answer, methods=METHODS, provide_automatic_options=False)
    app.register_error_handler(HTTPException, unrouted)
    return app
