"""One entry of a HAR that another program wrote: what was sent and answered, or why it cannot be told. No I/O.

Browsers, proxies and test tools each leave out or bend something. What can be built is built, and what was bent is
noted; an entry that is no whole HTTP request is left out with its reason. Both are for people, who get their counts.
"""

from __future__ import annotations

import base64
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.units import MILLISECOND_NS
from simulator.contract.answers import Operation
from simulator.traces.messages import LENGTH, HttpText, join_request, to_text

if TYPE_CHECKING:
    from collections.abc import Mapping

TOOK_MAX_MS = 86_400_000
"""A day: what takes longer was not one exchange."""
LOST = 0
"""The status of an answer that did not come."""
LATEST_NS = 1 << 62
"""What a trace's header holds of time: until the year 2116."""
PORTS = {"http": 80, "https": 443}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
"""Names that a page and its scripts use beside each other for one server."""
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
_PREFIX = re.compile(r"(?:/api)?/v1(?=/)")
_NO_FORMS = {"multipart": "a multipart", "json": "a JSON", "xml": "an XML"}
"""Kinds of bodies that cannot be built of names and values: what was sent would be another request."""
_FRAMING = {"connection", "content-length", "transfer-encoding", "host", "keep-alive", "te", "upgrade", "expect"}
_BREAKS = {"\r", "\n", "\0"}
_ZONE = re.compile(r"([+-][0-9]{2}):?([0-9]{2})?")
_TIME_CHARACTERS = 19
_WRONG = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
_FINAL = range(200, 600)
_STATUS_DIGITS = 3


class LeftOutError(ValueError):
    """An entry that is left out. `reason` is the same for all of a kind, `detail` says what this one held."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason = reason


class Entry(msgspec.Struct, frozen=True):
    """An entry as it was read. `server` is the same for all names of one server, `credentials` are its URL's.

    `status` is `LOST` where no answer came. `notes` say what was bent, the same words for all of a kind.
    """

    started_ns: int
    took_ns: int
    server: str
    authority: str
    path: str
    request: bytes
    status: int
    answer: bytes
    operation: Operation
    credentials: tuple[str, ...]
    notes: tuple[str, ...]


def read_entry(entry: Any) -> Entry:
    """Read an entry. Raises LeftOutError."""
    try:
        return _read(entry)
    except LeftOutError:
        raise
    except KeyError as error:
        raise LeftOutError(f"no {error.args[0]!r}") from None
    except _WRONG as error:
        raise LeftOutError("not as HAR 1.2 has it", str(error)[:80]) from None


def server_of(host: str, port: int | None) -> str:
    """Return the one name of a server; loopback's names are one."""
    host = "127.0.0.1" if host.lower() in LOOPBACK else host.lower()
    host = f"[{host}]" if ":" in host else host
    return host if port is None else f"{host}:{port}"


def _read(entry: Mapping[str, Any]) -> Entry:
    request = entry["request"]
    notes: list[str] = []
    started_ns = _moment(str(entry["startedDateTime"]), notes)
    method = str(request["method"]).upper()
    url = _url(str(request["url"]))
    response = entry.get("response")
    response = response if isinstance(response, dict) else {}
    if not method.isascii() or not method.isalpha():
        raise LeftOutError("no HTTP method", method[:20])
    headers = [pair for pair in _pairs(request.get("headers")) if not pair[0].startswith(":")]
    if response.get("status") == HTTPStatus.SWITCHING_PROTOCOLS or any(
        name.lower() == "upgrade" and value.lower() == "websocket" for name, value in headers
    ):
        raise LeftOutError("a websocket")
    headers, credentials = _without_url_credentials(headers, url)
    body, form = _body(request, notes)
    headers = [pair for pair in headers if pair[0].lower() not in _FRAMING]
    if form and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", "application/x-www-form-urlencoded"))
    authority = url.netloc.rpartition("@")[2]
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    if any(set(text) & _BREAKS for pair in [*headers, (path, authority)] for text in pair):
        raise LeftOutError("a line break in a header or path")
    sized = [("Content-Length", LENGTH)] if body or method == "POST" else []
    message = join_request(HttpText(method, path, (("Host", authority), *headers, *sized), body))
    took = entry.get("time")
    took_ms = took if isinstance(took, int | float) else 0.0
    took_ns = round(min(max(0.0, took_ms), TOOK_MAX_MS) * MILLISECOND_NS)
    status = _status(response.get("status"), notes)
    answer = b"" if status == LOST else _answer(response, status, notes)
    return Entry(
        started_ns,
        took_ns,
        server_of(url.hostname or "", url.port or PORTS[url.scheme]),
        authority,
        path,
        message,
        status,
        answer,
        _operation_of(method, url.path),
        credentials,
        tuple(notes),
    )


def _moment(text: str, notes: list[str]) -> int:
    """Read a time, RFC 3339's or ISO 8601's with a zone without colon or none at all, which is taken for UTC."""
    moment, rest = text.strip().upper().replace(" ", "T", 1)[:_TIME_CHARACTERS], text.strip().upper()[_TIME_CHARACTERS:]
    fraction = rest[: len(rest) - len(rest[1:].lstrip("0123456789"))] if rest[:1] in {".", ","} else ""
    zone = rest[len(fraction) :].strip()
    if not zone:
        notes.append("a time without a zone: taken for UTC")
        zone = "Z"
    elif match := _ZONE.fullmatch(zone):
        zone = f"{match[1]}:{match[2] or '00'}"
    fraction = fraction.replace(",", ".") if len(fraction) > 1 else ""
    unix_ns = parse_timestamp(moment + fraction + zone)
    if unix_ns is None or not 0 <= unix_ns <= LATEST_NS:
        raise LeftOutError("a startedDateTime that is no RFC 3339 timestamp", repr(text[:40]))
    return unix_ns


def _url(text: str) -> SplitResult:
    scheme = text.partition(":")[0].lower()
    if scheme in {"ws", "wss"}:
        raise LeftOutError("a websocket")
    if scheme not in PORTS:
        shown = scheme[:20] if ":" in text else "relative"
        raise LeftOutError(f"no request to a server ({shown}: URL)")
    try:
        url = urlsplit(text)
        wrong = not url.hostname or url.port == 0
    except ValueError as error:
        raise LeftOutError("a broken URL", str(error)[:80]) from None
    if wrong:
        raise LeftOutError("a URL without a host that can be asked")
    return url


def _without_url_credentials(
    headers: list[tuple[str, str]], url: SplitResult
) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Send a URL's user and password as a browser does, in a header, and nowhere else."""
    userinfo, at, _ = url.netloc.rpartition("@")
    headers = [(name, _clean(value) if name.lower() == "referer" else value) for name, value in headers]
    if not at:
        return headers, ()
    user, _, password = userinfo.partition(":")
    if not any(name.lower() == "authorization" for name, _ in headers):
        basic = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        headers.append(("Authorization", f"Basic {basic}"))
    return headers, (password, unquote(password)) if password else (user, unquote(user))


def _clean(referer: str) -> str:
    try:
        url = urlsplit(referer)
    except ValueError:
        return referer
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2])) if "@" in url.netloc else referer


def _body(request: Mapping[str, Any], notes: list[str]) -> tuple[str, bool]:
    """Return a request's body, and whether it was made of the fields of a form."""
    posted = request.get("postData")
    if not isinstance(posted, dict):
        return "", False
    text = posted.get("text")
    if isinstance(text, str) and text:
        if posted.get("encoding") != "base64":
            return text, False
        try:
            return to_text(base64.b64decode(text, validate=True)), False
        except ValueError:
            raise LeftOutError("a request body of wrong base64") from None
    params = posted.get("params")
    if not isinstance(params, list) or not params:
        return "", False
    kind = str(posted.get("mimeType")).lower()
    if other := next((name for part, name in _NO_FORMS.items() if part in kind), ""):
        raise LeftOutError(f"{other} body of which only `params` are given")
    notes.append("a body given as `params`: written as a form")
    return urlencode([(str(one["name"]), str(one.get("value") or "")) for one in params]), True


def _status(value: Any, notes: list[str]) -> int:
    """Return a status, or `LOST`: programs write 0, -1 or null where no answer came."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == _STATUS_DIGITS:
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and value in _FINAL:
        return int(value)
    notes.append("an answer without a status of one: taken for lost")
    return LOST


def _answer(response: Mapping[str, Any], status: int, notes: list[str]) -> bytes:
    content = response.get("content")
    content = content if isinstance(content, dict) else {}
    text = content.get("text")
    text = text if isinstance(text, str) else ""
    body = text.encode("utf-8", "replace")
    if content.get("encoding") == "base64":
        try:
            body = base64.b64decode(text, validate=True)
        except ValueError:
            notes.append("an answer's body of wrong base64: kept without it")
            body = b""
    lines = [f"HTTP/1.1 {status:03}", *(f"{name}: {value}" for name, value in _pairs(response.get("headers")))]
    head = "\r\n".join(line.replace("\r", " ").replace("\n", " ") for line in lines)
    return head.encode("utf-8", "replace") + b"\r\n\r\n" + body


def _operation_of(method: str, path: str) -> Operation:
    rest = _PREFIX.sub("", path, count=1)
    for wanted, pattern, operation in _OPERATIONS:
        if method == wanted and pattern.fullmatch(rest):
            return operation
    return Operation.OTHER


def _pairs(named: Any) -> list[tuple[str, str]]:
    return [(str(one["name"]), str(one["value"])) for one in named or ()]
