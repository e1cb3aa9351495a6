"""HAR into a trace: one that this program exported comes back whole, any other as far as it tells. No I/O.

A HAR of another program says nothing of machines or expectations. What a request got is what it is expected to get,
unless that says nothing (no answer, 429, 5xx): then nobody knows what is right, as of a lost answer. The machines are
those whose registration it holds, and the owners' token is the one that was let in where owners register.
Browsers write down every page and tab: entries that are no requests to the one server are left out, and counted.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from simulator.checkers.judging import SILENT
from simulator.contract.answers import Answer, Operation
from simulator.errors import TraceError
from simulator.history.rows import HONEST, NEVER_NS, NO_MACHINE
from simulator.platform.wording import plural
from simulator.traces.format import Exchange, Header
from simulator.traces.har_entries import LOST, Entry, LeftOutError, read_entry, server_of
from simulator.traces.messages import LENGTH
from simulator.traces.principals import OTHER_MIN
from simulator.traces.tape import Taken
from simulator.traces.writing import Origin, TraceWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_NOT_THERE = (KeyError, TypeError, ValueError, AttributeError, IndexError, msgspec.ValidationError)
REASONS_SHOWN_MAX = 12
"""Kinds of entries that are named; a HAR of hostile reasons is told by the most frequent."""
_TOO_MANY, _BAD_REQUEST, _SERVER_ERROR = HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_REQUEST, 500


class Choice(msgspec.Struct, frozen=True):
    """Which entries to take: those of `host`, whose path is like one of `include` and like none of `exclude`.

    A host is `name` or `name:port`; without one it is the server that most of the API's requests went to. Paths are
    compared as file names are, with `*` and `?`; without `include` each one is like it.
    """

    host: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


ALL = Choice()


class Imported(msgspec.Struct, frozen=True):
    """A HAR as the lines of a trace. `left_out` counts entries by reason, `bent` those that were built otherwise."""

    lines: Iterator[Header | Exchange]
    server: str
    taken: int
    left_out: Mapping[str, int] = {}
    bent: Mapping[str, int] = {}


def from_har(data: bytes, name: str, *, redact: bool, choice: Choice = ALL) -> Imported:
    """Read a HAR; `name` is what the trace is called. Raises TraceError where nothing of it can be taken."""
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
        if choice != ALL:
            raise TraceError("this program wrote it: import it whole, and choose with `hatchfarm trace filter`")
        lines = _own(entries, own)
        return Imported(iter(lines), "", len(lines) - 1)
    if not entries:
        raise TraceError("a HAR without entries: there is nothing to import")
    return _foreign(entries, name, choice, redact=redact)


# --- this program's own


def _own(entries: list[Any], own: Mapping[str, Any]) -> list[Header | Exchange]:
    """Return the lines of an exported trace; entries may have been taken out since, but not changed in kind."""
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


def _foreign(entries: list[Any], name: str, choice: Choice, *, redact: bool) -> Imported:
    left_out: Counter[str] = Counter()
    read = []
    for entry in entries:
        try:
            read.append(read_entry(entry))
        except LeftOutError as error:
            left_out[error.reason] += 1
    server = _server(read, choice.host)
    taken = []
    for one in read:
        reason = _unwanted(one, server, choice)
        if reason:
            left_out[reason] += 1
        else:
            taken.append(one)
    if not taken:
        raise TraceError(
            f"nothing to import of {plural(len(entries), 'entry', 'entries')}: {describe_counts(left_out)}"
        )
    taken.sort(key=lambda one: one.started_ns)
    bent = Counter(note for one in taken for note in one.notes)
    authority = taken[0].authority
    origin = Origin(name, 0, authority, authority, taken[0].started_ns, imported=True)
    # What a URL hides as its password is one wherever else it stands.
    passwords = dict.fromkeys(secret for one in taken for secret in one.credentials if len(secret) >= OTHER_MIN)
    known = {f"secret.{number}": secret for number, secret in enumerate(passwords, 1)}
    exchanges = [_taken(one, authority, origin.started_unix_ns) for one in taken]
    lines = TraceWriter(exchanges, origin, "", redact=redact, known=known).lines()
    return Imported(lines, server, len(taken), left_out, bent)


def describe_counts(counts: Mapping[str, int]) -> str:
    """Return the reasons with their numbers as text, the most frequent first; the many last ones together."""
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    words = [f"{number:,} {reason}" for reason, number in ordered[:REASONS_SHOWN_MAX]]
    rest = sum(number for _, number in ordered[REASONS_SHOWN_MAX:])
    return "; ".join([*words, f"{rest:,} for other reasons"] if rest else words)


def _server(read: Sequence[Entry], host: str) -> str:
    """Return which server is meant: the chosen one, or that with most of the API's requests, then with most of all."""
    if host:
        try:
            parts = urlsplit(f"//{host}")
            return server_of(parts.hostname or "", parts.port)
        except ValueError as error:
            raise TraceError(f"--host {host}: {error}") from None
    calls = Counter(one.server for one in read if one.operation is not Operation.OTHER)
    alls = Counter(one.server for one in read)
    return max(alls, key=lambda server: (calls[server], alls[server]), default="")


def _unwanted(one: Entry, server: str, choice: Choice) -> str:
    """Return why an entry is not taken; empty where it is."""
    if server not in {one.server, one.server.rpartition(":")[0]}:
        return "of another server"
    path = one.path.partition("?")[0]
    if choice.include and not any(fnmatchcase(path, pattern) for pattern in choice.include):
        return "not like --include"
    return "like --exclude" if any(fnmatchcase(path, pattern) for pattern in choice.exclude) else ""


def _taken(one: Entry, authority: str, start_ns: int) -> Taken:
    # One server, one name: a replay puts its target's in place of the header's.
    request = one.request.replace(f"\r\nHost: {one.authority}\r\n".encode(), f"\r\nHost: {authority}\r\n".encode(), 1)
    sent_ns = one.started_ns - start_ns
    lost = one.status == LOST
    got = _got_of(one.status)
    return Taken(
        planned_ns=sent_ns,
        sent_ns=sent_ns,
        answered_ns=NEVER_NS if lost else sent_ns + one.took_ns,
        source="",
        campaign=HONEST,
        machine=NO_MACHINE,
        operation=one.operation,
        request=request,
        answer=None if lost else one.answer,
        expected=Answer.LOST if got in SILENT else got,
        got=got,
    )


def _got_of(status: int) -> Answer:
    """Return what a status means where nobody says what was expected."""
    if status == LOST:
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
