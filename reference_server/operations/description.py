"""The operations by which the API describes itself: its document for programs, and a page of it for people."""

from __future__ import annotations

import gzip
import re
from functools import cache
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reference_server.operations.callers import ANYONE
from reference_server.operations.openapi import describe
from reference_server.operations.operation import Answer, Operation
from reference_server.wire.replies import JSON_HEADERS
from reference_server.wire.values import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reference_server.core.calls import Call
    from reference_server.core.state import State
    from reference_server.wire.values import Headers

PACKAGE = "flask_swagger_ui"
"""Whose files the page is made of. Nothing of it is imported: it would bring Flask along."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page writes styles of its own into itself; everything else comes from this server."""
CACHED_SECONDS = 3600
_REFUSES = re.compile(r"q=0(?:\.0{0,3})?")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HatchFarm API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<main id="api"><noscript>This page needs JavaScript; what it shows is in <a href="/openapi.json">openapi.json</a>.
</noscript></main>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""


class _File(NamedTuple):
    """One file of the page: what it holds, or the file of the package that it is."""

    media_type: str
    text: str = ""


_FILES = {
    "/docs": _File("text/html; charset=utf-8", PAGE),
    "/docs/start.js": _File("text/javascript; charset=utf-8", START),
    "/docs/swagger-ui.css": _File("text/css; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": _File("text/javascript; charset=utf-8"),
}


def _content(path: str) -> bytes:
    file = _FILES[path]
    if file.text:
        return file.text.encode()
    package = find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} is not installed: make the environment anew")
    return Path(package.origin).with_name("dist").joinpath(path.rpartition("/")[2]).read_bytes()


@cache
def _file_reply(path: str, *, compressed: bool) -> Reply:
    """Return a file, a quarter as long where the client reads gzip: made once, the same for all."""
    encoding: Headers = (("content-encoding", "gzip"),) if compressed else ()
    headers: Headers = (
        ("content-type", _FILES[path].media_type),
        *encoding,
        ("vary", "Accept-Encoding"),
        ("cache-control", f"public, max-age={CACHED_SECONDS}"),
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    )
    content = _content(path)
    return Reply(HTTPStatus.OK, gzip.compress(content, mtime=0) if compressed else content, headers)


def _reads_gzip(accepted: str) -> bool:
    """Return whether a client reads gzip by its `Accept-Encoding`; a weight of 0 refuses it (RFC 9110 §12.5.3)."""
    for coding in accepted.lower().split(","):
        name, _, weight = coding.partition(";")
        if name.strip() == "gzip":
            return _REFUSES.fullmatch(weight.strip()) is None
    return False


def show_file(_state: State, call: Call[bytes]) -> Reply:
    """Return a file of the page for people."""
    return _file_reply(call.request.path, compressed=_reads_gzip(call.headers.get("accept-encoding", "")))


def self_describing(rows: Sequence[Operation], prefix: str) -> tuple[Operation, ...]:
    """Return the rows, and those that show the description of them all. It is made when it is first asked for."""

    @cache
    def document(version: str) -> bytes:
        return msgspec.json.encode(describe(every, prefix, version))

    def show_document(state: State, _call: Call[bytes]) -> Reply:
        return Reply(HTTPStatus.OK, document(state.settings.version), JSON_HEADERS)

    shown = Operation(
        "GET",
        "/openapi.json",
        ANYONE,
        show_document,
        answers=(Answer(HTTPStatus.OK, dict[str, Any], bare=True),),
        summary="Show this description.",
        rooted=True,
        shows_state=False,
    )
    every = (*rows, shown, *(_file_row(path) for path in _FILES))
    return every


def _file_row(path: str) -> Operation:
    return Operation(
        "GET",
        path,
        ANYONE,
        show_file,
        answers=(Answer(HTTPStatus.OK, bare=True, media_type=_FILES[path].media_type.partition(";")[0]),),
        summary="Show this description as a page." if path == "/docs" else "Fetch a file of that page.",
        rooted=True,
        shows_state=False,
    )
