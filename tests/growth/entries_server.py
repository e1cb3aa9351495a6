"""Every entry of foreign bytes into the server, and what is fed there: each gives, for a size, what to do once."""

from __future__ import annotations

import json
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from reference_server.core.rate_limit import client_key
from reference_server.core.recovery import restore
from reference_server.http.framing import FramingGuard
from reference_server.operations.table import OPERATIONS
from reference_server.settings import SETTINGS, SettingsError, load_settings
from reference_server.wire.own_sections import load_state_file
from reference_server.wire.state_file import StateFileError, read_state
from reference_server.wire.timestamps import parse_timestamp
from reference_server.wire.values import Request
from tests.core.server_under_test import TOKEN, Machine, Server, owner_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], object]
    Entry = Callable[[int], Work]

TEXTS: dict[str, Callable[[int], str]] = {
    "slashes": lambda n: "/" * n,
    "segments": lambda n: "/x" * (n // 2),
    "percents": lambda n: "%" * n,
    "escapes": lambda n: "%2f" * (n // 3),
    "spaces": lambda n: " " * n + "x",
    "tabs": lambda n: "x" + "\t" * n + "x",
    "letters": lambda n: "a" * n,
    "zeros": lambda n: "0" * n + "x",
    "digits": lambda n: "9" * n,
    "signs": lambda n: "+-" * (n // 2),
    "commas": lambda n: "a," * (n // 2),
    "equals": lambda n: "a=b;" * (n // 4),
    "colons": lambda n: "::" * (n // 2),
    "quotes": lambda n: '"' * n,
    "backslashes": lambda n: '"' + '\\"' * (n // 2),
    "bearers": lambda n: "Bearer " * (n // 7),
    "latin": lambda n: "\xc3\xa9" * (n // 2),
    "no utf-8": lambda n: "\xff" * n,
    "bars": lambda n: "|" * n,
    "stamps": lambda n: "2026-09-21T14:13:20." + "0" * n + "Z",
    "half stamps": lambda n: "2026-09-21T14:13:20." + "0" * n,
}
JSONS: dict[str, Callable[[int], str]] = {
    "brackets": lambda n: "[" * n,
    "nests": lambda n: '{"a":' * (n // 5),
    "both brackets": lambda n: "[{" * (n // 2),
    "strings never closed": lambda n: "[" * 66 + '"' + '\\"' * (n // 2),
    "a string never closed": lambda n: "[" * 66 + '"' + "a" * n,
    "backslashes": lambda n: "[" * 66 + '"' + "\\" * n,
    "closed strings": lambda n: "[" * 66 + '"",' * (n // 3),
    "escapes": lambda n: '{"owner_id":"' + "\\u0041" * (n // 6) + '"}',
    "surrogates": lambda n: '{"rules":{"timezone":"' + "\\ud800" * (n // 6) + '"}}',
    "digits": lambda n: '{"rules":{"max_cpu_percent":' + "9" * n + "}}",
    "zeros": lambda n: '{"rules":{"max_cpu_percent":0.' + "0" * n + "1}}",
    "exponents": lambda n: '{"rules":{"max_cpu_percent":1e' + "9" * n + "}}",
    "keys": lambda n: "{" + ",".join(f'"k{at}":1' for at in range(n // 8)) + "}",
    "the same key": lambda n: "{" + ",".join(['"owner_id":""'] * (n // 13)) + "}",
    "items": lambda n: "[" + "0," * (n // 2) + "0]",
    "spaces": lambda n: " " * n + "{}",
    "spaces behind": lambda n: "{}" + " " * n + "x",
    "letters": lambda n: "a" * n,
}
HEADERS = (
    "authorization",
    "x-owner-id",
    "x-machine-token",
    "x-machine-certificate-id",
    "x-forwarded-proto",
    "origin",
    "access-control-request-method",
    "content-type",
    "cookie",
)
FIELDS = ("owner_id", "name", "signature", "worker_id", "policy_id", "timestamp", "nonce")


class World(Server):
    """A server with one of everything, and whoever may ask for it."""

    def __init__(self) -> None:
        super().__init__(trust_proxy_headers=True)
        self.machine: Machine = self.register()
        self.policy_id = self.policy()
        self.consent_id = self.consent(self.machine, self.policy_id)
        self.headers = {**owner_headers("ada"), **self.machine.headers}

    def id_for(self, path: str) -> str:
        """Return the id that stands in a path."""
        return {"policies": self.policy_id, "consents": self.consent_id}.get(path.split("/")[1], self.machine.id)


def ask(
    method: str, path: str, n: int, *, query: str = "", changed: dict[str, str] | None = None, body: bytes = b""
) -> Work:
    """Send a request of whoever may; `{id}` in its path is one that there is."""
    world = World()
    headers = {**world.headers, **(changed or {})}
    prefix = "" if path in {"/health", "/.well-known/hatchfarm-keys"} or n == 0 else "/api/v1"
    request = Request(method, prefix + path.replace("{id}", world.id_for(path)), query, tuple(headers.items()), body)
    return partial(world.api.handle, request, world.now)


def _paths() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with_id = [operation for operation in OPERATIONS if "{id}" in operation.path]
    for at, (name, text) in enumerate(TEXTS.items()):
        entries[f"path of {name}"] = lambda n, text=text: ask("GET", "/" + text(n), n)  # type: ignore[misc]
        for operation in with_id:
            if operation is with_id[at % len(with_id)] or name in {"letters", "no utf-8"}:
                path = operation.path
                entries[f"{operation.method} {path} with {name} for the id"] = (
                    lambda n, text=text, path=path, method=operation.method: ask(  # type: ignore[misc]
                        method, path.replace("{id}", text(n)), n, body=b"{}"
                    )
                )
    return entries


def _queries() -> dict[str, Entry]:
    shapes: dict[str, Callable[[int], str]] = {
        "ampersands": lambda n: "&" * n,
        "fields": lambda n: "a&" * (n // 2),
        "limits": lambda n: "limit=1&" * (n // 8),
        **{f"limit={name}": lambda n, text=text: f"limit={text(n)}" for name, text in TEXTS.items()},  # type: ignore[misc]
        **{f"offset={name}": lambda n, text=text: f"offset={text(n)}" for name, text in TEXTS.items()},  # type: ignore[misc]
        **{f"type={name}": lambda n, text=text: f"type={text(n)}" for name, text in TEXTS.items()},  # type: ignore[misc]
    }
    return {
        f"GET {path}?{name}": lambda n, path=path, shape=shape: ask("GET", path, n, query=shape(n))  # type: ignore[misc]
        for path in ("/workers/statuses", "/audit/events")
        for name, shape in shapes.items()
    }


def _headers() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    routes = (("GET", "/workers/summary"), ("GET", "/workers/{id}/policy"), ("POST", "/machines/{id}/certificate"))
    for header in HEADERS:
        for name, text in TEXTS.items():
            method, path = routes[len(entries) % len(routes)]
            entries[f"{method} {path} with {header}: {name}"] = (
                lambda n, header=header, text=text, method=method, path=path: ask(  # type: ignore[misc]
                    method, path, n, changed={header: text(n)}
                )
            )

    def many(n: int, *, same: bool) -> Work:
        world = World()
        headers = tuple(("x" if same else f"x{at}", "y") for at in range(n // 4))
        return partial(world.api.handle, Request("GET", "/api/v1/workers/summary", "", headers), world.now)

    entries["many headers"] = partial(many, same=False)
    entries["one header many times"] = partial(many, same=True)
    return entries


def _bodies() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for operation in OPERATIONS:
        if operation.method != "POST" or operation.for_people:
            continue
        method, path = operation.method, operation.path
        for name, text in JSONS.items():
            entries[f"{method} {path} with {name}"] = lambda n, text=text, path=path: ask(  # type: ignore[misc]
                "POST", path, n, body=text(n).encode()
            )
        for at, field in enumerate(FIELDS):
            for name in {"letters", ("backslashes", "stamps", "half stamps", "bars")[at % 4]}:
                entries[f"{method} {path} with {field} of {name}"] = (
                    lambda n, field=field, text=TEXTS[name], path=path: ask(  # type: ignore[misc]
                        "POST", path, n, body=json.dumps(_right(path) | {field: text(n)}).encode()
                    )
                )
    for name, text in JSONS.items():
        entries[f"metrics of {name}"] = lambda n, text=text: ask(  # type: ignore[misc]
            "POST",
            "/workers/{id}/heartbeat",
            n,
            body=json.dumps(_right("/heartbeat")).replace('{"odd": 1}', f'{{"odd":{text(n)}}}').encode(),
        )
    return entries


def _right(path: str) -> dict[str, Any]:
    """Return a body of the right form."""
    if "heartbeat" in path:
        stamp = "2026-09-21T14:13:20Z"
        return {"timestamp": stamp, "nonce": "n", "policy_id": "p", "metrics": {"odd": 1}, "signature": "s"}
    if path == "/policies":
        return {"owner_id": "ada", "rules": {"max_cpu_percent": 1}, "signature": "s"}
    if path == "/consents":
        return {"owner_id": "ada", "worker_id": "w", "policy_id": "p", "signature": "s"}
    return {"owner_id": "ada", "name": "m"}


# --- framing

MESSAGES: dict[str, Callable[[int], bytes]] = {
    "empty lines": lambda n: b"\r\n" * (n // 2),
    "a path of slashes": lambda n: b"GET " + b"/" * n + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "a path without end": lambda n: b"GET /" + b"a" * n,
    "a header without end": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * n,
    "spaces before a value": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\nx:" + b" " * n + b"a\r\n\r\n",
    "spaces behind a value": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\nx: a" + b" " * n + b"\r\n\r\n",
    "many headers": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n",
    "options of a connection": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\nconnection: " + b"a," * (n // 2) + b"\r\n\r\n",
    "line feeds": lambda n: b"\n" * n,
    "carriage returns": lambda n: b"\r" * n,
    "zeros for a length": lambda n: b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"0" * n + b"\r\n\r\n",
    "a body": lambda n: b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % n + b"a" * n,
    "requests": lambda n: b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * (n // 27),
    "requests with bodies": lambda n: b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbody" * (n // 50),
    **{
        f"chunked {name}": lambda n, chunks=chunks: (  # type: ignore[misc]
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + chunks(n)
        )
        for name, chunks in {
            "in small chunks": lambda n: b"1\r\nx\r\n" * (n // 6) + b"0\r\n\r\n",
            "in one chunk": lambda n: b"%x\r\n" % n + b"a" * n + b"\r\n0\r\n\r\n",
            "with an extension": lambda n: b"1;" + b"a" * n + b"\r\nx\r\n",
            "with spaces": lambda n: b"1" + b" " * n + b"x\r\n",
            "with a line without end": lambda n: b"1;" + b"a" * n,
            "with trailers": lambda n: b"0\r\n" + b"a: b\r\n" * (n // 6) + b"\r\n",
            "with a trailer without end": lambda n: b"0\r\na:" + b"b" * n,
        }.items()
    },
}


def _framing() -> dict[str, Entry]:
    def feed(n: int, message: Callable[[int], bytes], piece_bytes: int) -> Work:
        data = message(n)
        guard = FramingGuard(b"mark")
        pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
        return lambda: [guard.receive(piece) for piece in pieces]

    return {
        f"framing, {name}, {words}": partial(feed, message=message, piece_bytes=piece_bytes)
        for name, message in MESSAGES.items()
        for words, piece_bytes in (("in one piece", 1 << 20), ("byte by byte", 1), ("in sevens", 7))
    }


# --- files, settings, addresses


def _stamp(at: int) -> str:
    return f"2026-09-21T14:13:{at % 60:02}.{at}Z"


def state_of(records: int, *, owners: int = 1) -> dict[str, Any]:
    """Return a right state file with so many machines, the last first, and as many of everything else."""
    ids = [f"{records - at:016x}" for at in range(records)]
    state: dict[str, Any] = {"schema_version": 1, "saved_at": _stamp(0)}
    owner = [f"owner {at % owners}" for at in range(records)]
    state["machines"] = {
        f"wrk_{one}": {"id": f"wrk_{one}", "owner_id": who, "name": "m", "secret": one * 3, "created_at": _stamp(0)}
        for one, who in zip(ids, owner, strict=True)
    }
    state["machine_certs"] = {
        f"wrk_{one}": {
            "certificate_id": f"mcert_0000{one}",
            "machine_id": f"wrk_{one}",
            "issued_at": "2026-09-21T14:13:20Z",
            "expires_at": "2026-09-21T14:28:20Z",
            "signature": "s",
        }
        for one in ids
    }
    state["worker_status"] = {
        f"wrk_{one}": {
            "worker_id": f"wrk_{one}", "last_heartbeat": _stamp(at), "policy_id": f"pol_{one}", "updated_at": _stamp(at)
        }
        for at, one in enumerate(ids)
    }  # fmt: skip
    state["policies"] = {
        f"pol_{one}": {
            "id": f"pol_{one}", "owner_id": who, "version": at + 1, "rules": {"max_cpu_percent": 1}, "signature": "s",
            "state": "active", "created_at": _stamp(0), "updated_at": _stamp(0),
        }
        for at, (one, who) in enumerate(zip(ids, owner, strict=True))
    }  # fmt: skip
    state["consents"] = {
        f"con_{one}": {
            "id": f"con_{one}", "owner_id": who, "worker_id": f"wrk_{one}", "policy_id": f"pol_{one}", "signature": "s",
            "effective_at": _stamp(at),
        }
        for at, (one, who) in enumerate(zip(ids, owner, strict=True))
    }  # fmt: skip
    state["audit_events"] = [
        {
            "id": f"aud_{one}", "type": "policy_created", "actor": f"owner:{who}", "object_id": f"pol_{one}",
            "metadata": {"version": 1}, "created_at": _stamp(at),
        }
        for at, (one, who) in enumerate(zip(ids, owner, strict=True))
    ]  # fmt: skip
    return state


def quietly(work: Callable[[], object], *refusals: type[Exception]) -> None:
    """Do some work, and take a refusal for an answer."""
    with suppress(*refusals):
        work()


def _files() -> dict[str, Entry]:
    def read(n: int, content: Callable[[int], bytes]) -> Work:
        data = content(n)
        return partial(quietly, lambda: read_state(data), StateFileError)

    def load(n: int, content: Callable[[int], bytes]) -> Work:
        data = content(n)
        world = Server()
        return partial(quietly, lambda: restore(world.api.state, load_state_file(data), world.now), StateFileError)

    def right(n: int) -> bytes:
        return json.dumps(state_of(n // 40)).encode()

    contents: dict[str, Callable[[int], bytes]] = {
        "a right one": right,
        "many wrong times": lambda n: right(n).replace(b"2026-", b"20x6-"),
        "machines that are not there": lambda n: json.dumps(state_of(n // 40) | {"machines": {}}).encode(),
        "a time of digits": lambda n: json.dumps(state_of(1) | {"saved_at": TEXTS["half stamps"](n)}).encode(),
        "a version of digits": lambda n: b'{"schema_version":' + b"1" * n + b"}",
        "ids without end": lambda n: json.dumps({"wrk_" + "0" * 16: {}, "wrk_" + "a" * n: {}}).encode(),
        "a checksum too many": lambda n: b'{"a":1' + b',"checksum":"sha256:"' * (n // 20) + b"}",
        **{name: lambda n, text=text: text(n).encode() for name, text in JSONS.items()},  # type: ignore[misc]
    }
    return {
        **{f"reading a state file, {name}": partial(read, content=content) for name, content in contents.items()},
        **{f"loading a state file, {name}": partial(load, content=content) for name, content in contents.items()},
    }


def _others() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for name, text in TEXTS.items():
        entries[f"a timestamp of {name}"] = lambda n, text=text: partial(parse_timestamp, text(n))  # type: ignore[misc]
        entries[f"a client address of {name}"] = lambda n, text=text: partial(client_key, "::" + text(n))  # type: ignore[misc]
        for setting in SETTINGS:
            if setting.variable in {"ALLOWED_ORIGINS", "REDIS_ADDR", "PORT", "METRICS_PUBLIC", "HATCHFARM_API_TOKEN"}:
                variable = setting.variable
                entries[f"{variable} of {name}"] = lambda n, text=text, variable=variable: partial(  # type: ignore[misc]
                    quietly, partial(load_settings, {variable: text(n)}), SettingsError
                )
    return entries


def _lists() -> dict[str, Entry]:
    def page(n: int, query: str) -> Work:
        world = Server()
        for _ in range(n // 20):
            world.register()
        request = Request("GET", "/api/v1/audit/events", query, tuple(owner_headers("ada").items()))
        return partial(world.api.handle, request, world.now)

    return {
        f"a page of an audit list, {query}": partial(page, query=query)
        for query in (
            "limit=1",
            "limit=500",
            "type=machine_registered",
            "type=policy_created",
            "limit=1&offset=9999999",
        )
    }


def entries() -> dict[str, Entry]:
    """Return every entry by its name."""
    if TOKEN == "":
        raise RuntimeError("the server under test has no owners' token")
    return {
        **_paths(), **_queries(), **_headers(), **_bodies(), **_framing(), **_files(), **_others(), **_lists(),
    }  # fmt: skip
