"""The request and reply values that pass between any transport and the operation table."""

from __future__ import annotations

import msgspec

Headers = tuple[tuple[str, str], ...]


class Instant(msgspec.Struct, frozen=True, gc=False):
    """One moment on both clocks, read together by the caller.

    `wall_ns` is Unix time in nanoseconds: for what is shown and signed. `monotonic_ns` never steps: for every
    interval (staleness, windows, token buckets).
    """

    wall_ns: int
    monotonic_ns: int


class Request(msgspec.Struct, frozen=True):
    """One HTTP request after framing, before any decision.

    `path` is the raw, undecoded path without the query; header names are lower-case, values are bytes shown as Latin-1,
    and duplicates are kept, in order. `body_too_large` is set, with an empty body, when the transport stopped reading
    at the limit. `scheme` is what the socket spoke (`http` or `https`), never what a header claims. `client` is the
    address that the request was heard from, or the one for which a trusted proxy brought it, which `proxied` says.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    client: str = "127.0.0.1"
    scheme: str = "http"
    body_too_large: bool = False
    proxied: bool = False


class Reply(msgspec.Struct, frozen=True):
    """One HTTP reply before framing: the transport adds `Content-Length` and `Date` only."""

    status: int
    body: bytes
    headers: Headers = ()


def succeeded(reply: Reply) -> bool:
    """Return whether a reply gives what was asked for."""
    return reply.status < 300  # noqa: PLR2004 - RFC 9110 §15
