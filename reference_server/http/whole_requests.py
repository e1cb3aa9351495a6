"""Requests that come whole and alone, as nearly all do that are no heartbeats: each is read by one pattern.

What it reads, `RequestReader` reads alike; whatever it does not read takes a `Conversation`, which decides what it is.
"""

from __future__ import annotations

import re

from reference_server.http.heads import is_authority
from reference_server.limits import LANE_HEAD_MAX_BYTES
from reference_server.wire.values import Request

_HEAD = re.compile(  # backtracking: each line is read in one way only, by its name and up to its end
    rb"(GET|POST|PUT|DELETE|HEAD|OPTIONS) (/[0-9A-Za-z/._~%&=+:,;@!$'()*?-]*+) HTTP/1\.1\r\n"
    rb"((?:[0-9A-Za-z-]++:[\t -~]*+\r\n){1,32}+)\r\n"
)
_FRAMING = frozenset({"host", "content-length", "connection", "transfer-encoding", "expect", "upgrade"})
_LENGTH = re.compile(r"[0-9]{1,5}")


def whole_request(data: bytes, client: str, scheme: str) -> tuple[Request, bytes] | None:
    """Read a request and its body; None unless the bytes are one, of a shape that can be told by its head alone.

    `client` is the address that it came from, `scheme` what its connection speaks.
    """
    found = _HEAD.match(data, 0, LANE_HEAD_MAX_BYTES)
    if found is None:
        return None
    method, target, lines = found[1].decode(), found[2].decode(), found[3].decode()
    headers = []
    host, length = "", 0
    hosts = lengths = 0
    for line in lines.split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        headers.append((name, value))
        if name not in _FRAMING:
            continue
        if name == "host":
            host = value
            hosts += 1
        elif name == "content-length":
            if _LENGTH.fullmatch(value) is None:
                return None
            length = int(value)
            lengths += 1
        elif name != "connection" or value.lower() != "keep-alive":
            return None
    end = found.end()
    if hosts != 1 or lengths > 1 or end + length != len(data) or not is_authority(host.encode()):
        return None
    path, _, query = target.partition("?")
    return Request(method, path, query, tuple(headers), client=client, scheme=scheme), data[end:]
