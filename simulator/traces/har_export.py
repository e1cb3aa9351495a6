"""HAR 1.2 out of a trace, for browsers, proxies and whatever else reads it. No I/O.

What HAR has no place for goes into fields whose names begin with `_`, as the HAR 1.2 specification allows, so that the
whole trace comes back when the HAR is imported. Texts are the trace's, references and all.
"""

from __future__ import annotations

import base64
import http
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from reference_server.wire.timestamps import format_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.platform.wording import plural
from simulator.traces.format import Exchange, HttpRequest
from simulator.traces.messages import LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulator.traces.format import Trace

CREATOR = "HatchFarm Harness"
PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


def to_har(trace: Trace, version: str) -> dict[str, Any]:
    """Return a trace as a HAR; `version` is this program's. Raw requests, for which HAR has no place, stand beside."""
    raw = [exchange for exchange in trace.exchanges if not isinstance(exchange.request, HttpRequest)]
    entries = [
        _entry(trace, exchange, exchange.request)
        for exchange in trace.exchanges
        if isinstance(exchange.request, HttpRequest)
    ]
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": CREATOR, "version": version},
            "pages": [],
            "entries": entries,
            "comment": f"no well-formed HTTP in {plural(len(raw), 'exchange')}: see _hatchfarm.raw",
            "_hatchfarm": {"header": msgspec.to_builtins(trace.header), "raw": msgspec.to_builtins(raw)},
        }
    }


def _entry(trace: Trace, exchange: Exchange, request: HttpRequest) -> dict[str, Any]:
    header = trace.header
    size = len(request.body.encode())
    headers = [(name, str(size) if value == LENGTH else value) for name, value in request.headers]
    wait_ms = 0.0 if exchange.answered_ns is None else (exchange.answered_ns - exchange.sent_ns) / MILLISECOND_NS
    started_ns = (header.started_unix_ns + exchange.sent_ns) // MILLISECOND_NS * MILLISECOND_NS
    entry: dict[str, Any] = {
        "startedDateTime": format_timestamp(started_ns),
        "time": wait_ms,
        "request": {
            "method": request.method,
            "url": f"http://{header.authority}{request.path}",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": _named(headers),
            "queryString": _named(parse_qsl(request.path.partition("?")[2], keep_blank_values=True)),
            "headersSize": -1,
            "bodySize": size,
        },
        "response": _response(exchange),
        "cache": {},
        "timings": {"blocked": -1, "dns": -1, "connect": -1, "ssl": -1, "send": 0, "wait": wait_ms, "receive": 0},
        "_hatchfarm": {
            field: msgspec.to_builtins(getattr(exchange, field))
            for field in exchange.__struct_fields__
            if field not in {"request", "response"}
        }
        | {"path": request.path},
    }
    if request.body:
        entry["request"]["postData"] = {"mimeType": _content_type(headers), "params": [], "text": request.body}
    return entry


def _response(exchange: Exchange) -> dict[str, Any]:
    """Return the response; browsers write status 0 where none came."""
    response = exchange.response
    headers = () if response is None else response.headers
    content: dict[str, Any] = {"size": 0, "mimeType": "x-unknown" if response is None else _content_type(headers)}
    if response is not None and response.base64:
        content |= {"size": len(base64.b64decode(response.body)), "encoding": "base64", "text": response.body}
    elif response is not None:
        content |= {"size": len(response.body.encode()), "text": response.body}
    status = 0 if response is None else response.status
    return {
        "status": status,
        "statusText": PHRASES.get(status, ""),
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _named(headers),
        "content": content,
        "redirectURL": next((value for name, value in headers if name.lower() == "location"), ""),
        "headersSize": -1,
        "bodySize": content["size"],
    }


def _named(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _content_type(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "application/octet-stream")
