"""HARs that the tests write, read and bend."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from simulator.traces.format import Exchange, Header, Trace
from simulator.traces.har_export import to_har
from simulator.traces.har_import import Choice, Imported, from_har
from tests.traces.recorded import Recording, digits

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = digits("token", 48)


def exported(recording: Recording, *, redact: bool = True) -> dict[str, Any]:
    har: dict[str, Any] = json.loads(msgspec.json.encode(to_har(recording.trace(redact=redact), "1.2.3")))
    return har


def imported(har: Any, *, redact: bool = True) -> Trace:
    header, *exchanges = from_har(json.dumps(har).encode(), "browser", redact=redact).lines
    assert isinstance(header, Header)
    return Trace(header, tuple(one for one in exchanges if isinstance(one, Exchange)))


def entry(
    method: str,
    path: str,
    status: int,
    *,
    headers: dict[str, str] | None = None,
    sent: Any = None,
    got: Any = None,
    at: int = 0,
) -> dict[str, Any]:
    """Write an entry as a browser does, with the headers that its own connection had."""
    made: dict[str, Any] = {
        "startedDateTime": f"2026-01-01T10:00:0{at}.250+01:00",
        "time": 12.5,
        "request": {
            "method": method,
            "url": f"http://farm.example:8080{path}",
            "httpVersion": "h2",
            "headers": [
                {"name": ":authority", "value": "farm.example:8080"},
                {"name": "Connection", "value": "keep-alive"},
                {"name": "content-length", "value": "999"},
                *({"name": name, "value": value} for name, value in (headers or {}).items()),
            ],
            "cookies": [],
            "queryString": [],
            "headersSize": -1,
            "bodySize": -1,
        },
        "response": {
            "status": status,
            "statusText": "",
            "headers": [{"name": "content-type", "value": "application/json"}],
            "content": {"size": 1, "mimeType": "application/json", "text": json.dumps(got)},
        },
    }
    if sent is not None:
        made["request"]["postData"] = {"mimeType": "application/json", "text": json.dumps(sent)}
    return made


BEARER = {"Authorization": "Bearer the-owners-own-token"}
REGISTERED = {
    "data": {
        "machine": {"id": "wrk_0123456789abcdef", "owner_id": "eve"},
        "machine_token": TOKEN,
        "machine_certificate": {"certificate_id": "mcert_0123456789abcdef0123"},
    }
}


def browser_har() -> dict[str, Any]:
    used = {"X-Machine-Token": TOKEN, "Cookie": "session=my-session-cookie"}
    entries = [
        entry("GET", "/api/v1/workers/wrk_0123456789abcdef/policy", 403, headers=used, got={"error": "no"}, at=2),
        entry(
            "POST", "/v1/machines/register", 201, headers=BEARER, sent={"owner_id": "eve", "name": "m"}, got=REGISTERED
        ),
        entry("GET", "/favicon.ico", 0, at=3),
    ]
    return {"log": {"version": "1.2", "creator": {"name": "browser", "version": "1"}, "entries": entries}}


def stranger(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Return a HAR of four entries of which the last is bent by `change`."""
    har = browser_har()
    har["log"]["entries"].append(entry("POST", "/v1/consents", 201, headers=BEARER, sent={"owner_id": "eve"}, at=4))
    change(har["log"]["entries"][3])
    return har


def read(har: dict[str, Any], **choice: Any) -> Imported:
    return from_har(json.dumps(har).encode(), "browser", redact=True, choice=Choice(**choice))


def url(text: str) -> Callable[[dict[str, Any]], object]:
    return lambda one: one["request"].update(url=text)


def posted(**data: Any) -> Callable[[dict[str, Any]], object]:
    return lambda one: one["request"].update(postData=data)
