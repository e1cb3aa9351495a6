"""HAR into a trace: one that this program exported comes back whole, any other as far as it tells. No I/O.

A HAR of another program says nothing of machines or expectations. What a request got is what it is expected to get, the
machines are those whose registration it holds, and the owners' token is the one that was let in where owners register.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from simulator.history import HONEST, NEVER_NS, NO_MACHINE, Answer, Operation
from simulator.traces.errors import TraceError
from simulator.traces.format import Exchange, Header
from simulator.traces.har_export import MILLISECOND_NS
from simulator.traces.messages import LENGTH, HttpText, join_request
from simulator.traces.tape import Taken
from simulator.traces.writing import Origin, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_OPERATIONS: tuple[tuple[str, re.Pattern[str], Operation], ...] = (
    ("POST", re.compile(r"/workers/[^/]+/heartbeat"), Operation.HEARTBEAT),
    ("GET", re.compile(r"/workers/[^/]+/policy"), Operation.POLICY_FETCH),
    ("POST", re.compile(r"/machines/register"), Operation.REGISTER),
    ("POST", re.compile(r"/machines/[^/]+/certificate"), Operation.CERTIFICATE),
    ("POST", re.compile(r"/policies"), Operation.POLICY_CREATE),
    ("POST", re.compile(r"/policies/[^/]+/activate"), Operation.POLICY_ACTIVATE),
    ("POST", re.compile(r"/consents"), Operation.CONSENT_CREATE),
    ("POST", re.compile(r"/consents/[^/]+/revoke"), Operation.CONSENT_REVOKE),
    ("GET", re.compile(r"/metrics"), Operation.METRICS),
)
TOOK_MAX_MS = 86_400_000
"""A day: what takes longer was not one exchange."""
_PREFIX = re.compile(r"(?:/api)?/v1(?=/)")
_FRAMING = {"connection", "content-length", "transfer-encoding", "host", "keep-alive", "te", "upgrade", "expect"}
_BREAKS = {"\r", "\n", "\0"}
_NOT_THERE = (KeyError, TypeError, ValueError, AttributeError, IndexError, msgspec.ValidationError)
_TOO_MANY, _BAD_REQUEST, _SERVER_ERROR = 429, 400, 500


def from_har(data: bytes, name: str, *, redact: bool) -> Iterator[Header | Exchange]:
    """Read a HAR as the lines of a trace; `name` is what the trace is called. Raises TraceError, naming the entry."""
    try:
        log = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))["log"]
        entries, own = log["entries"], log.get("_hatchfarm")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise TraceError(f"not JSON ({error})") from None
    except (KeyError, TypeError, IndexError, AttributeError):
        raise TraceError('no HAR: it has no "log" with "entries"') from None
    if not isinstance(entries, list):
        raise TraceError('no HAR: "log.entries" is no list')
    if isinstance(own, dict):
        return iter(_own(entries, own))
    if not entries:
        raise TraceError("a HAR without entries: there is nothing to import")
    taken, origin = _foreign(entries, name)
    return TraceWriter(taken, origin, "", redact=redact).lines()


# --- this program's own


def _own(entries: list[Any], own: Mapping[str, Any]) -> list[Header | Exchange]:
    """Give the lines of an exported trace; entries may have been taken out since, but not changed in kind."""
    try:
        header = msgspec.convert(own["header"], Header)
        exchanges = list(msgspec.convert(own["raw"], list[Exchange]))
    except (KeyError, msgspec.ValidationError) as error:
        raise TraceError(f"log._hatchfarm: {_reason(error)}") from None
    for index, entry in enumerate(entries):
        try:
            known = {name: value for name, value in entry["_hatchfarm"].items() if name != "path"}
            known |= {"line": "exchange", "request": _own_request(entry), "response": _own_response(entry["response"])}
            exchanges.append(msgspec.convert(known, Exchange))
        except _NOT_THERE as error:
            raise TraceError(f"log.entries[{index}]: {_reason(error)}") from None
    exchanges.sort(key=lambda one: one.sequence)
    numbered = [msgspec.structs.replace(one, sequence=number) for number, one in enumerate(exchanges, 1)]
    return [msgspec.structs.replace(header, exchanges=len(numbered)), *numbered]


def _own_request(entry: Mapping[str, Any]) -> dict[str, Any]:
    request = entry["request"]
    body = (request.get("postData") or {}).get("text") or ""
    size = str(len(body.encode()))
    headers = [
        (name, LENGTH if name.lower() == "content-length" and value == size else value)
        for name, value in _pairs(request["headers"])
    ]
    path = entry["_hatchfarm"]["path"]
    return {"kind": "http", "method": request["method"], "path": path, "headers": headers, "body": body}


def _own_response(response: Mapping[str, Any]) -> dict[str, Any] | None:
    content = response["content"]
    if response["status"] == 0 and "text" not in content:
        return None
    encoded = content.get("encoding") == "base64"
    headers = _pairs(response["headers"])
    return {"status": response["status"], "headers": headers, "body": content.get("text") or "", "base64": encoded}


# --- any other


def _foreign(entries: list[Any], name: str) -> tuple[list[Taken], Origin]:
    read = []
    for index, entry in enumerate(entries):
        try:
            read.append(_read(entry))
        except _NOT_THERE as error:
            raise TraceError(f"log.entries[{index}]: {_reason(error)}") from None
    authorities = {one.authority for one in read}
    if len(authorities) > 1:
        raise TraceError(f"entries of several servers ({', '.join(sorted(authorities))}): keep those of one")
    read.sort(key=lambda one: one.started_ns)
    origin = Origin(name, 0, read[0].authority, read[0].authority, read[0].started_ns, imported=True)
    return [_taken(one, origin.started_unix_ns) for one in read], origin


class _Read(msgspec.Struct):
    started_ns: int
    took_ns: int
    authority: str
    request: bytes
    status: int
    answer: bytes
    operation: Operation


def _read(entry: Mapping[str, Any]) -> _Read:
    request, response = entry["request"], entry["response"]
    started_ns = parse_timestamp(str(entry["startedDateTime"]))
    if started_ns is None:
        raise ValueError(f"startedDateTime {str(entry['startedDateTime'])[:40]!r} is no RFC 3339 timestamp")
    url = urlsplit(str(request["url"]))
    method = str(request["method"]).upper()
    if not url.netloc or not method.isascii() or not method.isalpha():
        raise ValueError(f"{method[:20]} {str(request['url'])[:80]!r} is no request to a server")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    body = str((request.get("postData") or {}).get("text") or "")
    headers = [(header, value) for header, value in _pairs(request["headers"]) if header.lower() not in _FRAMING]
    headers = [(header, value) for header, value in headers if not header.startswith(":")]
    if any(set(text) & _BREAKS for pair in [*headers, (path, url.netloc)] for text in pair):
        raise ValueError("a line break in a header or path")
    sized = [("Content-Length", LENGTH)] if body or method == "POST" else []
    message = join_request(HttpText(method, path, (("Host", url.netloc), *headers, *sized), body))
    status = int(response["status"])
    took_ns = round(min(max(0.0, float(entry.get("time") or 0)), TOOK_MAX_MS) * MILLISECOND_NS)
    answer = _answer(response, status)
    return _Read(started_ns, took_ns, url.netloc, message, status, answer, _operation_of(method, url.path))


def _answer(response: Mapping[str, Any], status: int) -> bytes:
    content = response.get("content") or {}
    text = str(content.get("text") or "")
    body = base64.b64decode(text) if content.get("encoding") == "base64" else text.encode("utf-8", "replace")
    lines = [f"HTTP/1.1 {status:03}", *(f"{name}: {value}" for name, value in _pairs(response["headers"]))]
    head = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    return head.encode("utf-8", "replace") + b"\r\n\r\n" + body


def _operation_of(method: str, path: str) -> Operation:
    rest = _PREFIX.sub("", path, count=1)
    for wanted, pattern, operation in _OPERATIONS:
        if method == wanted and pattern.fullmatch(rest):
            return operation
    return Operation.OTHER


def _taken(one: _Read, start_ns: int) -> Taken:
    sent_ns = one.started_ns - start_ns
    lost = one.status == 0
    got = _got_of(one.status)
    return Taken(
        planned_ns=sent_ns,
        sent_ns=sent_ns,
        answered_ns=NEVER_NS if lost else sent_ns + one.took_ns,
        source="",
        campaign=HONEST,
        machine=NO_MACHINE,
        operation=one.operation,
        request=one.request,
        answer=None if lost else one.answer,
        expected=got,
        got=got,
    )


def _got_of(status: int) -> Answer:
    """Say what a status means where nobody says what was expected."""
    if status == 0:
        return Answer.LOST
    if status < _BAD_REQUEST:
        return Answer.ACCEPTED
    if status == _TOO_MANY:
        return Answer.RATE_LIMITED
    return Answer.UNAVAILABLE if status >= _SERVER_ERROR else Answer.REFUSED


def _pairs(named: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [(str(one["name"]), str(one["value"])) for one in named]


def _reason(error: Exception) -> str:
    return f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
