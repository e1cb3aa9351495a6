"""What the header fields of an HTTP/2 request say, or that they are malformed (RFC 9113 §8.2, §8.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from reference_server.http.heads import is_authority
from reference_server.limits import BODY_MAX_BYTES
from reference_server.wire.values import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

Field = tuple[bytes, bytes]

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"/[\x21-\x7e]*")
_LENGTH = re.compile(rb"[0-9]{1,19}")
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
_OF_A_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_FIELD_OVERHEAD_BYTES = 32


class RequestHead(NamedTuple):
    """A request before its body. `body_bytes` is the length it declares, None where it declares none."""

    request: Request
    body_bytes: int | None
    expects_continue: bool


def size_of(fields: Sequence[Field]) -> int:
    """Return the size of a list of fields in bytes, as SETTINGS_MAX_HEADER_LIST_SIZE counts it (RFC 9113 §6.5.2)."""
    return sum(len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in fields)


def read_head(fields: Sequence[Field], client: str) -> RequestHead | None:
    """Read a request's fields. None when they are malformed, or ask for what this server never offered (CONNECT)."""
    pseudo: dict[bytes, bytes] = {}
    plain: list[Field] = []
    for name, value in fields:
        if not _VALUE.fullmatch(value) or value.strip(b" \t") != value:
            return None
        if name.startswith(b":"):
            if plain or name in pseudo or name not in _PSEUDO:
                return None
            pseudo[name] = value
        elif _is_plain(name, value):
            plain.append((name, value))
        else:
            return None
    return _read(pseudo, plain, client)


def _is_plain(name: bytes, value: bytes) -> bool:
    if name == b"te":
        return value.lower() == b"trailers"
    return _NAME.fullmatch(name) is not None and name not in _OF_A_CONNECTION


def _read(pseudo: dict[bytes, bytes], plain: list[Field], client: str) -> RequestHead | None:
    method, scheme, target = (pseudo.get(name, b"") for name in (b":method", b":scheme", b":path"))
    if target == b"*" and method == b"OPTIONS":
        target = b"/"
    if not _METHOD.fullmatch(method) or method == b"CONNECT" or scheme not in {b"http", b"https"}:
        return None
    hosts = [value for name, value in plain if name == b"host"]
    authority = pseudo.get(b":authority", hosts[0] if hosts else b"")
    if authority[:1] in {b"", b":"} or not is_authority(authority):
        return None  # RFC 9113 §8.3.1 wants a host where the scheme has one
    if not _TARGET.fullmatch(target) or hosts not in ([], [authority]):
        return None
    lengths = [value for name, value in plain if name == b"content-length"]
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        return None
    body_bytes = int(lengths[0]) if lengths else None
    path, _, query = target.decode("ascii").partition("?")
    fields = [(b"host", authority), *(field for field in plain if field[0] != b"host")]
    request = Request(
        method.decode("ascii"),
        path,
        query,
        tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in fields),
        client=client,
        scheme="https",
        body_too_large=body_bytes is not None and body_bytes > BODY_MAX_BYTES,
    )
    expects = any(name == b"expect" and value.lower() == b"100-continue" for name, value in plain)
    return RequestHead(request, body_bytes, expects)
