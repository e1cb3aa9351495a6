"""The whole API as a Quart-Trio application: any ASGI server can serve it. It only translates; the table decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from reference_server.http.admission import CLIENT, CONNECTION
from reference_server.limits import BODY_MAX_BYTES
from reference_server.operations.outcomes import BODY_TOO_LARGE, Admitted
from reference_server.wire.replies import INVALID_REQUEST
from reference_server.wire.values import Reply, Request, succeeded

if TYPE_CHECKING:
    from reference_server.pipeline.answering import Answerer
    from reference_server.pipeline.resolving import Resolver
    from reference_server.settings import Settings

PLAIN = {"path": "/", "query_string": b"", "headers": [(b"host", b"server")]}
"""What Quart is shown of a request, whatever it says: Werkzeug fails on hosts and paths that are none."""
DIGITS_MAX = 19
"""Python reads no more than some thousand digits; so many are too long a body already."""
ORIGINAL = "hatchfarm.scope"
"""Where the application finds the scope that the server gave."""


def _response(reply: Reply) -> Response:
    response = Response(reply.body, reply.status)
    response.headers.clear()
    for name, value in reply.headers:
        response.headers.add(name, value)
    response.headers.add("content-length", str(len(reply.body)))
    return response


def _read_head(scope: Any, mark: bytes) -> tuple[Request, int]:
    """Translate a scope; the second value is the status the framing guard refuses it with, 0 for none."""
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
    refused = 0
    if headers and mark:
        refused = next((int(value) for name, value in scope["headers"] if name == mark), 0)
        if refused:
            headers = tuple(header for header in headers if header[0] != mark.decode())
    client = CLIENT.get() or (scope.get("client") or ("", 0))[0]
    head = Request(
        method=scope.get("method", "GET"),
        path=scope["raw_path"].decode("ascii", "replace"),
        query=scope["query_string"].decode("ascii", "replace"),
        headers=headers,
        client=client,
        scheme={"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"]),
        body_too_large=refused == RequestEntityTooLarge.code or any(map(_is_too_long, scope["headers"])),
    )
    return head, 0 if head.body_too_large else refused


def _is_too_long(header: tuple[bytes, bytes]) -> bool:
    """Return whether a header declares a body past the limit. The guard, where there is one, has seen to that."""
    name, value = header
    return name == b"content-length" and value.isdigit() and (len(value) > DIGITS_MAX or int(value) > BODY_MAX_BYTES)


async def _with_body(answerer: Answerer, admitted: Admitted, *, guarded: bool) -> Reply:
    """Answer a request that its head does not answer. `guarded` says that the guard has kept the body's deadline."""
    if guarded:
        request.body_timeout = None  # the body is whole: it is late only where this server is busy
    try:
        body = await request.get_data(cache=False, as_text=False)
    except RequestEntityTooLarge:
        return answerer.give_up(admitted, BODY_TOO_LARGE)
    except RequestTimeout:
        return answerer.give_up(admitted, INVALID_REQUEST)  # half of a request: only without the guard
    return answerer.complete(admitted, body if isinstance(body, bytes) else body.encode())


class _Application(QuartTrio):
    """Quart without routes of its own: the table's are the only ones. It lets nothing odd through to Quart."""

    answerer: Answerer
    mark: bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._answer_websocket(scope, receive, send)
        else:
            if scope["type"] == "http":
                scope = {**scope, **PLAIN, ORIGINAL: scope}
            try:
                await super().__call__(scope, receive, send)
            except* trio.Cancelled:
                # Hypercorn would keep a group of them in a circle with the frame it is caught in, and so the request,
                # its connection and its answer. One that is still cancelled is told so again, by itself.
                pass
            await trio.lowlevel.checkpoint_if_cancelled()

    def create_url_adapter(self, _request: Any) -> None:
        """Route nothing."""

    async def dispatch_request(self, _request_context: Any = None) -> Response:
        """Answer the request at hand."""
        answerer = self.answerer
        head, refused = _read_head(dict(request.scope)[ORIGINAL], self.mark)
        await answerer.room()
        proves = False
        reply: Reply | Admitted = answerer.refuse(refused, head.client) if refused else answerer.admit(head)
        if isinstance(reply, Admitted):
            proves = reply.proves
            reply = await _with_body(answerer, reply, guarded=bool(self.mark))
        reply = await answerer.resolved(reply)
        learn = CONNECTION.get()
        if learn is not None:
            learn(proves and succeeded(reply))
        return _response(reply)

    async def _answer_websocket(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer as if it were asked without a change of protocol, which may be ignored (RFC 9110 §7.8)."""
        await receive()
        await self.answerer.room()
        outcome = self.answerer.admit(_read_head(scope, b"")[0])
        if isinstance(outcome, Admitted):
            outcome = self.answerer.complete(outcome, b"")
        reply = await self.answerer.resolved(outcome)
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close"})
            return
        headers = [*reply.headers, ("content-length", str(len(reply.body)))]
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        await send({"type": "websocket.http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "websocket.http.response.body", "body": reply.body})

    async def handle_exception(self, error: Exception) -> Response:
        """Answer for a fault of Quart or of ours around it."""
        del error  # it is being handled
        return _response(self.answerer.fail("a request"))


def create_app(answerer: Answerer, settings: Settings, mark: str = "") -> QuartTrio:
    """Make the application. `mark` is the header with which the framing guard hands over what it refuses.

    What gives out the answers that the API defers has to run as long as the application does: `run_in_lifespan`.
    """
    app = _Application(__name__, static_folder=None)
    app.answerer = answerer
    app.mark = mark.encode()
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    app.config["BODY_TIMEOUT"] = settings.body_timeout_seconds
    return app


def run_in_lifespan(app: QuartTrio, resolver: Resolver) -> None:
    """Have an ASGI server's lifespan run what gives out answers."""

    async def start() -> None:
        await app.nursery.start(resolver.run)

    app.before_serving(start)
    app.after_serving(resolver.stop)
